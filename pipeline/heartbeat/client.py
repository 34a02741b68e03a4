"""Asking a heartbeat: blocking, with plain sockets, for commands in a terminal."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import HeartbeatBusyError, HeartbeatError
from pipeline.heartbeat.access import TOKEN_FILE
from pipeline.heartbeat.connections.refusals import BUSY
from pipeline.heartbeat.listeners import near, socket_path
from pipeline.settings import Settings
from pipeline.settings.fields.scalars import is_loopback

DATAGRAM_BYTES = 1232
_LONGEST_ANSWER = 64 * 2**20
_TRY_AGAIN = "try again in a moment; [heartbeat] max_connections and `pipeline status` tell more"
_FIX = "is `pipeline serve` running? [heartbeat] in settings.toml says where"


@dataclass(frozen=True)
class Way:
    """How to reach a heartbeat. path: of its Unix socket, instead of host and port; token: "" where none is needed."""

    host: str
    port: int
    path: Path | None = None
    tls: ssl.SSLContext | None = None
    token: str = ""

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else f"{self.host}:{self.port}"

    def ask(self, line: str, *, timeout_s: float = 5) -> str:
        """The answer to one line. Raises HeartbeatError, with retry, when nobody answers in time."""
        for answer in self.ask_lines([line], timeout_s=timeout_s):
            return answer
        raise AssertionError("one line in, one line out")

    def ask_lines(self, lines: Iterable[str], *, timeout_s: float = 5) -> Iterator[str]:
        """Over one connection: each line's answer, before the next is taken. Raises HeartbeatError, with retry."""
        with _translated(str(self), timeout_s), self._connected(timeout_s) as sock, sock.makefile("rb") as answers:
            if self.token:
                self._asked(sock, answers, f"token {self.token}".encode())  # a wrong one is told by what follows
            for line in lines:
                # A newline inside would be a second question, whose answer nobody reads.
                text = line.removesuffix("\n").removesuffix("\r").replace("\r", " ").replace("\n", " ")
                yield self._asked(sock, answers, text.encode("utf-8", "surrogateescape"))

    def _asked(self, sock: socket.socket, answers: BinaryIO, line: bytes) -> str:
        """Raises HeartbeatBusyError when the service is there and has no room."""
        try:
            sock.sendall(line + b"\n")
            answer = answers.readline(_LONGEST_ANSWER)
        except ConnectionError as error:  # it was refused before it could ask
            raise HeartbeatBusyError("busy: the connection was accepted, and closed without an answer", where=str(self),
                                     fix=_TRY_AGAIN, retry=True) from error
        text = answer.removesuffix(b"\n").decode("utf-8", "backslashreplace")
        if text.startswith("error: ") and text.endswith(BUSY):
            raise HeartbeatBusyError(f"busy: {text.removeprefix('error: ').removesuffix(BUSY).rstrip('; ')}", where=str(self),
                                     fix=_TRY_AGAIN, retry=True)
        if not answer.endswith(b"\n"):
            raise HeartbeatBusyError("busy: the connection was accepted, and closed without an answer", where=str(self),
                                     fix=_TRY_AGAIN, retry=True)
        return text

    def ask_datagram(self, text: str, *, timeout_s: float = 2) -> str:
        """The answer to one datagram. Raises HeartbeatError, with retry, when none comes in time."""
        with _translated(f"{self.host}:{self.port}", timeout_s):
            family, kind, proto, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind, proto) as sock:
                sock.settimeout(timeout_s)
                sock.connect(address)
                # Another machine answers with no more bytes than it was sent; newlines at the end are not looked at.
                padding = 0 if is_loopback(str(address[0])) else DATAGRAM_BYTES
                sock.send(text.encode("utf-8", "surrogateescape").ljust(padding, b"\n"))
                return sock.recv(65535).removesuffix(b"\n").decode("utf-8", "backslashreplace")

    @contextlib.contextmanager
    def _connected(self, timeout_s: float) -> Iterator[socket.socket]:
        with contextlib.ExitStack() as stack:
            if self.path is not None:
                sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                sock.settimeout(timeout_s)
                sock.connect(str(self.path))
            else:
                sock = stack.enter_context(socket.create_connection((self.host, self.port), timeout_s))
                if self.tls is not None:
                    sock = stack.enter_context(self.tls.wrap_socket(sock))
            yield sock


def way(settings: Settings) -> Way:
    """How the commands of this machine reach the service of these settings."""
    table = settings.heartbeat
    host = near(table.host)
    return Way(host, table.port, None if table.on_port else socket_path(settings),
               _own_certificate(settings), "" if is_loopback(host) else _token(settings))


def _own_certificate(settings: Settings) -> ssl.SSLContext | None:
    """Trust in the very certificate of the settings, whoever signed it and whatever name it has."""
    if settings.heartbeat.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(settings.folder / settings.heartbeat.certificate)
    except OSError as error:
        raise HeartbeatError(f"cannot be read: {error.strerror or error}", where=settings.heartbeat.certificate,
                             fix="correct [heartbeat] certificate") from error
    return context


def _token(settings: Settings) -> str:
    try:
        return (settings.data_dir / TOKEN_FILE).read_text("utf-8").strip()
    except OSError:
        return ""  # the answer will say that it is needed


def ask(host: str, port: int, line: str, *, timeout_s: float = 5) -> str:
    """`Way.ask` where no more than host and port is known."""
    return Way(host, port).ask(line, timeout_s=timeout_s)


def ping_lines(host: str, port: int, lines: Iterable[str], *, timeout_s: float = 5) -> Iterator[str]:
    return Way(host, port).ask_lines(lines, timeout_s=timeout_s)


def ask_udp(host: str, port: int, text: str, *, timeout_s: float = 2) -> str:
    return Way(host, port).ask_datagram(text, timeout_s=timeout_s)


@contextlib.contextmanager
def _translated(where: str, timeout_s: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise HeartbeatError(f"no answer within {timeout_s:g} s", where=where, fix=_FIX, retry=True) from error
    except OSError as error:
        raise HeartbeatError(f"cannot be reached: {error.strerror or error}", where=where, fix=_FIX,
                             retry=True) from error
