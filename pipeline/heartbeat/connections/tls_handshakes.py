"""Limits how many TLS handshakes are in progress at the same time, and how long each may take."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable

from pipeline.heartbeat.connections.connection_counts import ConnectionCounts

AT_ONCE = 32


class TlsHandshakes:
    """Performs TLS handshakes, a limited number at the same time.

    deadline_s: maximum duration of a handshake, and maximum time that a connection waits for its handshake to begin.
    """

    def __init__(self, context: ssl.SSLContext, *, deadline_s: float) -> None:
        self._context = context
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._counts = ConnectionCounts(AT_ONCE)
        self._waiting: deque[tuple[str, float, asyncio.Future[bool]]] = deque()

    async def connect(self, make: Callable[[], asyncio.Protocol], sock: socket.socket, origin: str) -> None:
        """Perform the TLS handshake on `sock`, then attach the protocol that `make` creates to the connection.

        origin: the group of clients with which the handshake is counted (see `origin_of`). Raises OSError when the handshake
        fails or takes too long.
        """
        if not self._counts.has_room(origin):
            turn: asyncio.Future[bool] = self._loop.create_future()
            self._waiting.append((origin, self._loop.time() + self._deadline_s, turn))
            if not await turn:
                raise TimeoutError("the TLS handshake did not begin in time")
        else:
            self._counts.add(origin)
        try:
            await self._loop.connect_accepted_socket(make, sock, ssl=self._context, ssl_handshake_timeout=self._deadline_s,
                                                     ssl_shutdown_timeout=self._deadline_s)
        finally:
            self._counts.remove(origin)
            self._begin_next()

    def sweep(self, now: float) -> None:
        """Reject connections that have waited more than `deadline_s` seconds for a TLS handshake."""
        while self._waiting and (self._waiting[0][1] < now or self._waiting[0][2].done()):
            _, _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(False)

    def close(self) -> None:
        self.sweep(float("inf"))

    def _begin_next(self) -> None:
        for entry in tuple(self._waiting):
            origin, _, turn = entry
            if turn.done():
                self._waiting.remove(entry)
            elif self._counts.has_room(origin):
                self._waiting.remove(entry)
                self._counts.add(origin)
                turn.set_result(True)
                return
