"""Download pages with aiohttp, through the session's proxies; an incomplete body is an error.

The handler implements Scrapy's documented interface `BaseDownloadHandler`, with the documented interface of aiohttp.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from scrapy import Request, signals
from scrapy.core.downloader.handlers.base import BaseDownloadHandler
from scrapy.crawler import Crawler
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
    StopDownload,
    UnsupportedURLSchemeError,
)
from scrapy.http import Headers, Response
from scrapy.http.request import NO_CALLBACK
from scrapy.responsetypes import responsetypes
from twisted.python.failure import Failure

from pipeline.content_coding import CutShortError, DecodingError, OversizeError, codings_of, decode
from pipeline.crawl.context import context_of
from pipeline.crawl.interfaces import HostPausedError
from pipeline.crawl.scrapy.exchanges import add_exchange, exchange_of
from pipeline.crawl.scrapy.http_clients import HttpClients, PeerResponse, StaleConnectionError
from pipeline.crawl.scrapy.octet_headers import received_headers
from pipeline.crawl.scrapy.project.requests.request_proxy import META, request_proxy
from pipeline.crawl.scrapy.proxy_errors import is_of_tunnel, refuses_password
from pipeline.crawl.scrapy.response_protocol import UnusableResponseError
from pipeline.hosts import place_of
from pipeline.model import Exchange
from pipeline.session.proxies.config import refuses_credentials, shown_proxy
from pipeline.session.responses.errors import cut_short
from pipeline.session.responses.head import is_redirect, missing_range
from pipeline.text import size_for_people

PROXY = "pipeline_proxy"
"""The meta key with the proxy of a request, without the credentials of the proxy."""


class SessionHandler(BaseDownloadHandler):
    """Sends every request through the session's proxy, if it has one.

    If a proxy fails, the request is never sent directly to the site.
    """

    lazy = True

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        context, settings = context_of(crawler), crawler.settings
        self._session = context.session
        self._budget = context.budget
        self._context = context
        self._limit = context.table.concurrency if context.limit is None else context.limit
        self._semaphores: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(self._limit))
        self._reserving: set[asyncio.Task[Any]] = set()
        context.on_limit.append(self._limit_requests)
        self._clients = HttpClients(context.session, limit=settings.getint("CONCURRENT_REQUESTS"),
                                    limit_per_host=settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN"))
        self._timeout_s = settings.getfloat("DOWNLOAD_TIMEOUT")
        self._max_bytes = settings.getint("DOWNLOAD_MAXSIZE")
        self._working_proxy: str | None = None
        self._exchanges: WeakKeyDictionary[Response, Exchange] | None = None if context.archive is None else WeakKeyDictionary()
        """The exchange of each response whose body is still to be checked; None if the spider archives nothing."""

    def _limit_requests(self, per_host: int) -> None:
        """Change how many requests to one host are sent at the same time."""
        change, self._limit = per_host - self._limit, per_host
        for semaphore in self._semaphores.values():
            for _ in range(change):
                semaphore.release()
            for _ in range(-change):  # permanently takes a permit, as soon as a request releases one
                task = asyncio.create_task(semaphore.acquire())
                self._reserving.add(task)
                task.add_done_callback(self._reserving.discard)

    async def download_request(self, request: Request) -> Response:
        """Send a request as soon as the limits of its host allow it.

        If the proxy fails, send the request through the next proxy of the pool.
        """
        session = self._session
        async with self._turn(request):
            while True:
                own = self._own_proxy(request)
                proxy = own or session.proxy_for(request.url)
                if proxy is not None:
                    request.meta[PROXY] = shown_proxy(proxy)
                try:
                    response = await self._fetch(request, proxy)
                except (DownloadConnectionRefusedError, DownloadFailedError) as error:
                    if proxy is None or own or not is_proxy_error(error, proxy) or not session.change_proxy(proxy):
                        raise
                else:
                    if proxy is not None and not own and proxy != self._working_proxy:
                        self._working_proxy = proxy
                        session.proxy_worked()
                    exchange = None if self._exchanges is None else self._exchanges.pop(response, None)
                    self._check_whole(request, response)
                    if exchange is not None and request.callback is not NO_CALLBACK:
                        add_exchange(self._context, request, exchange)
                    self._context.on_response(request, response)
                    return response

    def _own_proxy(self, request: Request) -> str | None:
        """Return the proxy that the spider or a middleware of its project has chosen for a request; None if there is none.

        If settings.toml has a proxy for the spider, this proxy is used for all requests.
        """
        if META not in request.meta or self._context.table.proxy is None:
            return request_proxy(request) if META in request.meta else None
        self._context.note("the meta key proxy of the spider's requests has no effect, because settings.toml has a `proxy` for the spider")
        return None

    @asynccontextmanager
    async def _turn(self, request: Request) -> AsyncIterator[None]:
        """Wait until the limits of its host allow a request, and hold them during the `async with` statement."""
        # Without a Twisted reactor, Scrapy updates its count of requests in flight too late; this semaphore is exact.
        async with self._semaphores[place_of(request.url)], self._budget.turn(request.url):
            if request.callback is not NO_CALLBACK and self._budget.left_alone_s(request.url):
                raise HostPausedError  # the host's pause began while this request was waiting
            yield

    async def _fetch(self, request: Request, proxy: str | None) -> Response:
        """Send a request through this proxy, or directly if `proxy` is None. Raise Scrapy's exceptions in place of aiohttp's.

        If the server closes a kept-alive connection at the moment of the request, the request is sent again. aiohttp itself sends
        the request again only once, and the next kept-alive connection may be closed as well.
        """
        self._session.ssrf_guard.check_url(request.url)
        timeout_s = request.meta.get("download_timeout", self._timeout_s)
        try:
            try:
                return await self._send(request, proxy, timeout_s)
            except StaleConnectionError:
                return await self._send(request, proxy, timeout_s, new_connection=True)
        except TimeoutError as error:
            raise DownloadTimeoutError(f"the server did not respond within {timeout_s:g} s") from error
        except (aiohttp.ClientError, ProxyError, ProxyConnectionError, ProxyTimeoutError, asyncio.IncompleteReadError) as error:
            _raise_translated(error)

    async def _send(self, request: Request, proxy: str | None, timeout_s: float, *, new_connection: bool = False) -> Response:
        begun_s, at = time.monotonic(), datetime.now(UTC)
        async with self._clients.send(request, proxy, timeout_s=timeout_s, new_connection=new_connection) as response:
            request.meta["download_latency"] = time.monotonic() - begun_s
            if proxy is not None and not proxy.startswith("socks") and refuses_credentials(response.status, response.headers):
                raise DownloadConnectionRefusedError("the proxy requires a user name and password") from _refused(response)
            found = await self._read(request, response)
            if self._exchanges is not None and not found.flags:  # a body whose download was stopped is not whole
                self._exchanges[found] = exchange_of(request, response, found.body, at, by_proxy=proxy is not None)
            return found

    async def _read(self, request: Request, response: PeerResponse) -> Response:
        """Read the body and return the response. Raise DownloadCancelledError if the body is too large."""
        headers = received_headers(response.raw_headers)
        max_bytes = request.meta.get("download_maxsize", self._max_bytes)
        length = response.content_length
        if max_bytes and length and length > max_bytes:
            raise DownloadCancelledError(f"the page is larger than {size_for_people(max_bytes)}")
        if stopped := self._stopped(signals.headers_received, request, headers=headers, body_length=length):
            return _made(request, response, headers, b"", stopped)
        chunks: list[bytes] = []
        received = 0
        async for chunk in _chunks(response):
            chunks.append(chunk)
            received += len(chunk)
            if stopped := self._stopped(signals.bytes_received, request, data=chunk):
                break
            if max_bytes and received > max_bytes:
                raise DownloadCancelledError(f"the page is larger than {size_for_people(max_bytes)}")
        return _made(request, response, headers, chunks[0] if len(chunks) == 1 else b"".join(chunks), stopped)

    def _stopped(self, signal: object, request: Request, **arguments: Any) -> StopDownload | None:
        """Send a signal, and return the StopDownload that a listener raised to stop this download early, if any."""
        for _, result in self.crawler.signals.send_catch_log(signal, request=request, spider=self.crawler.spider, **arguments):
            if isinstance(result, Failure) and isinstance(result.value, StopDownload):
                return result.value
        return None

    def _check_whole(self, request: Request, response: Response) -> None:
        """Raise ResponseDataLossError for a truncated body, so that the page is fetched again and not cached.

        A compressed body must be decoded to find out whether it is complete. The decoded body is kept for the middleware
        DecodeBodies.
        """
        headers, status = response.headers, response.status
        if status == 206 and "Range" not in request.headers and (
                missing := missing_range(status, (headers.get("Content-Range") or b"").decode("latin-1"))):
            raise ResponseDataLossError(missing)
        values = headers.getlist("Content-Encoding")
        if not values or status in (204, 304) or request.method == "HEAD" or "download_stopped" in response.flags \
                or is_redirect(status, location="Location" in headers):
            return
        framed = "Content-Length" in headers or "Transfer-Encoding" in headers
        max_bytes = request.meta.get("download_maxsize", self._max_bytes)
        try:
            codings = codings_of(value.decode("latin-1") for value in values)
            self._context.decoded[response] = decode(response.body, codings, max_bytes or None, empty=framed)
        except (CutShortError, DecodingError) as error:
            raise ResponseDataLossError(str(error)) from error
        except OversizeError as error:
            raise DownloadCancelledError(f"the page is larger than {size_for_people(max_bytes)} after decoding") from error

    async def close(self) -> None:
        for task in list(self._reserving):
            task.cancel()
        await self._clients.close()


async def _chunks(response: PeerResponse) -> AsyncIterator[bytes]:
    """Yield the body in chunks.

    Raise ResponseDataLossError if the body is incomplete, even for spiders that set DOWNLOAD_FAIL_ON_DATALOSS to False.
    """
    redirect = is_redirect(response.status, location="Location" in response.headers)
    received = 0
    try:
        async for chunk in response.content.iter_any():
            received += len(chunk)
            yield chunk
    except UnusableResponseError as error:
        if not redirect:
            raise ResponseDataLossError(str(error)) from error
    except aiohttp.ClientPayloadError as error:
        if redirect:
            return
        length = response.headers.get("Content-Length")
        missing = "the last chunk is missing" if "Transfer-Encoding" in response.headers else "the connection broke"
        raise ResponseDataLossError(cut_short(received, int(length)) if length and received < int(length) else
                                    f"{cut_short(received, None)}: {missing}") from error


def _made(request: Request, response: PeerResponse, headers: Headers, body: bytes, stopped: StopDownload | None) -> Response:
    """Return a Scrapy response of the class for the content type.

    stopped: the spider's request to stop the download early, or None. This exception is raised if the spider wants the page to
    fail.
    """
    version = response.version
    made = responsetypes.from_args(headers=headers, url=request.url, body=body)(
        url=request.url, status=response.status, headers=headers, body=body, certificate=response.certificate,
        ip_address=ipaddress.ip_address(response.peer_address) if response.peer_address else None,
        protocol=f"HTTP/{version.major}.{version.minor}" if version else "HTTP/1.1")
    if stopped is not None:
        made.flags.append("download_stopped")
        if stopped.fail:
            stopped.response = made
            raise stopped
    return made


def _raise_translated(error: Exception) -> NoReturn:
    """Raise the exception of Scrapy that corresponds to an error of aiohttp or of a SOCKS proxy."""
    if isinstance(error, (aiohttp.InvalidUrlClientError, aiohttp.NonHttpUrlClientError)):
        raise UnsupportedURLSchemeError(str(error)) from error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        raise CannotResolveHostError(str(error)) from error
    if isinstance(error, (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError)):
        raise DownloadFailedError(str(error)) from error
    if isinstance(error, aiohttp.ClientConnectorError) or not isinstance(error, aiohttp.ClientError):
        closed = isinstance(error, asyncio.IncompleteReadError)  # raised in the SOCKS handshake; aiohttp does not raise this error
        raise DownloadConnectionRefusedError("the proxy closed the connection" if closed else str(error)) from error
    raise DownloadFailedError(str(error)) from error


def is_proxy_error(error: BaseException, proxy: str) -> bool:
    """Return whether the proxy failed or refused the request before anything was sent to the site.

    In this case, the request can be repeated through another proxy.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientHttpProxyError):
            return cause.status in (401, 407)  # the response to a CONNECT, which comes from the proxy itself
        if isinstance(cause, ProxyError):  # other SOCKS errors concern the site
            return refuses_password(cause)
        if isinstance(cause, (aiohttp.ClientProxyConnectionError, ProxyConnectionError, ProxyTimeoutError,
                              asyncio.IncompleteReadError)) or is_of_tunnel(cause, proxy):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _refused(response: PeerResponse) -> aiohttp.ClientHttpProxyError:
    return aiohttp.ClientHttpProxyError(response.request_info, (), status=407, message="Proxy Authentication Required")
