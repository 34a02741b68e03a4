"""Follow a meta refresh like a redirect, and detect an expired login by a refresh to the login page."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from scrapy.crawler import Crawler
from scrapy.http import Request, Response, TextResponse
from scrapy.http.request import NO_CALLBACK

from pipeline.crawl.context import context_of
from pipeline.crawl.interfaces import EPOCH
from pipeline.crawl.middlewares.login_expiry import LoginExpiryByStatus
from pipeline.crawl.middlewares.redirects import Redirects
from pipeline.documents import Document, header_map
from pipeline.documents.refresh import may_refresh, refresh_target


class FollowRefresh:
    """Passes the target of a meta refresh to the redirect middleware, which counts it as a redirect."""

    def __init__(self, crawler: Crawler) -> None:
        self._redirects = Redirects.from_crawler(crawler)
        has_login = context_of(crawler).session.login_state is not None
        self._login = LoginExpiryByStatus(crawler) if has_login else None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Any:
        return cls(crawler)

    def process_response(self, request: Request, response: Response) -> Response | Awaitable[Response | Request]:
        """Return the response, or an awaitable if the page may contain a refresh.

        The method itself is not a coroutine, because a coroutine for every page would be slow.
        """
        if request.callback is NO_CALLBACK or not isinstance(response, TextResponse) or response.status >= 400 or (
                b"Refresh" not in response.headers and not may_refresh(response.body)):
            return response
        return self._followed(request, response)

    async def _followed(self, request: Request, response: TextResponse) -> Response | Request:
        target = refresh_target(Document(url=response.url, status=response.status, text=response.text,
                                         headers=lambda: header_map(response.headers)))
        if not target or target == response.url.partition("#")[0]:
            return response
        redirect = Response(response.url, status=302, headers={"Location": target})
        if self._login is not None and EPOCH in request.meta:
            answer = await self._login.process_response(request, redirect)
            if isinstance(answer, Request):
                return answer
        return self._redirects.process_response(request, redirect)
