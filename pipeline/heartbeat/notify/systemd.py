"""What systemd is told by a service of Type=notify (sd_notify(3)). Nothing happens where it did not start us."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Systemd:
    """environment: os.environ, or a test's."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environment.get("WATCHDOG_USEC", "") if ours else ""
        self.watchdog_s = int(usec) / 1e6 / 2 if usec.isdigit() and int(usec) else None
        """How often to say that we are alive: twice as often as asked for (sd_watchdog_enabled(3)). None: never."""

    def tell(self, **facts: str | int) -> None:
        """READY=1, STOPPING=1, WATCHDOG=1, STATUS=… . A supervisor that is gone is no reason to fail."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(f"{name}={str(value).splitlines()[0] if value else value}" for name, value in facts.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(text.encode(), address)
            except OSError:
                return
