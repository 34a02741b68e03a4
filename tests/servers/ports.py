"""Free ports for programs that need one before they start, and addresses without a server."""

from __future__ import annotations

import random
import socket

_BELOW_EPHEMERAL = range(15_000, 32_000)
"""A port from the kernel (bind to 0) may be given to any connection of any process before the program has it; then the
program cannot listen, or a connection meets itself."""

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
