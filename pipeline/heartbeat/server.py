"""The heartbeat server: text lines and HTTP on a TCP port, UDP on the same port, and a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.connections.acceptor import (
    AT_ONCE,
    SILENT_S,
    AcceptedSocket,
    Acceptor,
    received_so_far,
    send_and_close,
)
from pipeline.heartbeat.connections.admission import AdmissionControl
from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.connections.listeners import BACKLOG, ListenOptions, bind_tcp, bind_udp, bind_unix_socket
from pipeline.heartbeat.connections.refusals import refusal_for
from pipeline.heartbeat.connections.time_slice import TimeSlice
from pipeline.heartbeat.connections.tls_handshakes import TlsHandshakes
from pipeline.heartbeat.http.app import HttpApp
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.protocols.connection import Connection
from pipeline.heartbeat.protocols.responder import Responder
from pipeline.heartbeat.protocols.udp import UdpProtocol
from pipeline.heartbeat.snapshot.cache import HealthChecks, SnapshotCache, SnapshotSource
from pipeline.heartbeat.snapshot.loop_health import LoopHealth
from pipeline.heartbeat.snapshot.schema import Snapshot

_SWEEP_EVERY_S = 1.0
_CLOSE_TIMEOUT_S = 2.0
_LAST_TURNS = 5


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ServiceInfo:
    """Values that describe the service in the heartbeat's answers.

    zone: the time zone of timestamps. clock: returns the current time, with a time zone. not_ready: returns why the service does not do
    its work, apart from the database; "" if it does.
    """

    version: str = ""
    zone: tzinfo = UTC
    clock: Callable[[], datetime] = utc_now
    not_ready: Callable[[], str] = str


class HeartbeatServer:
    """Answers many clients at the same time from status snapshots.

    source: provides the snapshots. access: which clients may connect, and which clients need the token. actions: reads the
    data and performs the actions of the pages that need the token; None means that the server has no such pages. checks:
    the checks of the event loop and the database that every snapshot includes.
    """

    def __init__(self, source: SnapshotSource, listen: ListenOptions, *, limits: ServerLimits | None = None,
                 access: AccessPolicy | None = None, actions: OperationsContext | None = None,
                 checks: HealthChecks | None = None, service: ServiceInfo | None = None) -> None:
        service = service or ServiceInfo()
        self._listen = listen
        self.limits = limits or ServerLimits()
        self.access = access or AccessPolicy()
        self.admission = AdmissionControl(self.limits, self.access)
        self.admission.close_idle = self._close_idle
        self._checks = checks or HealthChecks()
        self._loop_health = LoopHealth(jump_after_s=self._checks.thresholds.jump_after_s)
        self._cache = SnapshotCache(source, self._loop_health, self._checks, started_at=service.clock(), version=service.version,
                                    fresh_s=self.limits.fresh_s, patience_s=self.limits.patience_s)
        self.responder = Responder(self._cache, service.zone, service.clock, self.access)
        self.http_app = HttpApp(self.responder, host_names=(listen.host, *listen.host_names), actions=actions,
                                zone=service.zone, body_s=self.limits.http_idle_s, not_ready=service.not_ready, version=service.version)
        self.slices: TimeSlice
        self.connections: set[Connection] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._servers: list[asyncio.Server] = []
        self._bound: list[socket.socket] = []
        self._acceptor: Acceptor | None = None
        self._handshakes: TlsHandshakes | None = None
        self._connecting: set[asyncio.Task[object]] = set()
        self._datagrams: list[asyncio.DatagramTransport] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._address = (listen.host, listen.port or 0)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that the server listens on; after start(), the actual port number."""
        return self._address

    async def status(self) -> Snapshot:
        """Return the current snapshot, including the health of the event loop and the database."""
        return await self.responder.snapshot()

    @property
    def connection_count(self) -> int:
        """Number of admitted connections."""
        return len(self.admission)

    # Start and stop

    async def start(self) -> None:
        """Start the server and return when clients can connect.

        Raises HeartbeatError when an address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self.slices = TimeSlice()
        await self.http_app.start()
        try:
            if self._listen.port is not None:
                self._bound = await bind_tcp(self._listen, receive_buffer_bytes=self.limits.receive_buffer_bytes)
                self._address = (self._listen.host, self._bound[0].getsockname()[1])
                for sock in self._bound:
                    await self._accept_from(sock)
            if self._listen.udp:
                for sock in self._bound:
                    transport, _ = await loop.create_datagram_endpoint(
                        lambda: UdpProtocol(self.responder, self.limits), sock=bind_udp(self._listen, sock))
                    self._datagrams.append(transport)
            if self._listen.socket_path is not None:
                self._servers.append(await loop.create_unix_server(
                    lambda: Connection(self, peer=""), sock=bind_unix_socket(self._listen.socket_path), backlog=BACKLOG))
        except BaseException:
            await self.stop()
            raise
        for probe in self._checks.probes:
            probe.start()
        self._sweeper = loop.create_task(self._sweep(), name="heartbeat-sweep")

    async def _accept_from(self, sock: socket.socket) -> None:
        """Start to accept connections on a listening socket.

        On systems with epoll(7), the acceptor accepts the connections. On other systems, asyncio accepts the
        connections and creates a transport for each connection immediately.
        """
        tls = self._listen.tls
        if hasattr(select, "epoll"):
            if tls is not None and self._handshakes is None:
                self._handshakes = TlsHandshakes(tls, deadline_s=self.limits.handshake_s)
            if self._acceptor is None:
                idle_s = self.limits.idle_s if tls is None else self.limits.handshake_s
                self._acceptor = Acceptor(self, self.responder, idle_s=idle_s, tls=tls is not None)
            self._acceptor.listen(sock)
            return
        self._servers.append(await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=sock, backlog=AT_ONCE, ssl=tls,
            ssl_handshake_timeout=self.limits.handshake_s if tls else None))
        sock.listen(BACKLOG)

    async def stop(self) -> None:
        """Stop listening, wait up to two seconds until pending answers are sent, and close all connections."""
        self._stop_listening()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait({self._sweeper})
        for connection in self.admission.pending():
            connection.refuse()
        for connection in tuple(self.connections):
            connection.close()
        await self.http_app.stop()
        with contextlib.suppress(TimeoutError):  # if a client still has not read its answers, its connection is aborted below
            await asyncio.wait_for(self._all_closed.wait(), _CLOSE_TIMEOUT_S)
        for connection in tuple(self.connections):
            connection.abort()
        if self._connecting:
            await asyncio.wait(self._connecting)
        for _ in range(_LAST_TURNS):  # let the event loop finish connections that are being accepted, refused or encrypted
            await asyncio.sleep(0)
        await self._cache.stop()
        for probe in self._checks.probes:
            await probe.stop()
        if self._listen.socket_path is not None:
            self._listen.socket_path.unlink(missing_ok=True)
        self._servers.clear()
        self._bound.clear()
        self._datagrams.clear()
        self._acceptor = None
        self._sweeper = None

    def _stop_listening(self) -> None:
        self.admission.close()  # connections accepted from now on are refused
        if self._acceptor is not None:
            self._acceptor.close()
        if self._handshakes is not None:
            self._handshakes.close()
        for server in self._servers:
            server.close()
        for transport in self._datagrams:
            transport.close()

    # Connections

    def hand_over(self, accepted: AcceptedSocket, received: bytes, unsent: bytes) -> None:
        """Create a transport for an admitted connection that the acceptor has passed on.

        received: data that the acceptor has read but not answered. unsent: the part of an answer that has not been sent
        yet.
        """
        self._connect(Connection(self, peer=accepted.peer, admitted=True, received=received, unsent=unsent,
                                 first=not accepted.answered), accepted)

    def queue_or_refuse(self, accepted: AcceptedSocket) -> None:
        """Queue a connection that cannot be admitted yet; refuse the connection if the queue is full.

        Over TLS, a refused connection is closed without a message, because the client could read the message only after
        a handshake.
        """
        tls = self._listen.tls is not None
        received = b"" if tls else received_so_far(accepted.sock)
        if len(self._connecting) < BACKLOG and self.admission.can_queue(accepted.origin):
            self._connect(Connection(self, peer=accepted.peer, received=received), accepted)
        elif not tls:
            send_and_close(accepted.sock, refusal_for(received, self.admission.refusal_reason(accepted.origin)))
        else:
            accepted.sock.close()

    def _connect(self, connection: Connection, accepted: AcceptedSocket) -> None:
        connection.origin = accepted.origin
        task: asyncio.Task[object] = asyncio.create_task(self._make_transport(connection, accepted.sock))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _make_transport(self, connection: Connection, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            if self._handshakes is not None:
                await self._handshakes.connect(lambda: connection, sock, connection.origin)
            else:
                await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, sock)
        except OSError:  # the client reset the connection, or the TLS handshake failed
            sock.close()
            if not connection.has_transport:
                self.connection_closed(connection)

    def connection_opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._all_closed.clear()

    def connection_closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._all_closed.set()
        self.admission.dequeue(connection)
        if connection.admitted:
            connection.admitted = False
            self.admission.remove(connection.origin)

    def _close_idle(self) -> bool:
        """Close the connection that has been idle longest; return whether a connection was closed.

        Connections on which no line has been answered are closed first, and then HTTP connections that wait for a request.
        """
        if self._acceptor is not None and self._acceptor.close_idle():
            return True
        idle = min((one for one in self.connections if one.is_idle), key=lambda one: one.idle_since, default=None)
        if idle is None or asyncio.get_running_loop().time() - idle.idle_since < SILENT_S:
            return False
        idle.abort()
        self.connection_closed(idle)
        return True

    async def _sweep(self) -> None:
        """Periodically close idle and stalled connections, and measure the lag of the event loop.

        A single timer for all connections costs less time than a timer for each connection.
        """
        loop = asyncio.get_running_loop()
        every_s = min(_SWEEP_EVERY_S, self.limits.idle_s, self.limits.http_idle_s)
        self._loop_health.record(time.monotonic(), self.responder.clock(), expected_s=0.0)
        while True:
            await asyncio.sleep(every_s)
            now = loop.time()
            self._loop_health.record(time.monotonic(), self.responder.clock(), expected_s=every_s)
            if self._acceptor is not None:
                self._acceptor.sweep(now)
            if self._handshakes is not None:
                self._handshakes.sweep(now)
            self.admission.sweep()
            for connection in tuple(self.connections):
                connection.sweep(now)
