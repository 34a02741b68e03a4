"""Records which connections of the browser failed or were refused, and how much arrived for each page."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import PipelineError, ProxyError
from pipeline.hosts import host_and_port
from pipeline.text import clean_line, shown_url

_MAX_PLACES = 1000
_MAX_REFUSALS = 100
_SCHEMES = {"ws": "http", "wss": "https"}


class FailureRecord:
    """The last failure at each host and port, until a connection to it works; and the latest refusals."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, int], PipelineError] = OrderedDict()
        self._refusals: dict[str, None] = {}

    def failed(self, host: str, port: int, error: PipelineError) -> None:
        self._failures[host, port] = error
        self._failures.move_to_end((host, port))
        if len(self._failures) > _MAX_PLACES:
            self._failures.popitem(last=False)

    def refused(self, host: str, port: int, error: PipelineError) -> None:
        self.failed(host, port, error)
        if len(self._refusals) < _MAX_REFUSALS:
            self._refusals[clean_line(str(error), 300)] = None

    def worked(self, host: str, port: int) -> None:
        self._failures.pop((host, port), None)

    def reason_for(self, url: str) -> PipelineError | None:
        """Return why the last request for the host and port of a URL failed; None if it did not.

        The URL is an http, https, ws or wss URL.
        """
        scheme, colon, rest = url.partition(":")
        host, port = host_and_port(_SCHEMES.get(scheme.lower(), scheme) + colon + rest)
        error = self._failures.get((host, port))
        if error is None or error.where or isinstance(error, ProxyError):
            return error
        return type(error)(error.what, where=shown_url(url), fix=error.fix, retry=error.retry)

    def refusals(self) -> list[str]:
        """Return a sentence for each refused connection since the last call, at most 100 different ones."""
        found, self._refusals = list(self._refusals), {}
        return found


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
