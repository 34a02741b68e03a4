"""A connection that has a transport: it is admitted, queued or refused, and served as lines or HTTP."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol, cast

from aiohttp import web

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.connections.admission import AdmissionControl
from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.connections.refusals import refusal_for, requests_livez
from pipeline.heartbeat.connections.time_slice import TimeSlice
from pipeline.heartbeat.http.app import HttpApp
from pipeline.heartbeat.protocols.http_detection import LineFeedNormalizer
from pipeline.heartbeat.protocols.lines import LineProtocol
from pipeline.heartbeat.protocols.responder import Responder

_MOST_UNREAD = 16 * 1024


class ServerState(Protocol):
    """The parts of the server that all connections share."""

    access: AccessPolicy
    admission: AdmissionControl
    limits: ServerLimits
    responder: Responder
    slices: TimeSlice
    http_app: HttpApp

    def connection_opened(self, connection: Connection) -> None: ...

    def connection_closed(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Serves one connection: text lines at first, and HTTP after an HTTP request line.

    For HTTP, this object remains the transport's protocol and passes all events to aiohttp's handler, so that the connection is
    counted until it is closed. peer: the client's IP address; "" means that the client uses the Unix socket, None means that the
    transport provides the address.

    The other parameters describe a connection that the acceptor has passed on. admitted: whether the connection has been
    admitted. received: data that has been read but not answered. unsent: the part of an answer that has not been sent.
    first: whether no line on this connection has been answered yet; only then may the connection switch to HTTP.
    """

    __slots__ = ("_first", "_held", "_http", "_http_began", "_is_http", "_lines", "_lost", "_normalizer", "_paused", "_peer", "_received",
                 "_refusing", "_server", "_serving", "_since", "_timer", "_transport", "_unanswered", "_unsent", "admitted",
                 "eof", "origin", "secure", "trusted")

    def __init__(self, server: ServerState, *, peer: str | None = None, admitted: bool = False, received: bytes = b"",
                 unsent: bytes = b"", first: bool = True) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._lines: LineProtocol | None = None
        self._http: web.RequestHandler | None = None
        self._normalizer: LineFeedNormalizer | None = None
        self._timer: asyncio.Handle | None = None
        self._first = first
        self._unsent = unsent
        self._received = received
        self._http_began = False  # whether a part of the next HTTP request has arrived
        self._serving = False
        self._paused = False
        self._refusing = False
        self._held = False
        self._is_http = False
        self._lost = False
        self._unanswered = 0
        self._since = 0.0
        self._peer = peer
        self.origin = ""
        self.admitted = admitted
        self.eof = False
        self.trusted = False
        self.secure = False

    @property
    def has_transport(self) -> bool:
        return self._transport is not None

    # Admission

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's transport is not a subclass of asyncio.Transport
        self._transport = transport
        server = self._server
        if self._peer is None:  # the acceptor did not accept this connection
            found = transport.get_extra_info("peername")
            self._peer = str(found[0]) if isinstance(found, tuple) and found else None
        origin = server.admission.origin_of(self._peer) if self._peer is not None else None
        if origin is None:  # the client may not connect, or has disconnected
            transport.abort()
            return
        self.origin = origin
        self.trusted = server.access.may_read_status(self._peer or "")
        self.secure = transport.get_extra_info("ssl_object") is not None
        loop = asyncio.get_running_loop()
        if not self.admitted and server.admission.has_room(origin):
            server.admission.add(origin)
            self.admitted = True
        if self.admitted:
            server.connection_opened(self)
            self._timer = loop.call_soon(self._begin)  # the transport cannot be paused before connection_made returns
        elif server.admission.enqueue(self):
            self._timer = loop.call_later(server.limits.queue_s, self.refuse)
            self._answer_livez()
        else:
            self.refuse()

    def admit(self) -> None:
        """Start to serve a connection that was queued."""
        self.admitted = True
        self._server.connection_opened(self)
        self._begin()

    def _begin(self) -> None:
        assert self._transport is not None
        if self._timer is not None:
            self._timer.cancel()
        if self._transport.is_closing():  # the client has reset the connection; connection_lost follows
            return
        server = self._server
        self._lines = LineProtocol(self._transport, server.responder, server.limits, self._as_http, trusted=self.trusted,
                                   first=self._first)
        self._transport.resume_reading()
        if self._unsent:
            self._transport.write(self._unsent)
        received, self._received = self._received, b""
        if received:
            self.data_received(received)
        if self.eof:
            self.eof_received()

    def refuse(self) -> None:
        """Tell the client, in a text line or an HTTP response, that the server is busy; close the connection."""
        assert self._transport is not None
        if self._timer is not None:
            self._timer.cancel()
        admission = self._server.admission
        admission.dequeue(self)
        if not self._transport.is_closing():
            self._transport.write(refusal_for(self._received, admission.refusal_reason(self.origin)))
            self._transport.close()

    def _answer_livez(self) -> None:
        """Answer a request for `/livez` even while the connection is queued."""
        if requests_livez(self._received):
            self.refuse()

    # Events of the transport

    def data_received(self, data: bytes) -> None:
        if self._is_http:
            self._feed_http(data)
        elif self._lines is not None:
            self._lines.data_received(data)
        elif self._transport is not None:  # the connection is not served yet: keep the first bytes, then stop reading
            self._received += data
            if len(self._received) > _MOST_UNREAD:
                self._transport.pause_reading()
            if not self.admitted:
                self._answer_livez()

    def eof_received(self) -> bool:
        """Handle the end of the client's input; return whether the transport stays open.

        Pending requests are still answered, except over TLS, where asyncio does not support half-closed connections.
        """
        self.eof = True
        if self._is_http:
            return self._http_began and not self.secure
        if self._lines is not None:
            self._lines.eof_received()
        return not self.secure

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._server.connection_closed(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._http is not None:
            self._server.http_app.forget(self._http)
            # Call the handler in the next iteration of the event loop: aiohttp's task may be about to start or to take a
            # request, and would fail if the handler had already lost the connection.
            asyncio.get_running_loop().call_soon(self._http.connection_lost, exc)
        elif self._lines is not None:
            self._lines.connection_lost()
        # Drop the references now. Otherwise the objects, which refer to each other, would remain until a garbage collection,
        # which blocks the event loop for tens of milliseconds if there are thousands of connections.
        self._http = self._lines = self._transport = self._timer = None

    def pause_writing(self) -> None:
        if self._http is not None:
            self._paused = True
            self._since = asyncio.get_running_loop().time()
            self._http.pause_writing()
        elif self._lines is not None:
            self._lines.pause_writing()

    def resume_writing(self) -> None:
        if self._http is not None:
            self._paused = False
            self._http.resume_writing()
        elif self._lines is not None:
            self._lines.resume_writing()

    # HTTP

    @property
    def is_last_request(self) -> bool:
        """Whether the connection closes after the request that is being served."""
        return self.eof or self._normalizer is not None

    @property
    def has_sent_too_much(self) -> bool:
        """Whether the client has sent so much before it got a response that nothing more is read."""
        return self._held

    def request_started(self) -> None:
        self._serving = True

    def body_refused(self) -> None:
        """From now on, drop the rest of the request body; the connection will be closed after the response."""
        self._refusing = True
        if self._held and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def response_ready(self) -> None:
        """Record that the response is about to be written; data that arrives from now on is the next request."""
        self._serving = self._http_began = False
        self._unanswered = 0
        self._since = asyncio.get_running_loop().time()

    def sweep(self, now: float) -> None:
        """Close the connection if the client is idle, sends its request too slowly, or does not read answers."""
        if not self._is_http:
            if self._lines is not None:
                self._lines.sweep(now)
            return
        limits = self._server.limits
        waited = now - self._since
        if (self._paused and waited > limits.stalled_s) or (
                not self._paused and not self._serving and waited > limits.http_idle_s):
            self.abort()

    @property
    def is_idle(self) -> bool:
        """Whether this is an HTTP connection that waits for a request, or for the rest of a request."""
        return self._is_http and not self._serving and not self._paused

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
        self._is_http = True
        self._since = asyncio.get_running_loop().time()
        self._normalizer = LineFeedNormalizer() if LineFeedNormalizer.is_needed(data) else None
        self._server.slices.run(self._open_http)
        self._feed_http(data)

    def _open_http(self) -> None:
        if self._transport is not None and not self._lost:
            self._http = self._server.http_app.serve(self._transport, self)

    def _feed_http(self, data: bytes) -> None:
        """Queue data for the HTTP parser; stop reading from the client while too much data is unanswered.

        If the request body was refused and is too large to be dropped, the connection is closed.
        """
        limits = self._server.limits
        self._unanswered += len(data)
        self._http_began = True
        if not self._refusing:
            self._server.slices.run(partial(self._parse_http, data))
            if self._unanswered > limits.unanswered_bytes and self._transport is not None:
                self._held = True  # resumed only when the rest is dropped, because aiohttp pauses this transport too
                self._transport.pause_reading()
        elif self._unanswered > limits.dropped_bytes:
            self.abort()

    def _parse_http(self, data: bytes) -> None:
        if self._http is None or self._lost or self._refusing:
            return
        if self._normalizer is not None:
            data = self._normalizer.feed(data)
        if not data:
            return
        try:
            self._http.data_received(data)
        except Exception as error:  # noqa: BLE001  a parser error; the event loop would log a traceback
            self._server.http_app.log_error(error)
            self.abort()
