"""A threaded file server that behaves well, badly or maliciously, as a test asks."""

from __future__ import annotations

import email.utils
import gzip
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE = 64 * 1024


@dataclass
class Served:
    """One path. cuts: after how many body bytes to reset each of the next answers; lie: what Content-Length says."""

    body: bytes = b""
    etag: str = ""
    last_modified: str = ""
    ranges: bool = True
    content_type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    lie: int | None = None
    gentle: bool = False
    """A cut lets what was sent arrive: FIN, not RST."""
    chunked: bool = False
    close_delimited: bool = False
    packed: bool = False
    endless: bool = False
    stall_after: int | None = None
    pause_s: float = 0.0
    delay_s: float = 0.0
    ignore_if_range: bool = False
    range_shift: int = 0
    redirect: str = ""
    before: Callable[[], None] | None = None
    at: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    """Calls to make once an answer has sent so many bytes of body; each is made once."""


@dataclass
class Asked:
    """One request, and how many bytes of body it got."""

    path: str
    headers: dict[str, str]
    sent: int = 0
    status: int = 0


class FileServer:
    def __init__(self, port: int = 0, served: dict[str, Served] | None = None, tls: ssl.SSLContext | None = None) -> None:
        """served: shared with another server, such as the one that this one takes the place of."""
        self.served: dict[str, Served] = {} if served is None else served
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        outer = self

        class Handler(_Handler):
            server_of_files = outer

        self._server = _Quiet(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def put(self, path: str, body: bytes = b"", **how: object) -> str:
        """Serve a body at a path; returns the URL."""
        self.served[path] = Served(body=body, **how)  # type: ignore[arg-type]
        return self.url + path

    def asked_for(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Connections are reset, as when the machine goes away."""
        self.closing.set()
        self._server.hang_up()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_files: FileServer
    timeout = 30

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it
        pass

    def do_GET(self) -> None:
        files = self.server_of_files
        # A whole URL is what a proxy is asked for; this one then answers in the site's place.
        path = re.sub(r"^http://[^/]*", "", self.path).partition("?")[0]
        asked = Asked(path, {name.lower(): value for name, value in self.headers.items()})
        files.asked.append(asked)
        served = files.served.get(path)
        if served is None:
            self._plain(asked, 404)
            return
        if served.before:
            served.before()
        if served.delay_s:
            files.closing.wait(served.delay_s)
        if served.statuses:
            status = served.statuses.pop(0)
            if status != 200:
                self._plain(asked, status, served.headers)
                return
        if served.redirect:
            self._plain(asked, 302, {"Location": served.redirect})
            return
        self._send(served, asked)

    def _plain(self, asked: Asked, status: int, headers: dict[str, str] | None = None) -> None:
        asked.status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, served: Served, asked: Asked) -> None:
        body = gzip.compress(served.body, 1) if served.packed else served.body
        said = {"Content-Type": served.content_type, "ETag": served.etag, "Last-Modified": served.last_modified,
                "Content-Encoding": "gzip" if served.packed else ""}
        headers = {name: value for name, value in said.items() if value} | served.headers
        if self._unchanged(served, asked):
            asked.status = 304
            self.send_response(304)
            for name in ("ETag", "Last-Modified"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.end_headers()
            return
        first = self._first(served, asked)
        if first is not None and first >= len(body):
            self._plain(asked, 416, {"Content-Range": f"bytes */{len(body)}"})
            return
        asked.status = 200 if first is None else 206
        if first is not None:
            first = max(0, first + served.range_shift)
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            body = body[first:]
        self.send_response(asked.status)
        for name, value in headers.items():
            # Header bytes as they are: what http.server would refuse to send is just what is wanted here.
            self._headers_buffer.append(f"{name}: {value}\r\n".encode("latin-1"))
        if served.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif not served.close_delimited:
            self.send_header("Content-Length", str(len(body) if served.lie is None else served.lie))
        if served.close_delimited or served.lie is not None or served.endless:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        with suppress(OSError):
            self._pour(served, asked, body)

    def _unchanged(self, served: Served, asked: Asked) -> bool:
        if "range" in asked.headers:
            return False
        if match := asked.headers.get("if-none-match"):
            return match == served.etag
        since = asked.headers.get("if-modified-since")
        return bool(since) and since == served.last_modified

    def _first(self, served: Served, asked: Asked) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        if not match or not served.ranges or served.packed:
            return None
        condition = asked.headers.get("if-range")
        if condition and not served.ignore_if_range and condition not in (served.etag, served.last_modified):
            return None
        return int(match[1])

    def _pour(self, served: Served, asked: Asked, body: bytes) -> None:
        cut = served.cuts.pop(0) if served.cuts else None
        closing = self.server_of_files.closing
        position = 0
        while (served.endless or position < len(body)) and not closing.is_set():
            piece = body[position:position + PIECE] or b"x" * PIECE
            if cut is not None and asked.sent + len(piece) > cut:
                self._piece(served, asked, piece[:cut - asked.sent])
                self._hang_up(served)
                return
            if served.stall_after is not None and asked.sent >= served.stall_after:
                closing.wait(60)
                return
            self._piece(served, asked, piece)
            position += len(piece)
            if served.pause_s:
                time.sleep(served.pause_s)
        if served.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _piece(self, served: Served, asked: Asked, piece: bytes) -> None:
        if not piece:
            return
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if served.chunked else piece)
        asked.sent += len(piece)
        for byte, call in list(served.at):
            if asked.sent >= byte:
                served.at.remove((byte, call))
                call()

    def _hang_up(self, served: Served) -> None:
        """By RST nothing that is still under way is sure to arrive."""
        self.close_connection = True
        if not served.gentle:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()


@contextmanager
def file_server() -> Iterator[FileServer]:
    server = FileServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def http_date(seconds: float) -> str:
    return email.utils.formatdate(seconds, usegmt=True)
