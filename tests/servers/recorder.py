"""An HTTP proxy that answers for every site and records the requests."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from typing import Self


class Recorder:
    """`with Recorder(answer) as proxy:`. answer: the body of a page by its URL, None for an empty 404.

    asked: the URLs of request lines, octet by octet as Latin-1; CONNECT is refused.
    """

    def __init__(self, answer: Callable[[str], str | None]) -> None:
        self.asked: list[str] = []
        recorder = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 20

            def handle(self) -> None:
                while line := self.rfile.readline().decode("latin-1"):
                    while self.rfile.readline().strip():
                        pass
                    method, _, rest = line.partition(" ")
                    url = rest.rpartition(" ")[0]
                    recorder.asked.append(url)
                    body = None if method == "CONNECT" else answer(url)
                    data = (body or "").encode()
                    self.wfile.write(f"HTTP/1.1 {'404 Not Found' if body is None else '200 OK'}\r\nContent-Type: text/html; "
                                     f"charset=utf-8\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 512

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
