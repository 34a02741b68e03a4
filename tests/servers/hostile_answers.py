"""Hostile HTTP responses from a seed: status lines, headers, redirects, codings, bodies, names."""

from __future__ import annotations

import gzip
import random
import socket
import threading
import zlib
from collections.abc import Callable
from typing import Self

_PLACES = ["http://host:99x90/", "http://127.0.0.1:99999/", "http://[foo/", "http://[::1/", "//", "http://", "http:///x", "https:/x",
           "http://127.0.0.1:-1/", "http://%zz/", "http://a b/", "\x00", "javascript:alert(1)", "file:///etc/passwd", "data:,x",
           "ftp://127.0.0.1/x", "http://xn--\x80/", "http://127.0.0.1:0/", "http://\u2028/", "?", "#", "..", "/" * 9000,
           "http://user:pa:ss@@127.0.0.1/", "http://256.256.256.256/", "http://0x7f.1:1/", "http://localhost.:1/", "mailto:a@b", "\\\\x",
           "http://127.0.0.1:1/\ud800", "http://" + "a" * 300 + "/", "http://" + "a." * 200 + "/", "blob:http://x/", "http://\x7f/"]
_NAMES = ["filename*=undefined''x.pdf", "filename*=UTF-8''%ff%fe", "filename*=''", "filename*=utf-7''+AGE-", "filename*=zlib''x",
          'filename="', "filename=", 'filename="../../etc/passwd"', "filename=\x00", 'filename="' + "a" * 9000 + '"', "filename=..",
          'filename="con"', 'filename="a\\\\b\\\\c.pdf"', "filename==?utf-8?q?x?=", "filename*0=a; filename*2=b", 'filename="\u202egpj.exe"',
          "filename*=idna''x", "filename*=base64_codec''x", "filename*=utf-16''%d8%00", ";;;=;=", "filename=\xff\xfe"]
_TYPES = ["text/html; charset=zlib", "text/html; charset=undefined", "text/html; charset=idna", "text/html; charset=utf-7", "text/html;",
          "text/html; charset=\x00", "/", "", "text/html; charset=" + "a" * 5000, "application/pdf", "image/png", "text/plain; charset=hex",
          "text/html; charset=unicode_escape", "multipart/x-mixed-replace", "application/json", "application/xml", "TEXT/HTML; CHARSET=\"",
          "text/html; charset=utf-16", "text/html; charset=utf-32", "text/html; charset=punycode", "text/xml; charset=raw_unicode_escape"]
_CODINGS = ["gzip", "deflate", "br", "zstd", "gzip, gzip, gzip", "compress", "identity", "x", "", "gzip;q=1", "\x00", "gzip," * 200]
_BODIES: list[Callable[[random.Random], bytes]] = [
    lambda _: b"", lambda _: b"\x00" * 5000, lambda _: b"<" * 5000, lambda _: b"<a href='" * 500, lambda _: b"\xff\xfe<\x00a\x00>\x00" * 50,
    lambda _: b"<div>" * 3000, lambda r: r.randbytes(3000), lambda _: b"<!--" * 900, lambda _: b"<script>" + b"{" * 5000,
    lambda _: b"<meta charset=zlib><p>x", lambda _: b"<meta charset=undefined>" + bytes(range(256)), lambda _: b"[" * 50_000,
    lambda _: b'{"a":' * 20_000, lambda _: b"<?xml version='1.0' encoding='zlib'?><rss>", lambda _: b"%PDF-1.7\n%%EOF",
    lambda _: b"<!DOCTYPE x [<!ENTITY a 'b'><!ENTITY c '&a;&a;'>]><x>&c;</x>", lambda _: gzip.compress(b"<p>x" * 99)[:60],
    lambda _: b"<base href='http://[x/'><a href=y><a href='//'><img src='http://h:x/'>", lambda _: b"<svg><title><p><style>" * 400,
    lambda _: b"<meta http-equiv=refresh content='0;url=http://[x/'>", lambda _: b"<a href=\"\xed\xa0\x80\">", lambda _: b"\xef\xbb\xbf\xef\xbb\xbf<p>",
    lambda _: zlib.compress(b"x" * 10**6), lambda _: b"<form action='http://['><input name=a>", lambda _: b"<select>" * 3000, lambda _: b"<p>\xc0\x80\xf8\x88",
]
_STATUS = ["HTTP/1.1 200 OK", "HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.1 200 " + "x" * 3000, "HTTP/1.1 206 Partial Content", "HTTP/1.1 304 No",
           "HTTP/1.1 204 No", "HTTP/1.1 101 Switch", "HTTP/1.1 100 Continue", "HTTP/1.1 999 Odd", "HTTP/1.1 0 Zero", "HTTP/1.1 -1 No",
           "HTTP/1.1 2000 No", "HTTP/9.9 200 OK", "HTTP/1.1 abc", "ICY 200 OK", "", "\x00\x00", "HTTP/1.1 301 Moved", "HTTP/1.1 302 Found",
           "HTTP/1.1 307 T", "HTTP/1.1 308 P", "HTTP/1.1 401 No", "HTTP/1.1 407 Proxy", "HTTP/1.1 416 Range", "HTTP/1.1 429 Slow", "HTTP/1.1 503 x",
           "HTTP/1.1 200 \xff\xfe", "HTTP/1.1\t200\tOK", "http/1.1 200 ok", "SSH-2.0-x", "<html>"]
