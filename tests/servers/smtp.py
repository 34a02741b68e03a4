# ruff: noqa: N802  aiosmtpd finds its hooks by these names
"""A real SMTP server (aiosmtpd) that refuses, hangs up or falls silent at a chosen step.

    with SmtpServer() as server:
        server.faults.append(Fault("RCPT", "450 4.2.0 try later", times=1))
        …
        server.wait_for(1)[0].content
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

STAGES = ("CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "END")


@dataclass
class Fault:
    """What the server does instead of its duty at `stage` (END is the end of data).

    reply: a line to say, "" to say nothing; hang_up: closes the connection afterwards. No reply and no hang-up
    is silence. times: how often, -1 for ever. address: only for this recipient. keep: END takes the message all
    the same.
    """

    stage: str
    reply: str = ""
    hang_up: bool = False
    times: int = -1
    address: str = ""
    keep: bool = False


@dataclass(frozen=True)
class Received:
    """A message as it came: content has CRLF and single dots. answered: its client was told; at: by the monotonic clock; peer:
    the address of the client."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    options: tuple[str, ...]
    answered: bool = True
    at: float = field(default_factory=time.monotonic)
    peer: str = ""


@dataclass
class SmtpServer:
    """Listens on 127.0.0.1 once entered; `port` 0 takes a free one and keeps it for the next start.

    users: who may send, empty for everybody; tokens: the same by OAuth2. delay_s: before each answer to MAIL, RCPT
    and the end of data. tls: certificate; implicit: from the first byte, else STARTTLS. seven_bits: knows no
    8BITMIME, and refuses bodies that need it.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    port: int = 0
    max_bytes: int = 33_554_432
    utf8: bool = True
    seven_bits: bool = False
    host: str = "127.0.0.1"
    faults: list[Fault] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    logins: list[str] = field(default_factory=list)
    steps: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._open: set[asyncio.BaseTransport] = set()

    def __enter__(self) -> Self:
        listening = socket.create_server((self.host, self.port))
        self.port = listening.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(listening, ready), name="smtp-server", daemon=True)
        self._thread.start()
        assert ready.wait(10), "the SMTP server did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self, listening: socket.socket, ready: threading.Event) -> None:
        self._loop = loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _loop, _context: None)  # cut connections are what we are here for
        server = loop.run_until_complete(loop.create_server(
            self._session, sock=listening, ssl=self.tls if self.implicit else None))
        loop.call_soon(ready.set)
        loop.run_forever()
        server.close()
        for transport in list(self._open):
            transport.abort()  # type: ignore[attr-defined]
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.wait(pending, timeout=5))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def _session(self) -> SMTP:
        plain = self.implicit or self.tls is None
        return _Session(self, enable_SMTPUTF8=self.utf8, decode_data=False, data_size_limit=self.max_bytes,
                        hostname="mail.test", ident="test", loop=self._loop,
                        tls_context=None if plain else self.tls, auth_require_tls=not plain,
                        authenticator=self._check)

    def _check(self, server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        user = data.login.decode()
        good = self.users.get(user) == data.password.decode()
        if good:
            self.logins.append(user)
        return AuthResult(success=good, handled=False, auth_data=user)

    def take(self, stage: str, address: str = "") -> Fault | None:
        """The fault to play at this stage, counted."""
        self._step()
        for fault in self.faults:
            if fault.stage == stage and fault.times != 0 and fault.address in ("", address):
                fault.times -= 1
                return fault
        return None

    def _step(self) -> None:
        with self._changed:
            self.steps += 1
            self._changed.notify_all()

    def wait_for_step(self, number: int, *, within_s: float = 60.0) -> None:
        """Until clients have taken so many steps in all: each command of a stage, and each end of data."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.steps >= number, within_s), f"step {number} was not reached within {within_s} s"

    def keep(self, envelope: Envelope, *, answered: bool = True, peer: str = "") -> None:
        assert isinstance(envelope.content, bytes)
        self._step()
        with self._changed:
            self.received.append(Received(envelope.mail_from or "", tuple(envelope.rcpt_tos), envelope.content,
                                          tuple(envelope.mail_options), answered, peer=peer))
            self._changed.notify_all()

    def wait_until_idle(self, *, within_s: float = 20.0) -> None:
        """Until no connection is open: what a client that was killed had still sent has been dealt with."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while self._open:
                left = deadline - time.monotonic()
                assert left > 0, f"{len(self._open)} connections are open after {within_s} s"
                self._changed.wait(min(left, 0.05))

    def wait_for(self, count: int, *, within_s: float = 20.0) -> list[Received]:
        """The messages, once there are `count`."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while len(self.received) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{len(self.received)} of {count} messages came within {within_s} s"
                self._changed.wait(left)
            return list(self.received)


