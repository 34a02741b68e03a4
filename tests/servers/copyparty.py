"""copyparty, a file server: a login by password alone, as multipart, without a redirect."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.servers.ports import free_port
from tests.servers.proxies import running

PASSWORD = "Fil3 & <pass> é"
FOLDERS = 12

_PASSED_ON = ("Content-Type", "Cookie", "Origin", "Referer", "User-Agent")


@contextmanager
def start_copyparty(folder: Path) -> Iterator[tuple[Callable[..., Any], Callable[[], None]]]:
    """A WSGI application in front of one with FOLDERS folders, and a function that makes it forget every login."""
    for number in range(FOLDERS):
        shared = folder / "shared" / f"folder {number}"
        shared.mkdir(parents=True)
        (shared / f"file {number}.txt").write_text(f"file {number}\n" * 1000)
    port = free_port()
    logins: list[str] = []

    def ask(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        headers = {"Host": environ["HTTP_HOST"]}
        for name in _PASSED_ON:
            key = name.upper().replace("-", "_")
            if value := environ.get(key if key == "CONTENT_TYPE" else f"HTTP_{key}"):
                headers[name] = value
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = quote(environ["PATH_INFO"].encode("latin-1")) + (f"?{query}" if (query := environ["QUERY_STRING"]) else "")
        answer, content = ask(environ["REQUEST_METHOD"], path, headers, body)
        logins.extend(cookie.partition(";")[0] for cookie in answer.headers.get_all("Set-Cookie", [])
                      if "Expires" in cookie)
        kept = [(name, value) for name, value in answer.getheaders() if name not in ("Connection", "Content-Length")]
        start_response(f"{answer.status} {answer.reason}", [*kept, ("Content-Length", str(len(content)))])
        return [content]

    def forget() -> None:
        """Log the account out from another browser, which ends its session everywhere."""
        form = b"--x\r\nContent-Disposition: form-data; name=\"act\"\r\n\r\nlogout\r\n--x--\r\n"
        _, page = ask("POST", "/", {"Cookie": logins[-1], "Content-Type": "multipart/form-data; boundary=x",
                                    "User-Agent": "test"}, form)
        assert b"ok bye" in page

    command = ["env", f"HOME={folder}", f"XDG_CONFIG_HOME={folder}", "PYTHONUTF8=1", sys.executable, "-m", "copyparty", "-q",
               "-i", "127.0.0.1", "-p", str(port), "-a", f"crawler:{PASSWORD}", "-v", f"{folder / 'shared'}::r,crawler"]
    with running(command, port):
        yield application, forget
