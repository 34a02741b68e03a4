"""A server that sends the exact bytes of a script and closes the connection."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]


class End(Enum):
    """How a connection ends. RAGGED: as CLOSED, but for TLS, which does not say so with a close_notify."""

    CLOSED = auto()
    RAGGED = auto()
    RESET = auto()


@dataclass
class ScriptedServer:
    """script: gives the bytes for a request, and the end where it is not `end`. tls: a server's context."""

    script: Callable[[Asked], bytes | tuple[bytes, End]]
    tls: ssl.SSLContext | None = None
    end: End = End.CLOSED
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(20)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is None:
                if self._answer(connection) is End.RESET:
                    _reset_at_close(connection)
                else:
                    connection.shutdown(socket.SHUT_WR)
                return
            with self.tls.wrap_socket(connection, server_side=True) as secured:
                end = self._answer(secured)
                if end is End.CLOSED:
                    secured.unwrap()
                elif end is End.RESET:
                    _reset_at_close(secured)
                else:
                    socket.socket.shutdown(secured, socket.SHUT_WR)

    def _answer(self, connection: socket.socket) -> End:
        raw = b""
        while b"\r\n\r\n" not in raw:
            if not (more := connection.recv(65536)):
                return End.CLOSED
            raw += more
        lines = raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        pairs = (line.partition(":") for line in lines[1:])
        asked = Asked(method, path, {name.lower(): value.strip() for name, _, value in pairs})
        self.asked.append(asked)
        said = self.script(asked)
        data, end = said if isinstance(said, tuple) else (said, self.end)
        connection.sendall(data)
        return end


def _reset_at_close(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
