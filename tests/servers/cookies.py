"""A proxy that answers for every HTTP host, sets cookies byte by byte and records received ones."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass
class Reply:
    """cookies: the `Set-Cookie` fields; location: of a redirect; date: the `Date` field, "" for the right one."""

    body: str = "<p>x</p>"
    cookies: list[bytes] = field(default_factory=list)
    location: str = ""
    date: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


class CookieHosts:
    """`with CookieHosts() as hosts:`; `hosts.url` is the proxy, `hosts.replies` what each URL answers."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.sent: dict[str, list[bytes]] = {}
        """By URL, the Cookie field of each request in turn."""
        hosts = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = self.path if self.path.startswith("http") else f"{hosts.url}{self.path}"
                hosts.sent.setdefault(url, []).append((self.headers.get("Cookie") or "").encode("latin-1"))
                reply = hosts.replies.get(url, Reply())
                self.send_response_only(302 if reply.location else 200)
                self.send_header("Date", reply.date or self.date_time_string())
                for cookie in reply.cookies:
                    self.send_header("Set-Cookie", cookie.decode("latin-1"))
                if reply.location:
                    self.send_header("Location", reply.location)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(reply.body.encode())))
                self.end_headers()
                self.wfile.write(reply.body.encode())

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
