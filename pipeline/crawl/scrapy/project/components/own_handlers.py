"""Wrap a project's own download handler, such as scrapy-playwright's, in the limits of this program."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit

from scrapy import Request
from scrapy.core.downloader.handlers.base import BaseDownloadHandler
from scrapy.crawler import Crawler
from scrapy.exceptions import CannotResolveHostError, DownloadCancelledError, DownloadTimeoutError
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK
from scrapy.utils.defer import ensure_awaitable
from scrapy.utils.misc import build_from_crawler, load_object

from pipeline.crawl.context import context_of
from pipeline.crawl.interfaces import HostPausedError
from pipeline.crawl.scrapy.project.requests.request_proxy import META
from pipeline.hosts import place_of
from pipeline.session.login.http_auth import basic
from pipeline.session.proxies.config import credentials_of, shown_proxy
from pipeline.text import size_for_people


class LimitedHandler(BaseDownloadHandler):
    """Passes requests to a handler of the project: with the host's delay, pauses and concurrency, and the timeout.

    The addresses of the host are checked before the request, and the size of the body after it: the handler itself neither checks
    to which address it connects, nor limits what it receives. The proxy of the session is passed on as Scrapy's meta key `proxy`,
    which some handlers use.
    """

    wrapped: Any

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._context = context_of(crawler)
        self._handler = build_from_crawler(load_object(self.wrapped), crawler)
        self._is_async = inspect.iscoroutinefunction(self._handler.download_request)
        self._semaphores: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(self._context.table.concurrency))
        self._timeout_s = crawler.settings.getfloat("DOWNLOAD_TIMEOUT")
        self._max_bytes = crawler.settings.getint("DOWNLOAD_MAXSIZE")

    async def download_request(self, request: Request) -> Response:
        budget = self._context.budget
        await self._check_addresses(request.url)
        self._pass_proxy(request)
        async with self._semaphores[place_of(request.url)], budget.turn(request.url):
            if request.callback is not NO_CALLBACK and budget.left_alone_s(request.url):
                raise HostPausedError  # the host's pause began while this request was waiting
            timeout_s = float(request.meta.get("download_timeout", self._timeout_s))
            try:
                async with asyncio.timeout(timeout_s):
                    response = await self._send(request)
            except TimeoutError as error:
                raise DownloadTimeoutError(f"the server did not respond within {timeout_s:g} s") from error
        max_bytes = request.meta.get("download_maxsize", self._max_bytes)
        if max_bytes and len(response.body) > max_bytes:
            raise DownloadCancelledError(f"the page is larger than {size_for_people(max_bytes)}")
        self._context.on_response(request, response)
        return response

    async def _send(self, request: Request) -> Response:
        given = (request,) if self._is_async else (request, self.crawler.spider)  # handlers for older versions of Scrapy also get the spider
        response: Response = await ensure_awaitable(self._handler.download_request(*given))
        return response

    async def _check_addresses(self, url: str) -> None:
        """Raise FetchError if the host of a URL has an address that the SSRF guard refuses."""
        guard, parts = self._context.session.ssrf_guard, urlsplit(url)
        guard.check_url(url)
        if self._context.table.proxy is not None or parts.hostname is None:
            return  # the proxy resolves the name
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise CannotResolveHostError(str(error)) from error
        for *_, address in found:
            guard.check_address(parts.hostname, port, str(address[0]).partition("%")[0])

    def _pass_proxy(self, request: Request) -> None:
        proxy = self._context.session.proxy_for(request.url)
        if proxy is None:
            return
        request.meta[META] = shown_proxy(proxy)
        if credentials := credentials_of(proxy):
            request.headers["Proxy-Authorization"] = basic(*credentials)

    async def close(self) -> None:
        if hasattr(self._handler, "close"):
            await ensure_awaitable(self._handler.close())


def limited(handler: Any) -> type[LimitedHandler]:
    """Return a class of download handlers that wraps a handler. handler: as in the setting DOWNLOAD_HANDLERS."""
    return type("LimitedHandler", (LimitedHandler,), {"wrapped": handler, "lazy": getattr(load_object(handler), "lazy", True),
                                                      "__module__": __name__})
