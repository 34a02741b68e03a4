"""HTTP authentication (Basic, Digest) for pages and robots.txt, configured by the setting `auth`."""

from __future__ import annotations

import asyncio
from typing import Self

from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.http import Request, Response
from scrapy.http.request import NO_CALLBACK

from pipeline.crawl.context import CrawlContext, context_of
from pipeline.crawl.interfaces import START
from pipeline.crawl.scrapy import engine_control
from pipeline.errors import PipelineError
from pipeline.session.login.http_auth import HttpAuth

_SENT = "pipeline_authorization"
"""The meta key that marks a request whose Authorization header was set by AddAuthorization.

The value is a flag and not the credentials, since the meta may be written to the store.
"""
_TRIES = "pipeline_authorization_tries"


class _HttpAuthMiddleware:
    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._context: CrawlContext = context_of(crawler)
        if self._context.session.auth is None and not any(start.auth for start in self._context.starts):
            raise NotConfigured

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def _auth_of(self, request: Request) -> HttpAuth | None:
        """Return the credentials in the settings of the start request, or else of the spider.

        Return None if no credentials are set, or if the request's URL must not receive them.
        """
        index = request.meta.get(START)
        start = self._context.starts[index] if index is not None and index < len(self._context.starts) else None
        auth = start.auth if start is not None and start.auth is not None else self._context.session.auth
        return auth if auth is not None and auth.serves(request.url) else None


class AddAuthorization(_HttpAuthMiddleware):
    """Adds the Authorization header to a request, unless the spider has set this header.

    This middleware runs before the page cache, since the cached page may depend on the header (Vary).
    """

    def process_request(self, request: Request) -> None:
        if request.meta.pop(_SENT, False) and "Authorization" not in self._context.session.login_headers(request.url):
            request.headers.pop("Authorization", None)  # copied from the original request to this redirect or retry
        if "Authorization" in request.headers:
            return
        auth = self._auth_of(request)
        if auth is not None and (header := auth.header(request.method, request.url)):
            request.headers["Authorization"] = header
            request.meta[_SENT] = True


class AnswerAuthChallenge(_HttpAuthMiddleware):
    """Answers a Digest challenge by sending the request again with an Authorization header.

    Ends the run if the server has never accepted the spider's credentials.
    """

    def process_response(self, request: Request, response: Response) -> Request | Response:
        auth = self._auth_of(request)
        if auth is None or ("Authorization" in request.headers and _SENT not in request.meta):
            return response
        if response.status != 401:
            auth.accepted = auth.accepted or (_SENT in request.meta and response.status < 400)
            return response
        offered = [value.decode("latin-1") for value in response.headers.getlist("WWW-Authenticate")]
        tries = request.meta.get(_TRIES, 0) + 1
        if auth.take(offered, sent=_SENT in request.meta, tries=tries):
            return request.replace(dont_filter=True, meta={**request.meta, _TRIES: tries})
        if auth is self._context.session.auth and not auth.accepted and request.callback is not NO_CALLBACK:
            error = auth.refused(request.url, offered)
            self._end_run(error)
            raise error
        return response

    def _end_run(self, error: PipelineError) -> None:
        if self._context.fatal is None:
            self._context.fatal = error
            self._stopping = asyncio.create_task(engine_control.stop(self._crawler))
