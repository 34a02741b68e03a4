"""Records which connections of the browser failed or were refused, and how much arrived for each page."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from pipeline.errors import PipelineError, ProxyError
from pipeline.hosts import host_and_port
from pipeline.session.browser.guard.requests import ProxyRequest
from pipeline.text import clean_line, shown_url

_MAX_PLACES = 1000
_MAX_REFUSALS = 100
_SCHEMES = {"ws": "http", "wss": "https"}
_TUNNEL = ""
_Key = tuple[str, int, str]
"""Host, port, and the path and query of a plain request."""


class FailureRecord:
    """The last failure of each plain request by its URL, and of each tunnel by its host and port, until it works; and the latest refusals.

    What is sent through a tunnel is encrypted, so only the failure of the tunnel as a whole is known.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[_Key, PipelineError] = OrderedDict()
        self._refusals: dict[tuple[str, str], str] = {}

    def failed(self, request: ProxyRequest, error: PipelineError) -> None:
        self._keep(_key_of(request), error)

    def _keep(self, key: _Key, error: PipelineError) -> None:
        self._failures[key] = error
        self._failures.move_to_end(key)
        if len(self._failures) > _MAX_PLACES:
            self._failures.popitem(last=False)

    def refused(self, request: ProxyRequest, error: PipelineError) -> None:
        self._keep((request.host, request.port, _TUNNEL), error)  # whatever is requested there is refused
        if len(self._refusals) < _MAX_REFUSALS:
            self._refusals.setdefault((request.host, error.what), clean_line(str(error), 300))

    def worked(self, request: ProxyRequest) -> None:
        self._failures.pop(_key_of(request), None)

    def reason_for(self, url: str) -> PipelineError | None:
        """Return why the last request for a URL, or the last tunnel to its host and port, failed; None if it did not.

        The URL is an http, https, ws or wss URL.
        """
        scheme, colon, rest = url.partition(":")
        url_of_http = _SCHEMES.get(scheme.lower(), scheme) + colon + rest
        host, port = host_and_port(url_of_http)
        error = self._failures.get((host, port, _target_of(url_of_http))) or self._failures.get((host, port, _TUNNEL))
        if error is None or error.where or isinstance(error, ProxyError):
            return error
        return type(error)(error.what, where=shown_url(url), fix=error.fix, retry=error.retry)

    def refusals(self) -> list[str]:
        """Return a sentence for each reason to refuse connections to a host since the last call, at most 100 different ones."""
        found, self._refusals = list(self._refusals.values()), {}
        return found


def _key_of(request: ProxyRequest) -> _Key:
    return request.host, request.port, _TUNNEL if request.is_connect else request.target.decode("latin-1")


def _target_of(url: str) -> str:
    """Return the path and the query of a URL, as a request for it has them."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query or "?" in url.partition("#")[0] else "")


class PageLoad:
    """How much arrived from sites while a page was open.

    Pages that are open at the same time share what arrives equally. exceeded: set when the page's share is larger than the limit.
    """

    def __init__(self) -> None:
        self.exceeded = asyncio.Event()
        self.share = 0.0

    @property
    def received_bytes(self) -> int:
        return round(self.share)


class LoadMeter:
    """Counts the bytes received from sites, in all and for each open page.

    max_bytes: the limit for a page; None means no limit.
    """

    def __init__(self, max_bytes: int | None) -> None:
        self.received_bytes = 0
        self._max_bytes = max_bytes
        self._open: list[PageLoad] = []

    def received(self, count: int) -> None:
        self.received_bytes += count
        for load in self._open:
            load.share += count / len(self._open)
            if self._max_bytes is not None and load.share > self._max_bytes:
                load.exceeded.set()

    @contextmanager
    def page_load(self) -> Iterator[PageLoad]:
        load = PageLoad()
        self._open.append(load)
        try:
            yield load
        finally:
            self._open.remove(load)
