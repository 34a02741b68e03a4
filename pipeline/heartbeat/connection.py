"""One accepted connection: counted, bounded, and spoken to in the dialect of its first line."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol, cast

from aiohttp import web

from pipeline.heartbeat.access import Access
from pipeline.heartbeat.http_detection import BareLineFeeds
from pipeline.heartbeat.limits import Limits
from pipeline.heartbeat.lines import Lines, Replies
from pipeline.heartbeat.time_slice import TimeSlice
from pipeline.heartbeat.web import Web


class Port(Protocol):
    """What connections share: who is there, and what they may do."""

    access: Access
    limits: Limits
    replies: Replies
    slices: TimeSlice
    web: Web
    max_connections: int

    def has_room(self) -> bool: ...

    def waits(self, connection: Connection) -> bool: ...

    def joined(self, connection: Connection) -> None: ...

    def left(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Starts with lines; an HTTP request line hands it to aiohttp, whose handler then gets every event.

    aiohttp is called, not put in its place, so that a connection is counted until it is gone. seated: it has its
    place already, and comes from the lobby with what it said there and what is owed to it; first: no answer before.
    """

    __slots__ = ("_bare_line_feeds", "_early", "_fed", "_first", "_http", "_lines", "_lost", "_owed", "_patience", "_port",
                 "_refusing", "_seated", "_serving", "_since", "_speaks_http", "_stalled", "_transport", "_unanswered", "ended", "secure", "trusted")

    def __init__(self, port: Port, *, seated: bool = False, said: bytes = b"", owed: bytes = b"",
                 first: bool = True) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._lines: Lines | None = None
        self._http: web.RequestHandler | None = None
        self._bare_line_feeds: BareLineFeeds | None = None
        self._patience: asyncio.Handle | None = None
        self._seated = seated
        self._first = first
        self._owed = owed
        self._early = said
        self._fed = False
        self._serving = False
        self._stalled = False
        self._refusing = False
        self._speaks_http = False
        self._lost = False
        self._unanswered = 0
        self._since = 0.0
        self.ended = False
        self.trusted = False
        self.secure = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is not derived from asyncio's
        self._transport = transport
        port = self._port
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        if not port.access.admits(address):
            transport.abort()
            return
        self.trusted = port.access.trusts(address)
        self.secure = transport.get_extra_info("ssl_object") is not None
        if self._seated and port.max_connections:
            self._patience = asyncio.get_running_loop().call_soon(self.admit)  # when the transport is ready to be paused
        elif port.has_room():
            self._enter(transport)
        elif port.waits(self):
            self._patience = asyncio.get_running_loop().call_later(port.limits.door_s, self.refuse)
        else:
            self.refuse()

    def admit(self) -> None:
        """A place is free for one that waited at the door, or was kept for one from the lobby."""
        assert self._transport is not None
        assert self._patience is not None
        self._patience.cancel()
        if self._transport.is_closing():  # it was reset meanwhile, which is told next
            return
        self._enter(self._transport)
        self._transport.resume_reading()
        if self._owed:
            self._transport.write(self._owed)
        if self._early:
            self.data_received(self._early)
        if self.ended:
            self.eof_received()

    def refuse(self) -> None:
        assert self._transport is not None
        port = self._port
        port.left(self)
        why = f"{port.max_connections} connections are all this port has" if port.max_connections else "stopping"
        self._transport.write(f"error: {why}; try again later\n".encode())
        self._transport.close()

    def _enter(self, transport: asyncio.Transport) -> None:
        port = self._port
        port.joined(self)
        self._lines = Lines(transport, port.replies, port.limits, self._as_http, trusted=self.trusted,
                            first=self._first)

    def data_received(self, data: bytes) -> None:
        if self._speaks_http:
            self._feed_http(data)
        elif self._lines is not None:
            self._lines.fed(data)
        elif self._transport is not None:  # at the door: what it came to ask is kept, and no more is read
            self._early += data
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Half-closed clients are still answered, but over TLS, where asyncio has no half-closed connections."""
        self.ended = True
        if self._speaks_http:
            return self._fed and not self.secure
        if self._lines is not None:
            self._lines.ended()
        return not self.secure

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._port.left(self)
        if self._patience is not None:
            self._patience.cancel()
        if self._http is not None:
            self._port.web.forget(self._http)
            # A turn later: aiohttp's task of this connection may be about to start, or to take up a request, and fails
            # where it finds itself dismantled.
            asyncio.get_running_loop().call_soon(self._http.connection_lost, exc)
        elif self._lines is not None:
            self._lines.lost()

    def pause_writing(self) -> None:
        if self._http is not None:
            self._stalled = True
            self._since = asyncio.get_running_loop().time()
            self._http.pause_writing()
        elif self._lines is not None:
            self._lines.stalled()

    def resume_writing(self) -> None:
        if self._http is not None:
            self._stalled = False
            self._http.resume_writing()
        elif self._lines is not None:
            self._lines.read_again()

    @property
    def takes_no_more(self) -> bool:
        """Whether the request under way is the last of this connection."""
        return self.ended or self._bare_line_feeds is not None

    def request_began(self) -> None:
        self._serving = True

    def body_refused(self) -> None:
        """What still comes is dropped; the connection is closed after the answer."""
        self._refusing = True

    def request_answered(self) -> None:
        """The answer is about to be written; whatever comes now is the next request."""
        self._serving = self._fed = False
        self._unanswered = 0
        self._since = asyncio.get_running_loop().time()

    def swept(self, now: float) -> None:
        """Give up on a client that is idle, sends its request in drops, or reads nothing."""
        if not self._speaks_http:
            if self._lines is not None:
                self._lines.swept(now)
            return
        limits = self._port.limits
        waited = now - self._since
        if (self._stalled and waited > limits.stalled_s) or (
                not self._stalled and not self._serving and waited > limits.http_idle_s):
            self.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _as_http(self, data: bytes) -> None:
        assert self._transport is not None
        self._speaks_http = True
        self._since = asyncio.get_running_loop().time()
        self._bare_line_feeds = BareLineFeeds() if BareLineFeeds.begin(data) else None
        self._port.slices.run(self._open_http)
        self._feed_http(data)

    def _open_http(self) -> None:
        if self._transport is not None and not self._lost:
            self._http = self._port.web.serve(self._transport, self)

    def _feed_http(self, data: bytes) -> None:
        """Hand data to the HTTP server, when it is this connection's turn."""
        limits = self._port.limits
        self._unanswered += len(data)
        if self._unanswered > (limits.dropped_bytes if self._refusing else limits.unanswered_bytes):
            self.abort()
            return
        self._fed = True
        if not self._refusing:
            self._port.slices.run(partial(self._parse_http, data))

    def _parse_http(self, data: bytes) -> None:
        if self._http is None or self._lost or self._refusing:
            return
        if self._bare_line_feeds is not None:
            data = self._bare_line_feeds.fed(data)
        if not data:
            return
        try:
            self._http.data_received(data)
        except Exception as error:  # noqa: BLE001  of a parser; the loop would log a traceback for anybody's bytes
            self._port.web.failed(error)
            self.abort()
