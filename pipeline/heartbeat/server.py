"""The heartbeat: one listening port for lines and HTTP, and datagrams beside it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from pipeline.errors import HeartbeatError
from pipeline.heartbeat.access import Access
from pipeline.heartbeat.connections.acceptor import AT_ONCE, SILENT_S, Accepted, Acceptor, heard_so_far, say_and_close
from pipeline.heartbeat.connections.admission import Admission
from pipeline.heartbeat.connections.handshakes import Handshakes
from pipeline.heartbeat.connections.limits import Limits
from pipeline.heartbeat.connections.refusals import answer_without_a_place
from pipeline.heartbeat.connections.time_slice import TimeSlice
from pipeline.heartbeat.http.actions import Desk
from pipeline.heartbeat.http.app import Web
from pipeline.heartbeat.listeners import listen_on
from pipeline.heartbeat.protocols.connection import Connection
from pipeline.heartbeat.protocols.lines import Replies
from pipeline.heartbeat.protocols.udp import Datagrams
from pipeline.heartbeat.snapshot.cache import Answers, Latest
from pipeline.heartbeat.snapshot.loop_health import Thresholds, Vitals
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.heartbeat.snapshot.write_probe import Probe

_BACKLOG = 4096  # a connection that finds it full is tried again by its client's kernel after a second, then three
_SWEEP_EVERY_S = 1.0
_GOODBYE_S = 2.0
_LAST_TURNS = 5


class Heartbeat:
    """Owns one port, and answers many clients at once from `answer.status()`.

    port 0 takes a free one; `address` says which. zone: of the timestamps. udp: answer datagrams on the same port
    number. names: what the Host header of a browser may say beside addresses. access: who may connect and ask.
    desk: what the pages behind the token show and do. tls: the port then speaks TLS only. socket_path: a Unix
    socket, beside the port; port None: instead of it. probe: whether the database takes a write. clock: now, aware.
    """

    def __init__(self, *, host: str, port: int | None, answer: Answers, zone: tzinfo = UTC, version: str = "",
                 udp: bool = False, names: tuple[str, ...] = (), limits: Limits | None = None,
                 access: Access | None = None, desk: Desk | None = None, tls: ssl.SSLContext | None = None,
                 socket_path: Path | None = None, probe: Probe | None = None, thresholds: Thresholds | None = None,
                 clock: Callable[[], datetime] | None = None) -> None:
        self._host = host
        self._port = port
        self._udp = udp
        clock = clock or _utc_now
        self.limits = limits or Limits()
        self.access = access or Access()
        self.admission = Admission(self.limits, self.access)
        self.admission.make_room = self._make_room
        self._tls = tls
        self._socket_path = socket_path
        self._probe = probe
        thresholds = thresholds or Thresholds()
        self._vitals = Vitals(jump_after_s=thresholds.jump_after_s)
        self._latest = Latest(answer, self._vitals, started_at=clock(), version=version, fresh_s=self.limits.fresh_s,
                              patience_s=self.limits.patience_s, probe=probe, thresholds=thresholds)
        self.replies = Replies(self._latest, zone, clock, self.access)
        self.web = Web(self.replies, host=host, names=names, desk=desk, zone=zone, body_s=self.limits.http_idle_s)
        self.slices: TimeSlice
        self.connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._servers: list[asyncio.Server] = []
        self._bound: list[socket.socket] = []
        self._acceptor: Acceptor | None = None
        self._handshakes: Handshakes | None = None
        self._handed_over: set[asyncio.Task[object]] = set()
        self._datagrams: list[asyncio.DatagramTransport] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._address = (host, port or 0)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that answer; the real port once started."""
        return self._address

    async def status(self) -> Snapshot:
        """The snapshot as it is answered, with what the service says of itself."""
        return await self._latest.get(self.replies.clock())

    @property
    def present(self) -> int:
        """Clients that have a place."""
        return len(self.admission)

    def joined(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._empty.clear()

    def left(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()
        self.admission.gave_up(connection)
        if connection.placed:
            connection.placed = False
            self.admission.left(connection.origin)

    def _make_room(self) -> bool:
        """Close who has been silent longest: without a word, or else between two HTTP requests."""
        if self._acceptor is not None and self._acceptor.make_room():
            return True
        idle = min((one for one in self.connections if one.idles), key=lambda one: one.idle_since, default=None)
        if idle is None or asyncio.get_running_loop().time() - idle.idle_since < SILENT_S:
            return False
        idle.abort()
        self.left(idle)
        return True

    async def start(self) -> None:
        """Return once the port answers. Raises HeartbeatError when it cannot be had."""
        loop = asyncio.get_running_loop()
        self.slices = TimeSlice()
        await self.web.start()
        try:
            for sock in await self._listening() if self._port is not None else []:
                await self._take_from(sock)
            if self._udp:
                await self._start_datagrams()
            if self._socket_path is not None:
                self._servers.append(await loop.create_unix_server(
                    lambda: Connection(self, peer=""), sock=listen_on(self._socket_path), backlog=_BACKLOG))
        except BaseException:
            await self.stop()
            raise
        if self._probe is not None:
            self._probe.start()
        self._sweeper = loop.create_task(self._sweep(), name="heartbeat-sweep")

    async def _take_from(self, sock: socket.socket) -> None:
        """Connections begin in the acceptor; where the system has none, each gets its transport at once."""
        self._bound.append(sock)
        if hasattr(select, "epoll"):
            if self._tls is not None and self._handshakes is None:
                self._handshakes = Handshakes(self._tls, deadline_s=self.limits.handshake_s)
            if self._acceptor is None:
                idle_s = self.limits.idle_s if self._tls is None else self.limits.handshake_s
                self._acceptor = Acceptor(self, self.replies, idle_s=idle_s, tls=self._tls is not None)
            self._acceptor.listen(sock)
            return
        self._servers.append(await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=sock, backlog=AT_ONCE, ssl=self._tls,
            ssl_handshake_timeout=self.limits.handshake_s if self._tls else None))
        sock.listen(_BACKLOG)

    def hand_over(self, accepted: Accepted, said: bytes, owed: bytes) -> None:
        """From the acceptor, with its place."""
        self._make(Connection(self, peer=accepted.peer, placed=True, said=said, owed=owed, first=not accepted.asked),
                   accepted)

    def without_a_place(self, accepted: Accepted) -> None:
        """Have it wait for one; where too many wait, say so at once. Over TLS even that takes a handshake."""
        said = heard_so_far(accepted.sock) if self._tls is None else b""
        if len(self._handed_over) < _BACKLOG and self.admission.could_wait(accepted.origin):
            self._make(Connection(self, peer=accepted.peer, said=said), accepted)
        elif self._tls is None:
            say_and_close(accepted.sock, answer_without_a_place(said, self.admission.why_not(accepted.origin)))
        else:
            accepted.sock.close()

    def _make(self, connection: Connection, accepted: Accepted) -> None:
        connection.origin = accepted.origin
        task: asyncio.Task[object] = asyncio.create_task(self._connected(connection, accepted.sock))
        self._handed_over.add(task)
        task.add_done_callback(self._handed_over.discard)

    async def _connected(self, connection: Connection, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            if self._handshakes is not None:
                await self._handshakes.connect(lambda: connection, sock, connection.origin)
            else:
                await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, sock)
        except OSError:  # it was reset on the way, or shook no hands
            sock.close()
            if not connection.made:
                self.left(connection)

    async def stop(self) -> None:
        """Stop listening and close; what was answered still leaves, for two seconds at most."""
        self._stop_listening()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait({self._sweeper})
        for waiting in self.admission.waiting():
            waiting.refuse()
        for connection in tuple(self.connections):
            connection.close()
        await self.web.stop()
        with contextlib.suppress(TimeoutError):  # who does not read its answer by then is cut off below
            await asyncio.wait_for(self._empty.wait(), _GOODBYE_S)
        for connection in tuple(self.connections):
            connection.abort()
        if self._handed_over:
            await asyncio.wait(self._handed_over)
        for _ in range(_LAST_TURNS):  # for those that are not counted: being accepted, refused, shaking hands
            await asyncio.sleep(0)
        await self._latest.stop()
        if self._probe is not None:
            await self._probe.stop()
        if self._socket_path is not None:
            self._socket_path.unlink(missing_ok=True)
        self._servers.clear()
        self._bound.clear()
        self._datagrams.clear()
        self._acceptor = None
        self._sweeper = None

    def _stop_listening(self) -> None:
        self.admission.close()  # one that was being accepted is refused
        if self._acceptor is not None:
            self._acceptor.close()
        if self._handshakes is not None:
            self._handshakes.close()
        for server in self._servers:
            server.close()
        for transport in self._datagrams:
            transport.close()

    async def _listening(self) -> list[socket.socket]:
        """Sockets bound to every address of the host, all on one port."""
        sockets: list[socket.socket] = []
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            port = self._port or 0
            for family, _, _, _, address in dict.fromkeys(found):
                sock = socket.socket(family, socket.SOCK_STREAM)
                sockets.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.limits.receive_buffer_bytes)  # inherited
                sock.bind((address[0], port, *address[2:]))
                port = sock.getsockname()[1]
                sock.listen(_BACKLOG)
                sock.setblocking(False)
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise self._refused(error) from error
        self._address = (self._host, port)
        return sockets

    async def _start_datagrams(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._bound:
            # Bound here, since uvloop hides the reason when it cannot bind.
            sock = socket.socket(listening.family, socket.SOCK_DGRAM)
            try:
                sock.setblocking(False)
                if listening.family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(listening.getsockname())
            except OSError as error:
                sock.close()
                raise self._refused(error, " (UDP)") from error
            transport, _ = await loop.create_datagram_endpoint(
                lambda: Datagrams(self.replies, self.limits), sock=sock)
            self._datagrams.append(transport)

    def _refused(self, error: OSError, kind: str = "") -> HeartbeatError:
        if error.errno == errno.EADDRINUSE:
            return HeartbeatError(f"port {self._port} on {self._host} is in use{kind}", where="heartbeat",
                                  fix="stop the other program or set [heartbeat] port = … in settings.toml")
        if error.errno == errno.EACCES:
            return HeartbeatError(f"port {self._port} on {self._host} needs privileges{kind}", where="heartbeat",
                                  fix="set [heartbeat] port = … above 1023 in settings.toml")
        reason = error.strerror or (os.strerror(error.errno) if error.errno else "no such address")
        return HeartbeatError(f"cannot listen on {self._host}, port {self._port}{kind}: {reason}", where="heartbeat",
                              fix="set [heartbeat] host = … in settings.toml to an address of this machine")

    async def _sweep(self) -> None:
        """Close what is idle or stuck, and take the loop's pulse. One timer for all is cheaper than one each."""
        loop = asyncio.get_running_loop()
        every_s = min(_SWEEP_EVERY_S, self.limits.idle_s, self.limits.http_idle_s)
        self._vitals.beat(time.monotonic(), self.replies.clock(), asked_s=0.0)
        while True:
            await asyncio.sleep(every_s)
            now = loop.time()
            self._vitals.beat(time.monotonic(), self.replies.clock(), asked_s=every_s)
            if self._acceptor is not None:
                self._acceptor.sweep(now)
            if self._handshakes is not None:
                self._handshakes.sweep(now)
            self.admission.make_room_for_waiting()
            for connection in tuple(self.connections):
                connection.swept(now)


def _utc_now() -> datetime:
    return datetime.now(UTC)
