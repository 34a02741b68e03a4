"""What a client is told that finds no place: a line, or HTTP where it asked in HTTP. `/livez` is answered all the same."""

from __future__ import annotations

import re

from pipeline.heartbeat.protocols.http_detection import Beginning, beginning_of

RETRY_AFTER_S = 1
BUSY = "try again later"
"""What every refusal ends with."""
_LIVEZ = re.compile(rb"[\r\n]*(?:GET|HEAD) /livez(?:\?\S*)? HTTP/\d")
_HEAD = "HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{}Connection: close\r\n\r\n"


def answer_without_a_place(said: bytes, why: str) -> bytes:
    """The last bytes of a connection that said so much and has no place. why: "512 connections are all …"."""
    if asks_livez(said):
        return _http("200 OK", "ok\n", head_only=said.lstrip().startswith(b"HEAD"))
    text = f"error: {why}; {BUSY}\n"
    if said and beginning_of(said) is Beginning.HTTP:
        return _http("503 Service Unavailable", text, f"Retry-After: {RETRY_AFTER_S}\r\n", head_only=said.lstrip().startswith(b"HEAD"))
    return text.encode()


def asks_livez(said: bytes) -> bool:
    """Whether it is a whole request for `/livez`, which shows nothing but that the loop turns."""
    return _LIVEZ.match(said) is not None and (b"\r\n\r\n" in said or b"\n\n" in said)


def _http(status: str, text: str, headers: str = "", *, head_only: bool = False) -> bytes:
    return (_HEAD.format(status, len(text.encode()), headers) + ("" if head_only else text)).encode()