class _Session(SMTP):
    """One connection, with the server's faults put before each command."""

    def __init__(self, owner: SmtpServer, **options: Any) -> None:
        self._owner_server = owner
        super().__init__(_Handler(owner), **options, auth_exclude_mechanism=["XOAUTH2"] if not owner.tokens else None)

    async def auth_XOAUTH2(self, _server: SMTP, arguments: list[str]) -> AuthResult:
        """As Gmail does: a refusal is JSON, to be answered by an empty line."""
        user, _, rest = base64.b64decode(arguments[1]).decode().partition("\x01")
        name = user.removeprefix("user=")
        if rest == f"auth=Bearer {self._owner_server.tokens.get(name)}\x01\x01":
            self._owner_server.logins.append(name)
            return AuthResult(success=True, handled=False, auth_data=name)
        await self.push("334 " + base64.b64encode(b'{"status":"400","schemes":"Bearer"}').decode())
        await self._reader.readline()  # type: ignore[union-attr]
        return AuthResult(success=False, handled=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._original_transport is None:
            self._owner_server.connections += 1
        self._owner_server._open.add(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner_server._open.discard(self.transport)  # type: ignore[arg-type]
        super().connection_lost(error)

    async def play(self, stage: str, address: str = "") -> bool:
        fault = self._owner_server.take(stage, address)
        if fault is None:
            return False
        if fault.reply:
            await self.push(fault.reply)
        if fault.hang_up:
            assert self.transport is not None
            self.transport.close()
        elif not fault.reply:
            await asyncio.sleep(3600)
        return True

    async def _handle_client(self) -> None:
        if not await self.play("CONNECT"):
            await super()._handle_client()

    async def smtp_EHLO(self, hostname: str) -> None:
        if not await self.play("EHLO"):
            await super().smtp_EHLO(hostname)

    async def push(self, status: Any) -> None:
        if status is None:  # a fault at the end of data said what there was to say
            return
        if self._owner_server.seven_bits and b"8BITMIME" in (status if isinstance(status, bytes) else status.encode()):
            status = "250-ENHANCEDSTATUSCODES"
        await super().push(status)

    async def smtp_STARTTLS(self, arg: str) -> None:
        if not await self.play("STARTTLS"):
            await super().smtp_STARTTLS(arg)

    async def smtp_AUTH(self, arg: str) -> None:
        if not await self.play("AUTH"):
            await super().smtp_AUTH(arg)

    async def smtp_MAIL(self, arg: str | None) -> None:
        assert self.session is not None
        await asyncio.sleep(self._owner_server.delay_s)
        if (self._owner_server.users or self._owner_server.tokens) and not self.session.authenticated:
            await self.push("530 5.7.0 Authentication required")
        elif not await self.play("MAIL"):
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:
        await asyncio.sleep(self._owner_server.delay_s)
        address = (arg or "").partition("<")[2].partition(">")[0]
        if not await self.play("RCPT", address):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:
        if not await self.play("DATA"):
            await super().smtp_DATA(arg)


class _Handler:
    def __init__(self, owner: SmtpServer) -> None:
        self._owner = owner

    async def handle_DATA(self, server: _Session, session: Any, envelope: Envelope) -> str | None:
        await asyncio.sleep(self._owner.delay_s)
        if self._owner.seven_bits and not envelope.content.isascii():  # type: ignore[union-attr]
            return "554 5.6.3 8-bit characters in a 7-bit message"
        ahead = next((f for f in self._owner.faults if f.stage == "END" and f.times != 0), None)
        if ahead is None or ahead.keep:
            self._owner.keep(envelope, answered=ahead is None, peer=str(session.peer[0]))
        if ahead is not None:
            ahead.times -= 1
            if ahead.hang_up:
                assert server.transport is not None
                server.transport.abort()
                return None
            if not ahead.reply:
                await asyncio.sleep(3600)
            return ahead.reply
        return "250 2.0.0 Queued"
