"""The answer to a connection that is not admitted: a text line, or an HTTP 503 response."""

from __future__ import annotations

import re

from pipeline.heartbeat.protocols.http_detection import FirstBytes, classify

RETRY_AFTER_S = 1
BUSY = "try again later"
"""The text at the end of every refusal, by which a client recognizes a refusal."""
_LIVEZ = re.compile(rb"[\r\n]*(?:GET|HEAD) /livez(?:\?\S*)? HTTP/\d")
_HEAD = ("HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n"
         "{}Connection: close\r\n\r\n")


def refusal_for(received: bytes, reason: str) -> bytes:
    """Return the complete answer to a refused connection.

    received: what the client has sent. reason: a text that describes the limit that was reached. A request for `/livez`
    is answered with 200 instead of a refusal.
    """
    if requests_livez(received):
        return _http("200 OK", "ok\n", head_only=received.lstrip().startswith(b"HEAD"))
    text = f"error: {reason}; {BUSY}\n"
    if received and classify(received) is FirstBytes.HTTP:
        return _http("503 Service Unavailable", text, f"Retry-After: {RETRY_AFTER_S}\r\n",
                     head_only=received.lstrip().startswith(b"HEAD"))
    return text.encode()


def requests_livez(received: bytes) -> bool:
    """Return whether `received` is a complete request for `/livez`.

    Such a request asks only whether the event loop runs, so it is answered even if the server has no free connection.
    """
    return _LIVEZ.match(received) is not None and (b"\r\n\r\n" in received or b"\n\n" in received)


def _http(status: str, text: str, headers: str = "", *, head_only: bool = False) -> bytes:
    return (_HEAD.format(status, len(text.encode()), headers) + ("" if head_only else text)).encode()
