"""Connects to the address of the heartbeat on this machine.

Commands that may find no service there import only this module before.
"""

from __future__ import annotations

import contextlib
import socket

from pipeline.heartbeat.addresses import connectable_host, socket_path
from pipeline.settings import Settings

CONNECT_S = 1.0
ANSWER_S = 5.0
"""How long a service may take to prove who it is."""


def connected_socket(settings: Settings) -> socket.socket | None:
    """Connect to the address of the heartbeat; return None if nothing listens there."""
    table, path = settings.heartbeat, socket_path(settings)
    with contextlib.suppress(OSError):
        if table.on_port:
            sock = socket.create_connection((connectable_host(table.host), table.port), CONNECT_S)
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(CONNECT_S)
                sock.connect(str(path))
            except OSError:
                sock.close()
                raise
        sock.settimeout(ANSWER_S)
        return sock
    return None
