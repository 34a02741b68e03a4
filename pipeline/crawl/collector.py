"""Collect everything that a callback yields for one response into one page, and commit the page."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self

import scrapy
from itemadapter import ItemAdapter
from scrapy.crawler import Crawler
from scrapy.exceptions import CloseSpider, DropItem
from scrapy.http import HtmlResponse, Response, TextResponse
from scrapy.signals import spider_error
from scrapy.spidermiddlewares.httperror import HttpError
from scrapy.spiders import Spider
from twisted.python.failure import Failure

from pipeline.crawl.browser.rendered_output import RenderedOutput
from pipeline.crawl.browser.screenshot import Picture
from pipeline.crawl.context import context_of
from pipeline.crawl.extract import RejectedItem
from pipeline.crawl.extract.page_text import is_binary
from pipeline.crawl.freed_memory import return_freed_memory
from pipeline.crawl.frontier.requests import NotStorableError, RowScheduler, to_model
from pipeline.crawl.interfaces import CACHED, EXCHANGES, FRONTIER_ID, IS_RENDERED, RENDERED
from pipeline.crawl.item_data import RejectedItemError, as_json, item_key, key_fields, rejected
from pipeline.crawl.item_pipelines import DROPPED, ItemProcessor
from pipeline.crawl.page_in_progress import PageOutput
from pipeline.crawl.scrapy.errback_failures import is_ignored
from pipeline.crawl.scrapy.project.signals.item_signals import ItemSignals
from pipeline.crawl.spider_import import described
from pipeline.documents.document import Document
from pipeline.documents.scripted_pages import script_message
from pipeline.errors import PipelineError
from pipeline.model import Download, Item, Json, Page, PageOutcome, Request
from pipeline.session.login.failure_reasons import is_challenge
from pipeline.session.login.http_auth import challenges_in
from pipeline.text import clean_line, shown_url

_CHALLENGE = re.compile(rb"java ?script|just a moment|checking your browser", re.IGNORECASE)
_BY_CHALLENGE = ("the page is the challenge of a bot protection; log in with a browser and import its cookies with "
                 "`pipeline cookies import`, or set `proxy`")
_SCRIPT = re.compile(rb"<(?:no)?script", re.IGNORECASE)
_FEW_LINKS = 5
_EXAMINATIONS = 500
_SNIFFED_BYTES = 4096
MAX_PER_PAGE = 100_000
"""The maximum number of items, of links, and of downloads that one page may yield, so that no page can fill the store."""

logger = logging.getLogger(__name__)


@dataclass
class Found:
    """All output of one page in one object; yielding it is much faster than yielding items one by one.

    offsite: links that are not followed because they lead to other hosts; a note of the run mentions them. redirected_host: a
    host that counts as part of the site because a start URL redirected to it; "" means none. counts: the matches of the rules that
    were applied to the page (see `Page.counts`). picture: the picture of the page, if the spider compares pictures.
    """

    items: list[dict[str, Json]] = field(default_factory=list)
    links: list[Request] = field(default_factory=list)
    downloads: list[Download] = field(default_factory=list)
    rejected: list[RejectedItem] = field(default_factory=list)
    offsite: list[str] = field(default_factory=list)
    redirected_host: str = ""
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    picture: Picture | None = None


class PageCollector:
    """The outermost spider middleware: commits all output of a callback and passes nothing on to Scrapy."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._context = context_of(crawler)
        self._key = key_fields(crawler)
        self._pipelines = bool(crawler.settings.getdict("ITEM_PIPELINES"))
        self._rendered = RenderedOutput(self._context)
        self._pages = self._context.pages
        self._examinations = _EXAMINATIONS
        crawler.signals.connect(self._not_collected, spider_error)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def process_spider_output(self, response: Response, result: AsyncIterator[Any]) -> AsyncIterator[Any]:
        await self.collect(response, result)
        return
        yield  # makes this an async generator, which Scrapy requires

    async def collect(self, response: Response, entries: Iterable[Any] | AsyncIterator[Any]) -> None:
        """Commit the page of a response with all output of its callback (`entries`).

        If a middleware has handled an exception, do it when the last part of the output arrives (see page_in_progress.py). Raise CloseSpider
        if the callback raised it, and PipelineError if the page cannot be stored.
        """
        if self._pages.of(response).is_committed:  # an earlier part has failed
            return
        page = self._pages.begin(response)
        try:
            await self._receive(page.output, entries, response)
        except CloseSpider:
            self._context.capped = True
            await self._commit(response, page.output)
            raise
        except Exception as error:  # noqa: BLE001  a spider may raise anything; the crawl continues
            if error is page.refusal and is_ignored(error):
                await self._commit(response, page.output)
            else:
                await self._commit_failed(response, error)
            self._item_signals.spider_failed(error, response)
        else:
            if not page.more_follows:
                await self._commit(response, page.output)
        finally:
            self._pages.end(response)

    async def _receive(self, page: PageOutput, entries: Iterable[Any] | AsyncIterator[Any], response: Response) -> None:
        """Add all entries to the output of a page, within the limit of its CPU time."""
        limit, frontier_id = self._context.page_limit, response.meta.get(FRONTIER_ID)
        if isinstance(entries, AsyncIterator):
            if limit is not None:
                limited = limit.async_steps if self._context.table.is_built_in else limit.noted
                entries = limited(entries, frontier_id)
            async for entry in entries:
                await self._add(page, entry, response)
        elif limit is None or self._rendered.compares_pictures or not self._context.table.is_built_in:
            for entry in entries if limit is None else limit.steps(entries, frontier_id):
                await self._add(page, entry, response)
        else:
            with limit.step(frontier_id):  # a built-in spider without pictures yields a Found, for which there is no await in _add
                for entry in entries:
                    await self._add(page, entry, response)

    def process_spider_exception(self, response: Response, exception: Exception) -> AsyncIterator[Any] | None:
        """Commit the page as failed if its callback raised an exception before yielding any output.

        If the callback raises an exception later, `collect` handles the exception.
        """
        page = self._pages.of(response)
        page.declined(exception)
        if isinstance(exception, CloseSpider) or page.is_collecting:
            return None
        return self._fail(response, exception)

    async def _fail(self, response: Response, exception: Exception) -> AsyncIterator[Any]:
        await self._commit_failed(response, exception)
        self._item_signals.spider_failed(exception, response)
        return
        yield

    def _not_collected(self, failure: Failure, response: Any) -> None:
        """Commit a page as failed whose output Scrapy has not passed on, such as after process_spider_input() that is a coroutine."""
        error = failure.value
        if not isinstance(response, Response) or not isinstance(error, Exception):
            return
        page = self._pages.of(response)
        if not (page.is_collecting or page.is_committed):
            page.is_committed = True
            values = self._failed_values(response, error)
            self._context.committer.post(self._page(response, values)).add_done_callback(lambda done: done.exception())  # a failed commit ends the run

    @cached_property
    def _scheduler(self) -> RowScheduler:
        scheduler = self._crawler.engine.scheduler
        assert isinstance(scheduler, RowScheduler)
        return scheduler

    @cached_property
    def _item_signals(self) -> ItemSignals:
        return ItemSignals(self._crawler)

    @property
    def _spider(self) -> Spider:
        assert self._crawler.spider is not None
        return self._crawler.spider

    @property
    def _item_processor(self) -> ItemProcessor:
        processor = self._crawler.engine.scraper.itemproc
        assert isinstance(processor, ItemProcessor)
        return processor

    async def _add(self, page: PageOutput, entry: Any, response: Response) -> None:
        if isinstance(entry, Found):
            page.links += map(self._with_address, entry.links)
            page.downloads += entry.downloads
            page.offsite += entry.offsite
            page.counts |= entry.counts
            if entry.redirected_host:
                self._context.add_host(entry.redirected_host)
                page.redirected_host = entry.redirected_host
            for data in entry.items:
                self._add_item(page, await self._rendered.with_picture(data, entry.picture) if self._rendered.compares_pictures else data)
            for each in entry.rejected:
                self._reject(page, each.data, each.reason)
        elif isinstance(entry, scrapy.Request):
            self._add_request(page, entry)
        elif isinstance(entry, Request):
            page.links.append(self._with_address(entry))
        elif isinstance(entry, Download):
            page.downloads.append(entry)
        elif entry is not None:
            await self._add_yielded_item(page, entry, response)

    def _with_address(self, request: Request) -> Request:
        """Return a request without the route of its URL, unless the page is rendered."""
        return replace(request, url=self._context.render_rules.address(request.url)) if "#" in request.url else request

    def _add_request(self, page: PageOutput, request: scrapy.Request) -> None:
        if not self._item_signals.scheduled(request):
            return
        new = request if self._scheduler.dupe_filter is None else self._scheduler.dupe_filter.new(request)
        if new is None:
            return
        try:
            page.links.append(to_model(new, self._spider, self._context.render_rules))
        except NotStorableError:
            for name in (FRONTIER_ID, EXCHANGES):  # `meta` may be that of the response
                new.meta.pop(name, None)
            page.in_memory.append(new)

    async def _add_yielded_item(self, page: PageOutput, given: Any, response: Response) -> None:
        """Pass an item through the item pipelines, and send the signals about it that Scrapy's scraper would send.

        An item that a pipeline drops, or for which it fails, is rejected; the other items of the page are used.
        """
        item, signals = given, self._item_signals
        if self._pipelines:
            try:
                item = await self._item_processor.run_pipelines(given)
            except DropItem as reason:
                await signals.dropped(given, reason, response)
                self._reject(page, ItemAdapter(given).asdict(), f"{DROPPED}: {reason}")
                return
            except Exception as error:  # noqa: BLE001  a pipeline may raise anything; the page continues
                await signals.failed(given, error, response)
                self._reject(page, ItemAdapter(given).asdict(), self._item_processor.failure(error))
                return
        self._add_item(page, ItemAdapter(item).asdict())
        await signals.scraped(item, response)

    def _add_item(self, page: PageOutput, data: dict[str, Any]) -> None:
        try:
            plain = as_json(data)
            page.items.append(Item(item_key(plain, self._key), plain))
        except RejectedItemError as reason:
            self._reject(page, data, str(reason))

    def _reject(self, page: PageOutput, data: dict[str, Any], reason: str) -> None:
        """Add a rejected item, and the reason, to the output of the page."""
        logger.warning("an item was rejected: %s", reason)
        page.rejects.append(rejected(data, self._key, reason))

    async def _commit(self, response: Response, page: PageOutput) -> None:
        for kind, entries in (("items", page.items), ("links", page.links), ("downloads", page.downloads)):
            if len(entries) > MAX_PER_PAGE:
                self._context.failures.add(f"{shown_url(response.url)} has {len(entries):,} {kind}; only the first "
                                           f"{MAX_PER_PAGE:,} are used", "SpiderError", transient=False)
                del entries[MAX_PER_PAGE:]
        page.counts |= self._rendered.counts(response.url)
        page.downloads += self._rendered.downloads(response)
        error, transient = _page_error(response, page)
        if error:
            logger.warning("%s", error)
        exception = self._exception(response)
        kind = ""
        if exception is not None and not error:
            error, kind = self._outcome_of(response, page, exception)
        binary = _is_binary(response, page)
        if binary and not response.meta.get("depth"):
            is_ = clean_line((response.headers.get("Content-Type") or b"").decode("latin-1"), 60)
            self._context.note(f"{shown_url(response.url)} is not text, but {is_ or 'binary data'}: nothing is extracted from the page")
        obstacle = self._obstacle(response, page)
        # Size 0 marks a page without any of the site's content: items that were found on the page in earlier passes are then not reported
        # as gone.
        size_bytes = 0 if binary or obstacle or (exception is not None and not error) else len(response.body)
        await self._write(response, size_bytes=size_bytes, items=tuple(page.items), rejects=tuple(page.rejects), links=tuple(page.links),
                          downloads=tuple(_with_item_keys(page.downloads, page.items)), error=error, error_kind=kind, transient=transient,
                          offsite=tuple(page.offsite), redirected_host=page.redirected_host, counts=page.counts, obstacle=obstacle)
        for request in page.in_memory:
            self._scheduler.enqueue_request(request)

    def _exception(self, response: Response) -> Exception | None:
        """Return the exception because of which a page may lack a part of its output although it has not failed; None if there is none.

        HttpError is none: what the page has is decided by its status.
        """
        page = self._pages.of(response)
        return next((each for each in (page.refusal, page.handled) if each is not None and not isinstance(each, HttpError)), None)

    def _outcome_of(self, response: Response, page: PageOutput, exception: Exception) -> tuple[str, str]:
        """Return the error of a page with an exception that the spider was told of or has handled, and its kind; ("", "") if it has not failed.

        An errback that yields nothing has not handled the exception, as with a request that failed. process_spider_exception() has.
        """
        shown = f"{shown_url(response.url)} ({clean_line(str(exception), 200) or type(exception).__name__})"
        if is_ignored(exception) and not page.has_output:
            self._context.failures.ignore(shown)
        elif page.has_output or self._pages.of(response).handled is not None:
            self._context.failures.handle(shown)
        else:
            failed = self._failed_values(response, exception)
            return failed["error"], failed["error_kind"]
        return "", ""

    def _obstacle(self, response: Response, page: PageOutput) -> str:
        """Return why a page on which hardly anything was found has none of the site's content; "" if nothing suggests so.

        JavaScript is looked for only on the first pages of a run that lack content for another reason, since that takes as long as
        parsing a page.
        """
        if page.items or page.downloads or len(page.links) > _FEW_LINKS or not isinstance(response, HtmlResponse) or not _SCRIPT.search(
                response.body):
            return ""
        document = Document(url=response.url, status=response.status, text=lambda: response.text, headers=dict,
                            encoding=response.encoding, body=response.body)
        found = script_message(document, is_rendered=IS_RENDERED in response.flags) if response.status < 400 and self._examinations else ""
        if not found and not page.has_output and _CHALLENGE.search(response.body) and is_challenge(document):
            found = _BY_CHALLENGE
        self._examinations = max(0, self._examinations - (not found))
        return found

    async def _commit_failed(self, response: Response, error: Exception) -> None:
        """Commit the page as failed and without its output, because partial output would look like complete output."""
        if isinstance(error, PipelineError) and error is self._context.fatal:
            raise error
        await self._write(response, **self._failed_values(response, error))

    def _failed_values(self, response: Response, error: Exception) -> dict[str, Any]:
        logger.error("the spider raised an exception while it processed %s", shown_url(response.url), exc_info=error)
        text = str(error) if isinstance(error, PipelineError) and error.where else \
            f"{described(error, self._crawler.spidercls)} (on {shown_url(response.url)})"
        return {"error": text, "error_kind": "SpiderError"}

    async def _write(self, response: Response, **values: Any) -> None:
        self._pages.of(response).is_committed = True
        return_freed_memory(len(response.body))  # the callback no longer needs the parsed page
        await self._context.committer.commit(self._page(response, values))

    def _page(self, response: Response, values: dict[str, Any]) -> Page:
        return Page(
            url=response.url, status=response.status, fetched_at=datetime.now(UTC),
            frontier_id=response.meta.get(FRONTIER_ID), body=response.body if self._context.keep_pages else b"",
            outcome=_outcome(response), duration_s=_duration_s(response), exchanges=response.meta.get(EXCHANGES, ()),
            **self._context.login_of(_method(response), response.meta), **{"size_bytes": len(response.body)} | values)


