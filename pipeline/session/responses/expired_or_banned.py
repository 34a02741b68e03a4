"""Detects an expired login or a banned proxy in a response to a login or download request."""

from __future__ import annotations

import io

import requests
from urllib3 import HTTPResponse

from pipeline.documents.refresh import refresh_target
from pipeline.session.login.expiry import Expiry
from pipeline.session.page import Answer, Page
from pipeline.settings import BannedTable

_HEAD_BYTES = 256 * 1024  # enough of a page to recognize a login form


def expired(expiry: Expiry, response: requests.Response, asked: str) -> str:
    """If a response shows that the login has expired, return the reason; otherwise return "".

    The body of the response must be unread, and can still be read completely after the call. asked: the URL that was requested.
    """
    for hop in (*response.history, response):
        if reason := expiry.of_status(hop.url, hop.status_code, hop.headers.get("Location", "")):
            return reason
    if response.history and expiry.is_login_page(response.url, asked=asked):
        return "redirected to the login page"
    page = _beginning(response) if expiry.reads_pages or _is_short(response) else None
    if page is None:
        return ""
    if (target := refresh_target(page.document)) and expiry.is_login_page(target, asked=asked):
        return "redirected to the login page"
    return expiry.of_page(page, file=True)


def banned(rules: BannedTable, response: requests.Response) -> bool:
    """Return whether a response shows that the site has banned the proxy.

    The body of the response must be unread, and can still be read completely after the call.
    """
    if response.status_code in rules.status:
        return True
    page = _beginning(response) if rules.present is not None else None
    return page is not None and rules.present is not None and page.matches(rules.present)


def _is_short(response: requests.Response) -> bool:
    """Return whether a response is so short that it may be a page that only refreshes to another page.

    The content of such short pages is always checked.
    """
    length = response.headers.get("Content-Length", "0")
    return length.isdecimal() and int(length) <= _HEAD_BYTES


def _beginning(response: requests.Response) -> Page | None:
    """Return the beginning of an HTML page as a Page; None for other content types and for encoded bodies.

    The whole body can still be read from the response afterwards.
    """
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    packed = response.headers.get("Content-Encoding", "identity").strip().lower() != "identity"
    if kind not in ("text/html", "application/xhtml+xml") or packed:
        return None
    return Page(Answer(response.url, response.status_code, response.headers, _peek(response)))


def _peek(response: requests.Response) -> bytes:
    """Return the first bytes of a body. Afterwards, the body can still be read from its beginning."""
    rest: HTTPResponse = response.raw
    head = rest.read(_HEAD_BYTES, decode_content=False)
    response.raw = HTTPResponse(_Rejoined(head, rest), headers=rest.headers, status=rest.status,
                                reason=rest.reason, preload_content=False, request_method=response.request.method)
    return head


class _Rejoined(io.RawIOBase):
    """A stream of a whole body: first the beginning, which was already read, then the rest from the response."""

    def __init__(self, head: bytes, rest: HTTPResponse) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            head, self._head = self._head, b""
            return head + self._rest.read(decode_content=False)
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head
        return self._rest.read(size, decode_content=False)

    def read1(self, size: int = -1) -> bytes:
        if self._head:
            return self.read(size if size >= 0 else len(self._head))
        return self._rest.read1(size if size >= 0 else None, decode_content=False)

    def fileno(self) -> int:
        return self._rest.fileno()

    def close(self) -> None:
        self._rest.close()
        super().close()
