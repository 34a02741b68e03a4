"""Notifies systemd with sd_notify(3); does nothing if systemd did not start the process."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class SystemdNotifier:
    """Sends the state of the service to systemd.

    environment: the environment variables in which systemd passes its socket and watchdog interval; tests pass their own.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environment.get("WATCHDOG_USEC", "") if for_us else ""
        self.watchdog_s = int(usec) / 1e6 / 2 if usec.isdigit() and int(usec) else None
        """Seconds between two WATCHDOG=1 messages: half of the interval that systemd requires (sd_watchdog_enabled(3)).
        None means no watchdog."""

    def notify(self, **assignments: str | int) -> None:
        """Send assignments such as READY=1 or WATCHDOG=1 to systemd; do nothing if NOTIFY_SOCKET is not set."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(f"{name}={str(value).splitlines()[0] if value else value}" for name, value in assignments.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(text.encode(), address)
            except OSError:
                return
