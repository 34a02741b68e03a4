"""A small threaded site: a test sets its pages, and it records the requests."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Asked:
    """One request as it came in. peer: the address that the connection came from."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: str


@dataclass
class Answer:
    """What to say. A str body is sent as UTF-8 HTML. cut: hang up after so many bytes of it."""

    body: bytes | str = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # many may come at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up or refuse our certificate are what some tests are about."""


class PageSite:
    """`with PageSite({"/": "<a href=2>"}) as site:`; a page is an Answer, a body, or a function of the request."""

    def __init__(self, pages: Mapping[str, Answer | str | bytes | Callable[[Asked], Answer]] | None = None, *,
                 tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.pages = dict(pages or {})
        self.asked: list[Asked] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.command, self.path, dict(self.headers.items()), body,
                              self.client_address[0])
                site.asked.append(asked)
                answer: Any = site.pages.get(self.path, site.pages.get(self.path.partition("?")[0], Answer("no", 404)))
                if callable(answer):
                    answer = answer(asked)
                if not isinstance(answer, Answer):
                    answer = Answer(answer)
                content = answer.body.encode() if isinstance(answer.body, str) else answer.body
                self.send_response(answer.status)
                headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(content))}
                for name, value in (headers | answer.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content[:answer.cut])
                self.close_connection = self.close_connection or answer.cut is not None

            do_GET = do_POST = do_HEAD = _answer  # noqa: N815

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self._server = _Server((host, 0), Handler)
        self.host = f"{host}:{self._server.server_address[1]}"
        self.url = f"http{'s' if tls else ''}://{self.host}"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def paths(self) -> list[str]:
        """What was asked for, robots.txt left out."""
        return [asked.path for asked in self.asked if asked.path != "/robots.txt"]
