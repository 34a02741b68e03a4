"""Detect responses that show an expired login, log in again, and repeat their requests."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.http import Request, Response, TextResponse
from scrapy.http.request import NO_CALLBACK

from pipeline.crawl.context import CrawlContext, context_of
from pipeline.crawl.extract import header_map
from pipeline.crawl.interfaces import EPOCH, FRONTIER_ID, SAFE_TO_REPLAY
from pipeline.crawl.relogin import Relogin
from pipeline.crawl.scrapy import engine_control
from pipeline.errors import PipelineError
from pipeline.session.client import not_replayed
from pipeline.session.page import Answer, Page

REPLAYED = "pipeline_login_replayed"
"""The meta key that marks a request repeated after a new login; its value is the epoch of this login. A request is repeated only
once.
"""


class _LoginExpiry:
    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._context: CrawlContext = context_of(crawler)
        if self._context.session.login_state is None:
            raise NotConfigured
        if self._context.relogin is None:
            self._context.relogin = Relogin(self._context.session.login_state)
        self._relogin: Relogin = self._context.relogin
        self._expiry = self._context.session.login_state.expiry

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Any:
        return cls(crawler)

    async def _again(self, request: Request, reason: str) -> Request:
        """Log in again, and return the request to send. If the login fails, end the run and raise the error."""
        login_state = self._relogin.login_state
        try:
            if REPLAYED in request.meta and not login_state.is_stale(request.meta[REPLAYED]):
                raise login_state.lost(request.url, reason)
            await self._relogin.renew(request.meta[EPOCH])
        except PipelineError as error:
            self._end_run(error)
            raise
        if not (self._expiry.may_replay(request.method) or request.meta.get(SAFE_TO_REPLAY)):
            raise not_replayed(request.url, reason, request.method)
        return request.replace(dont_filter=True, meta={**request.meta, REPLAYED: login_state.epoch})

    def _end_run(self, error: PipelineError) -> None:
        """End the run, because without a login every further page would be a login page.

        The next run will fetch the remaining pages.
        """
        if self._context.fatal is None:
            self._context.fatal = error
            self._stopping = asyncio.create_task(engine_control.stop(self._crawler))


class LoginExpiryByStatus(_LoginExpiry):
    """Detects an expired login by a response's status or redirect. Marks each request with the login's epoch."""

    async def process_request(self, request: Request) -> None:
        request.meta[EPOCH] = await self._relogin.settled()

    async def process_response(self, request: Request, response: Response) -> Response | Request:
        if request.callback is NO_CALLBACK:  # the request for robots.txt, which does not depend on the login
            return response
        location = (response.headers.get("Location") or b"").decode("latin-1")
        reason = self._expiry.of_status(request.url, response.status, location)
        return await self._again(request, reason) if reason else response


class LoginExpiryByContent(_LoginExpiry):
    """Detects an expired login by the content of a decoded page, for example a login form with status 200."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        if not self._expiry.reads_pages:
            raise NotConfigured

    async def process_response(self, request: Request, response: Response) -> Response | Request:
        if request.callback is NO_CALLBACK or not isinstance(response, TextResponse) or EPOCH not in request.meta:
            return response
        page = Page(Answer(response.url, response.status, header_map(response.headers), response.body), response.encoding)
        with self._context.page_step(request.meta.get(FRONTIER_ID)):
            reason = self._expiry.of_page(page)
            sure = bool(reason) and self._expiry.is_sure(page)
        if not reason or (not sure and await asyncio.to_thread(
                self._relogin.login_state.verify, request.meta[EPOCH], time.monotonic())):
            return response
        return await self._again(request, reason)
