"""Free ports for programs that need one before they start, and addresses without a server."""

from __future__ import annotations

import os
import random
import socket

_PROCESS, _PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_BELOW_EPHEMERAL = range(15_000 + _PROCESS, 32_000, max(_PROCESSES, _PROCESS + 1))
"""A port from the kernel (bind to 0) may be given to any connection of any process before the program has it; then the
program cannot listen, or a connection meets itself. Each process of pytest-xdist has ports of its own, as a program may listen late."""

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, never given before in this process."""
    while True:
        port = random.SystemRandom().choice(_BELOW_EPHEMERAL)  # whatever a test has seeded
        if port in _given:
            continue
        _given.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
