"""Obey robots.txt for pages.

Unlike in Scrapy, a robots.txt that cannot be read forbids all pages of its host.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Self

from scrapy.crawler import Crawler
from scrapy.exceptions import IgnoreRequest, NotConfigured
from scrapy.http import Request
from scrapy.http.request import NO_CALLBACK
from scrapy.utils.httpobj import urlparse_cached

from pipeline.crawl.context import context_of
from pipeline.crawl.frontier.requests import translate_error
from pipeline.crawl.scrapy.handler import PROXY
from pipeline.errors import PipelineError
from pipeline.session.politeness.robots import PARSED_BYTES, RobotsTxt, robots_url

_OF_ROBOTS = "pipeline_robots_txt"
"""The meta key of a request for robots.txt. Requests of media pipelines have no callback, too, but robots.txt applies to them."""
_PRIORITY = 1000  # higher than the priority of pages, which wait for robots.txt

logger = logging.getLogger(__name__)


class ObeyRobots:
    """Checks each request against robots.txt, and fetches the robots.txt of each origin once per run.

    If several processes of the run need the same robots.txt at the same time, each process fetches it. Requests with the meta key
    `dont_obey_robotstxt` are not checked.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._context = context_of(crawler)
        if not self._context.table.robots:
            raise NotConfigured
        self._max_bytes = max(PARSED_BYTES, self._context.table.max_page_size)
        self._context.check_robots = self._check
        self._known: dict[str, asyncio.Future[RobotsTxt]] = {}
        self._counts = not self._context.table.is_built_in

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def process_request(self, request: Request) -> None:
        """Raise IgnoreRequest, as Scrapy does, if robots.txt forbids the URL of the request. The cause marks its page as failed."""
        if _OF_ROBOTS in request.meta or request.meta.get("dont_obey_robotstxt"):
            return
        try:
            await self._check(request.url)
        except PipelineError as error:
            self._count("forbidden")
            raise IgnoreRequest(error.what) from error

    async def _check(self, url: str) -> None:
        place = robots_url(url)
        known = self._known.get(place)
        if known is None:
            known = self._known[place] = asyncio.get_running_loop().create_future()
            try:
                known.set_result(await self._read(place))
            finally:
                if not known.done():  # this task was cancelled, because the crawl is ending
                    known.cancel()
        (known.result() if known.done() else await asyncio.shield(known)).check(url)

    async def _read(self, place: str) -> RobotsTxt:
        request = Request(place, priority=_PRIORITY, callback=NO_CALLBACK, meta={"download_maxsize": self._max_bytes, _OF_ROBOTS: True, "allow_offsite": True})
        robots = self._context.known_robots.get(place)  # another process of the run may have fetched this robots.txt
        if robots is None:
            robots = self._context.known_robots[place] = await self._fetch(request)
        if robots.failure is not None:
            logger.warning("%s cannot be read, so this run fetches nothing from the host: %s", place, robots.failure.what)
        if self._context.robots is not None:
            self._context.robots.learn(place, robots)
        if robots.delay_s:
            self._slow_down(request, robots.delay_s)
        return robots

    async def _fetch(self, request: Request) -> RobotsTxt:
        try:
            assert self._crawler.engine is not None
            answer = await self._crawler.engine.download_async(request)
        except Exception as error:  # noqa: BLE001  any failure of the fetch
            self._count(*() if isinstance(error, IgnoreRequest) else (f"exception_count/{type(error)}",), "request_count")
            return RobotsTxt.of_error(translate_error(error, request, request.meta.get(PROXY))[0])
        self._count("response_count", f"response_status_count/{answer.status}", "request_count")
        return RobotsTxt.of_answer(answer.status, answer.body)

    def _count(self, *names: str) -> None:
        """Count in the statistics of Scrapy, which components of the user's spiders may read."""
        if self._counts and self._crawler.stats is not None:
            for name in names:
                self._crawler.stats.inc_value(f"robotstxt/{name}")

    def _slow_down(self, request: Request, asked_s: float) -> None:
        """Apply the Crawl-delay of a robots.txt, but at most the value of the setting `patience`."""
        table = self._context.table
        if asked_s <= table.delay:
            return
        delay_s = min(asked_s, table.patience)
        logger.info("robots.txt of %s sets a Crawl-delay of %g s", urlparse_cached(request).netloc, asked_s)
        assert self._crawler.engine is not None
        downloader = self._crawler.engine.downloader
        key = downloader.get_slot_key(request)
        downloader.per_slot_settings[key] = {**downloader.per_slot_settings.get(key, {}), "delay": delay_s}
        if key in downloader.slots:
            downloader.slots[key].delay = delay_s
        self._context.budget.slow_down(request.url, delay_s)
