"""Connect as fast as possible, send nothing, a line or a part, and reset the connection.

Runs as a process:

    python tests/heartbeat/flood.py HOST PORT CONNECTS SEED
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import sys
from collections import deque

RESET = struct.pack("ii", 1, 0)  # so that this side does not run out of ports
SAID = (b"", b"ping\n", b"pi", b"GET / HTTP/1.1\r\n")
HELD = 64


def main(host: str, port: int, connects: int, seed: int) -> None:
    chance = random.Random(seed)
    held: deque[socket.socket] = deque()
    for number in range(connects):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.bind((f"127.0.{2 + seed}.{1 + number % 250}", 0))
        with contextlib.suppress(OSError):  # not there yet, or full
            sock.connect_ex((host, port))
            sock.send(chance.choice(SAID))
        held.append(sock)
        if len(held) > HELD:
            held.popleft().close()
    for sock in held:
        sock.close()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