_HEADERS = ["Content-Length: {n}", "Content-Length: -1", "Content-Length: abc", "Content-Length: 99999999999999999999", "Content-Length: 5, 5",
            "Content-Length: 3\r\nContent-Length: 7", "Transfer-Encoding: chunked", "Transfer-Encoding: x", "Transfer-Encoding: gzip, chunked",
            "NoColon", "Name With Space: x", ": x", "X: " + "y" * 70_000, "X: \x00", "X: a\r\n b", "ETag: " + '"' * 300, "Last-Modified: never",
            "Content-Range: bytes 5-1/3", "Content-Range: bytes */x", "WWW-Authenticate: Digest", "WWW-Authenticate: Basic realm=\"", "Refresh: x",
            "Retry-After: -5", "Retry-After: soon", "Set-Cookie: ", "Set-Cookie: a=" + "b" * 9000, "Set-Cookie: =; Domain=; Path; Expires=\x01",
            "Set-Cookie: \xff=\xfe; Max-Age=99999999999999999999", "Link: <x", "Content-MD5: x", "Digest: sha-256=!!", "Repr-Digest: sha-256=:x:",
            "Content-Location: http://[", "Connection: upgrade", "Alt-Svc: x", "Proxy-Authenticate: x", "Trailer: x", "Accept-Ranges: none"]


def hostile_answer(seed: int) -> bytes:
    """One whole answer as it goes on the wire. The same seed gives the same answer."""
    chance = random.Random(seed)
    body = chance.choice(_BODIES)(chance)
    status = _STATUS[0] if chance.random() < 0.55 else chance.choice(_STATUS)
    lines = [status, *(chance.choice(_HEADERS) for _ in range(chance.randrange(3)))]
    if chance.random() < 0.5:
        lines.append(f"Content-Type: {chance.choice(_TYPES)}")
    if chance.random() < 0.25:
        lines.append(f"Content-Encoding: {chance.choice(_CODINGS)}")
    if chance.random() < 0.3:
        lines.append(f"Content-Disposition: attachment; {chance.choice(_NAMES)}")
    if " 30" in status or chance.random() < 0.1:
        lines.append(f"Location: {chance.choice(_PLACES)}")
        lines[0] = chance.choice(["HTTP/1.1 301 Moved", "HTTP/1.1 302 Found", "HTTP/1.1 303 See", "HTTP/1.1 307 T", "HTTP/1.1 308 P"])
    if chance.random() < 0.5:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines).replace("{n}", str(len(body) + chance.choice([0, 0, -3, 7])))
    if chance.random() < 0.05:
        head = head.replace("\r\n", "\n")
    return head.encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


class HostileServer:
    """Answers `/h/SEED` with the hostile answer of that seed, then hangs up; `good` has what its other paths say."""

    def __init__(self, good: dict[str, bytes]) -> None:
        self.good = good
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(20)
            try:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    if not (more := connection.recv(65536)):
                        return
                    asked += more
                path = asked.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
                if path.startswith("/h/") and path[3:].isdigit():
                    answer = hostile_answer(int(path[3:]))
                else:
                    body = self.good.get(path)
                    answer = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n" if body is None else \
                        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
            except (OSError, IndexError):
                return
