"""A blocking heartbeat client on plain sockets, for commands that run on the same machine."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import HeartbeatBusyError, HeartbeatError
from pipeline.heartbeat.addresses import connectable_host, socket_path
from pipeline.heartbeat.connections.refusals import BUSY
from pipeline.heartbeat.token import TOKEN_FILE
from pipeline.settings import Settings
from pipeline.settings.fields.scalars import is_loopback

DATAGRAM_BYTES = 1232
_LONGEST_ANSWER = 64 * 2**20
_RETRY_FIX = "try again in a moment, or increase [heartbeat] max_connections"
_FIX = "start `pipeline serve`, or correct [heartbeat] in settings.toml"


@dataclass(frozen=True)
class HeartbeatClient:
    """Sends commands to the heartbeat server over TCP, TLS, a Unix socket or UDP.

    path: path of the Unix socket to connect to; None means TCP to `host` and `port`. token: the access token; "" means
    that the client sends no token.
    """

    host: str
    port: int
    path: Path | None = None
    tls: ssl.SSLContext | None = None
    token: str = ""

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else f"{self.host}:{self.port}"

    def ask(self, line: str, *, timeout_s: float = 5) -> str:
        """Send one line and return the answer.

        Raises HeartbeatError if the server is busy or does not answer within `timeout_s` seconds. The attribute `retry`
        of the error is then True, because another attempt may succeed.
        """
        for answer in self.ask_lines([line], timeout_s=timeout_s):
            return answer
        raise AssertionError("ask_lines() yielded no answer for the line")

    def ask_lines(self, lines: Iterable[str], *, timeout_s: float = 5) -> Iterator[str]:
        """Send several lines over one connection and yield the answer to each.

        The next line is taken from `lines` only after the server has answered the previous line. Raises HeartbeatError
        like `ask`.
        """
        with _translated(str(self), timeout_s), self._connected(timeout_s) as sock, sock.makefile("rb") as answers:
            if self.token:
                self._exchange(sock, answers, f"token {self.token}".encode())  # if the token is wrong, the next answer is an error
            for line in lines:
                # A newline inside the line would begin a second command, whose answer would not be read.
                text = line.removesuffix("\n").removesuffix("\r").replace("\r", " ").replace("\n", " ")
                yield self._exchange(sock, answers, text.encode("utf-8", "surrogateescape"))

    def _exchange(self, sock: socket.socket, answers: BinaryIO, line: bytes) -> str:
        """Send one line and return the answer. Raises HeartbeatBusyError when the server is busy."""
        try:
            sock.sendall(line + b"\n")
            answer = answers.readline(_LONGEST_ANSWER)
        except ConnectionError as error:  # the service closed the connection before the line was sent
            raise self._busy("the service closed the connection without answering") from error
        text = answer.removesuffix(b"\n").decode("utf-8", "backslashreplace")
        if text.startswith("error: ") and text.endswith(BUSY):
            raise self._busy(text.removeprefix("error: ").removesuffix(BUSY).rstrip("; "))
        if not answer.endswith(b"\n"):
            raise self._busy("the service closed the connection without answering")
        return text

    def _busy(self, reason: str) -> HeartbeatBusyError:
        return HeartbeatBusyError(f"the service is busy: {reason}", where=str(self), fix=_RETRY_FIX, retry=True)

    def ask_datagram(self, text: str, *, timeout_s: float = 2) -> str:
        """Send one UDP datagram and return the answer.

        Raises HeartbeatError if no answer arrives within `timeout_s` seconds. The attribute `retry` of the error is then
        True, because another attempt may succeed.
        """
        with _translated(f"{self.host}:{self.port}", timeout_s):
            family, kind, proto, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind, proto) as sock:
                sock.settimeout(timeout_s)
                sock.connect(address)
                # To another machine, the server sends no more bytes than it received: append newlines, which the server ignores.
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


def client_for(settings: Settings) -> HeartbeatClient:
    """Return a client for the service that `settings` configure, running on the same machine."""
    table = settings.heartbeat
    host = connectable_host(table.host)
    return HeartbeatClient(host, table.port, None if table.on_port else socket_path(settings),
                           trust_own_certificate(settings), "" if is_loopback(host) else _token(settings))


def trust_own_certificate(settings: Settings) -> ssl.SSLContext | None:
    """Return a TLS context that trusts only the certificate in the settings; None if none is configured.

    Neither the issuer nor the host name of the certificate is checked. Raises HeartbeatError when the certificate file
    cannot be read.
    """
    if settings.heartbeat.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(settings.folder / settings.heartbeat.certificate)
    except OSError as error:
        raise HeartbeatError(f"the certificate cannot be read: {error.strerror or error}", where=settings.heartbeat.certificate,
                             fix="correct the setting `certificate` in [heartbeat]") from error
    return context


def _token(settings: Settings) -> str:
    try:
        return (settings.data_dir / TOKEN_FILE).read_text("utf-8").strip()
    except OSError:
        return ""  # without a token, the service answers that the token is required


@contextlib.contextmanager
def _translated(where: str, timeout_s: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise HeartbeatError(f"the service did not answer within {timeout_s:g} s", where=where, fix=_FIX, retry=True) from error
    except OSError as error:
        raise HeartbeatError(f"the service cannot be reached: {error.strerror or error}", where=where, fix=_FIX,
                             retry=True) from error
