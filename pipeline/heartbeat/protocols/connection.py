"""One accepted connection: counted, bounded, and spoken to in the dialect of its first line."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol, cast

from aiohttp import web

from pipeline.heartbeat.access import Access
from pipeline.heartbeat.connections.admission import Admission
from pipeline.heartbeat.connections.limits import Limits
from pipeline.heartbeat.connections.refusals import answer_without_a_place, asks_livez
from pipeline.heartbeat.connections.time_slice import TimeSlice
from pipeline.heartbeat.http.app import Web
from pipeline.heartbeat.protocols.http_detection import BareLineFeeds
from pipeline.heartbeat.protocols.lines import Lines, Replies

_MOST_EARLY = 16 * 1024


class Port(Protocol):
    """What connections share: who is there, and what they may do."""

    access: Access
    admission: Admission
    limits: Limits
    replies: Replies
    slices: TimeSlice
    web: Web

    def joined(self, connection: Connection) -> None: ...

    def left(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Starts with lines; an HTTP request line hands it to aiohttp, whose handler then gets every event.

    aiohttp is called, not put in its place, so that a connection is counted until it is gone. peer: its address, "" for
    the Unix socket, None to ask the transport; origin: what it is counted with; placed: it has its place already, and comes from the acceptor with what it
    said there and what is owed to it; first: no answer before.
    """

    __slots__ = ("_bare_line_feeds", "_early", "_fed", "_first", "_http", "_lines", "_lost", "_owed", "_patience", "_peer",
                 "_port", "_refusing", "_serving", "_since", "_speaks_http", "_stalled", "_transport", "_unanswered", "ended", "origin",
                 "placed", "secure", "trusted")

    def __init__(self, port: Port, *, peer: str | None = None, placed: bool = False, said: bytes = b"", owed: bytes = b"",
                 first: bool = True) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._lines: Lines | None = None
        self._http: web.RequestHandler | None = None
        self._bare_line_feeds: BareLineFeeds | None = None
        self._patience: asyncio.Handle | None = None
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
        self._peer = peer
        self.origin = ""
        self.placed = placed
        self.ended = False
        self.trusted = False
        self.secure = False

    @property
    def made(self) -> bool:
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is not derived from asyncio's
        self._transport = transport
        port = self._port
        if self._peer is None:  # not from the acceptor
            found = transport.get_extra_info("peername")
            self._peer = str(found[0]) if isinstance(found, tuple) and found else None
        origin = port.admission.origin_of(self._peer) if self._peer is not None else None
        if origin is None:  # may not connect, or is gone again
            transport.abort()
            return
        self.origin = origin
        self.trusted = port.access.trusts(self._peer or "")
        self.secure = transport.get_extra_info("ssl_object") is not None
        loop = asyncio.get_running_loop()
        if not self.placed and port.admission.has_room(origin):
            port.admission.placed(origin)
            self.placed = True
        if self.placed:
            port.joined(self)
            self._patience = loop.call_soon(self._begin)  # when the transport is ready to be paused
        elif port.admission.waits(self):
            self._patience = loop.call_later(port.limits.door_s, self.refuse)
            self._answer_livez()
        else:
            self.refuse()

    def admit(self) -> None:
        """A place is free for one that waited."""
        self.placed = True
        self._port.joined(self)
        self._begin()

    def _begin(self) -> None:
        assert self._transport is not None
        if self._patience is not None:
            self._patience.cancel()
        if self._transport.is_closing():  # it was reset meanwhile, which is told next
            return
        port = self._port
        self._lines = Lines(self._transport, port.replies, port.limits, self._as_http, trusted=self.trusted,
                            first=self._first)
        self._transport.resume_reading()
        if self._owed:
            self._transport.write(self._owed)
        if self._early:
            self.data_received(self._early)
        if self.ended:
            self.eof_received()

    def refuse(self) -> None:
        """Say that there is no room, in the language of the question, and close."""
        assert self._transport is not None
        if self._patience is not None:
            self._patience.cancel()
        admission = self._port.admission
        admission.gave_up(self)
        if not self._transport.is_closing():
            self._transport.write(answer_without_a_place(self._early, admission.why_not(self.origin)))
            self._transport.close()

    def _answer_livez(self) -> None:
        """Without a place, too: whether the loop turns is answered whoever else is there."""
        if asks_livez(self._early):
            self.refuse()

    def data_received(self, data: bytes) -> None:
        if self._speaks_http:
            self._feed_http(data)
        elif self._lines is not None:
            self._lines.fed(data)
        elif self._transport is not None:  # without a place: the beginning is kept, and no more is read
            self._early += data
            if len(self._early) > _MOST_EARLY:
                self._transport.pause_reading()
            if not self.placed:
                self._answer_livez()

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

    @property
    def idles(self) -> bool:
        """Whether it is HTTP and no request is at work: between two, or one that does not arrive."""
        return self._speaks_http and not self._serving and not self._stalled

    @property
    def idle_since(self) -> float:
        return self._since

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