def _outcome(response: Response) -> PageOutcome:
    if not response.flags:
        return PageOutcome.FETCHED
    return PageOutcome.RENDERED if IS_RENDERED in response.flags else PageOutcome.NOT_MODIFIED if CACHED in response.flags else PageOutcome.FETCHED


def _duration_s(response: Response) -> float | None:
    """Return how long the server took until it had sent the headers, or how long the rendering of the page took."""
    rendered = response.meta.get(RENDERED)
    duration_s: float | None = rendered.duration_s if rendered is not None else response.meta.get("download_latency")
    return duration_s


def _method(response: Response) -> str:
    return response.request.method if response.request is not None else "GET"


def _is_binary(response: Response, page: PageOutput) -> bool:
    """Return whether the page yielded nothing and is binary data, such as a PDF."""
    return not page.has_output and not isinstance(response, TextResponse) and is_binary(response.body[:_SNIFFED_BYTES].decode("latin-1"))


def _page_error(response: Response, page: PageOutput) -> tuple[str, bool]:
    """Return the error message for an error page that yielded nothing, and whether the error is transient.

    Return ("", False) for any other page.
    """
    if response.status == 304:  # the middleware Revalidate has already replaced each 304 that answers one of its conditional requests with the cached page
        return f"HTTP 304 from {shown_url(response.url)}, although the page is not in the page cache", True
    if response.status < 400 or page.has_output:
        return "", False
    transient = response.status >= 500 or response.status in (408, 425, 429)
    schemes = {challenge.scheme for value in response.headers.getlist("WWW-Authenticate")
               for challenge in challenges_in(value.decode("latin-1"))} if response.status == 401 else ()
    asked = f", which requires {clean_line(' or '.join(sorted(schemes)), 60)} authentication (set `auth`)" if schemes else ""
    return f"HTTP {response.status} from {shown_url(response.url)}{asked}", transient


def _with_item_keys(files: list[Download], items: list[Item]) -> Iterator[Download]:
    """Yield the downloads, each with the key of the item to which it belongs.

    A download belongs to the first item that has the download's URL in a field. If no item has, and the page has only one item,
    the download belongs to this item.
    """
    owners: dict[str, str] = {}
    for item in items if files else ():
        for value in item.data.values():
            for one in value if isinstance(value, list) else (value,):
                if isinstance(one, str):
                    owners.setdefault(one, item.key)
    alone = items[0].key if len(items) == 1 else ""
    for file in files:
        yield file if file.item_key else replace(file, item_key=owners.get(file.url, alone))
