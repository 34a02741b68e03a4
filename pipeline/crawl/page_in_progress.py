"""Keep the output and the exceptions of each response until its page is committed, once.

Scrapy passes the output of one response to PageCollector in several parts if a spider middleware handles an exception: what
process_spider_exception() returns is a part of its own, which follows what the callback had yielded before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from scrapy.http import Request as ScrapyRequest
from scrapy.http import Response

from pipeline.crawl.interfaces import FRONTIER_ID
from pipeline.model import Download, Item, Reject, Request


@dataclass
class PageOutput:
    """What the spider and its middlewares have yielded for one response."""

    items: list[Item] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    links: list[Request] = field(default_factory=list)
    downloads: list[Download] = field(default_factory=list)
    in_memory: list[ScrapyRequest] = field(default_factory=list)
    offsite: list[str] = field(default_factory=list)
    redirected_host: str = ""
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def has_output(self) -> bool:
        return bool(self.items or self.links or self.downloads or self.rejects)


@dataclass
class PageInProgress:
    """A response whose page is not committed yet.

    raised: the exceptions that are being offered to process_spider_exception() of the middlewares, or that one of them has handled, so
    that another part of the output follows. refusal: the exception of process_spider_input() with which the errback is called in place
    of the callback. handled: the last exception that a middleware has handled. is_collecting: whether PageCollector receives a part.
    """

    output: PageOutput = field(default_factory=PageOutput)
    raised: list[Exception] = field(default_factory=list)
    refusal: Exception | None = None
    handled: Exception | None = None
    is_collecting: bool = False
    is_committed: bool = False

    def begin(self) -> None:
        """Begin a part of the output. Any part but the callback's own follows an exception that a middleware has handled."""
        self.is_collecting = True
        if self.raised:
            self.handled = self.raised.pop()

    @property
    def more_follows(self) -> bool:
        return bool(self.raised)

    def offered(self, exception: Exception) -> None:
        """Note an exception that is offered to a middleware."""
        if not any(each is exception for each in self.raised):
            self.raised.append(exception)

    def declined(self, exception: Exception) -> None:
        """Note that no middleware has handled an exception."""
        self.raised = [each for each in self.raised if each is not exception]


class PagesInProgress:
    """The pages in progress of a crawl, by response, and by request while PageCollector receives their output."""

    def __init__(self) -> None:
        self._pages: WeakKeyDictionary[Response, PageInProgress] = WeakKeyDictionary()
        self._collecting: dict[int, PageInProgress] = {}

    def of(self, response: Response) -> PageInProgress:
        page = self._pages.get(response)
        if page is None:
            page = self._pages[response] = PageInProgress()
        return page

    def collecting(self, request: ScrapyRequest) -> PageInProgress | None:
        """Return the page of a request whose output PageCollector receives now. Its request has then failed after the download."""
        return self._collecting.get(_key(request))

    def begin(self, response: Response) -> PageInProgress:
        page = self.of(response)
        page.begin()
        if response.request is not None:
            self._collecting[_key(response.request)] = page
        return page

    def end(self, response: Response) -> None:
        self.of(response).is_collecting = False
        if response.request is not None:
            self._collecting.pop(_key(response.request), None)


def _key(request: ScrapyRequest) -> int:
    """Return a number that identifies a request in progress. A downloader middleware may give a response a copy of its request."""
    row = request.meta.get(FRONTIER_ID)
    return row if isinstance(row, int) else -id(request)
