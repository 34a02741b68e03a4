"""Download handler for pages: Scrapy's aiohttp handler with the session's proxy, TLS and SSRF guard.

Only this module imports Scrapy's private module with the aiohttp handler.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError
from scrapy import Request
from scrapy.core.downloader.handlers._aiohttp import AiohttpDownloadHandler, _ClientResponse
from scrapy.core.downloader.handlers._base_streaming import BaseStreamingDownloadHandler
from scrapy.crawler import Crawler
from scrapy.exceptions import (
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    ResponseDataLossError,
)
from scrapy.http import Headers, Response
from scrapy.http.request import NO_CALLBACK

from pipeline.crawl.context import context_of
from pipeline.crawl.interfaces import HostPausedError
from pipeline.crawl.scrapy.octet_headers import OctetsRequest, received_headers
from pipeline.crawl.scrapy.proxy_errors import is_of_tunnel, refuses_password
from pipeline.crawl.scrapy.response_protocol import UnusableResponseError, use_lenient_protocol
from pipeline.errors import FetchError
from pipeline.hosts import place_of
from pipeline.session.login.http_auth import of_user_info
from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.proxies.config import refuses_credentials, shown_proxy
from pipeline.session.responses.content_coding import codings_of, decode
from pipeline.session.responses.errors import CutShortError, DecodingError, OversizeError, cut_short
from pipeline.session.responses.head import MAX_HEAD_BYTES, MAX_LINES, is_redirect, missing_range
from pipeline.urls import bare

PROXY = "pipeline_proxy"
"""The meta key with the proxy of a request, without the credentials of the proxy."""

_SKIPPED_AUTO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class SessionHandler(AiohttpDownloadHandler):
    """Sends every request through the session's proxy, if it has one.

    If a proxy fails, the request is never sent directly to the site.
    """

    experimental = False  # the Scrapy version is pinned
    lazy = True

    def __init__(self, crawler: Crawler) -> None:
        # Skip the __init__ of the base class, which creates a connector and a TLS context (20 ms) that would not be used.
        BaseStreamingDownloadHandler.__init__(self, crawler)
        context = context_of(crawler)
        self._pipeline_session = context.session
        self._budget = context.budget
        self._context = context
        self._semaphores: defaultdict[str, asyncio.Semaphore] = defaultdict(
            partial(asyncio.Semaphore, context.table.concurrency))
        self._clients: dict[tuple[str | None, bool], _Client] = {}
        self._proxy: str | None = None
        self._working_proxy: str | None = None

    async def download_request(self, request: Request) -> Response:
        """Send a request when the limits of its host allow.

        If the proxy fails, send the request through the next proxy of the pool.
        """
        session = self._pipeline_session
        # Without a Twisted reactor, Scrapy updates its count of requests in flight too late; this semaphore is exact.
        async with self._semaphores[place_of(request.url)], self._budget.turn(request.url):
            if request.callback is not NO_CALLBACK and self._budget.left_alone_s(request.url):
                raise HostPausedError  # the pause began while this request waited for its turn
            while True:
                proxy = session.proxy_for(request.url)
                if proxy is not None:
                    request.meta[PROXY] = shown_proxy(proxy)
                try:
                    response = await super().download_request(request)
                except (DownloadConnectionRefusedError, DownloadFailedError) as error:
                    if proxy is None or not is_proxy_error(error, proxy) or not session.change_proxy(proxy):
                        raise
                else:
                    if proxy is not None and proxy != self._working_proxy:
                        self._working_proxy = proxy
                        session.proxy_worked()
                    self._check_whole(request, response)
                    self._context.on_response(request, response)
                    return response

    @asynccontextmanager
    async def _make_request(self, request: Request, timeout: float) -> AsyncIterator[_ClientResponse]:  # noqa: ASYNC109  Scrapy's own signature
        session = self._pipeline_session
        session.ssrf_guard.check_url(request.url)
        # super() reads these attributes before its first await, so that no request uses the attributes of another request.
        self._proxy = proxy = session.proxy_for(request.url)
        client = self._client(proxy, octets=not _is_utf8(request.headers))
        client.url = request.url
        self._session = client  # type: ignore[assignment]
        self._ssl_context = self._tls_context(request.url, proxy)
        try:
            async with super()._make_request(request, timeout) as response:
                if proxy is not None and not proxy.startswith("socks") and refuses_credentials(response.status, response.headers):
                    raise DownloadConnectionRefusedError("the proxy asks for a user and password") from _refused(response)
                yield response
        except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
            raise DownloadConnectionRefusedError(str(error)) from error
        except aiohttp.ClientHttpProxyError as error:
            raise DownloadConnectionRefusedError(f"the proxy answered {error.status}") from error
        except asyncio.IncompleteReadError as error:  # raised in the SOCKS handshake; aiohttp does not raise this error
            raise DownloadConnectionRefusedError("the proxy closed the connection") from error

    @staticmethod
    async def _iter_body_chunks(response: _ClientResponse) -> AsyncIterator[bytes]:
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
            missing = "its last chunk is missing" if "Transfer-Encoding" in response.headers else "the connection broke"
            raise ResponseDataLossError(cut_short(received, int(length)) if length and received < int(length) else
                                        f"{cut_short(received, None)}: {missing}") from error

    def _check_whole(self, request: Request, response: Response) -> None:
        """Raise ResponseDataLossError for a truncated body, so that the page is fetched again and not cached.

        To find out whether a compressed body is complete, it must be decoded. The decoded body is kept for DecodeBodies.
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
        max_bytes = request.meta.get("download_maxsize", self._default_maxsize)
        try:
            codings = codings_of(value.decode("latin-1") for value in values)
            self._context.decoded[response] = decode(response.body, codings, max_bytes or None, empty=framed)
        except (CutShortError, DecodingError) as error:
            raise ResponseDataLossError(str(error)) from error
        except OversizeError as error:
            raise DownloadCancelledError(f"the page is larger than {max_bytes} bytes after decoding") from error

    def _client(self, proxy: str | None, *, octets: bool) -> _Client:
        """Return the client for a proxy, or for direct connections if `proxy` is None.

        octets: whether the client is for requests whose headers are not UTF-8.
        """
        if (proxy, octets) not in self._clients:
            self._clients[proxy, octets] = _Client(aiohttp.ClientSession(
                connector=use_lenient_protocol(self._connector(proxy)), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
                response_class=_ClientResponse, request_class=OctetsRequest if octets else aiohttp.ClientRequest,
                skip_auto_headers=_SKIPPED_AUTO_HEADERS,
                max_line_size=MAX_HEAD_BYTES, max_field_size=MAX_HEAD_BYTES, max_headers=MAX_LINES + 3))
        return self._clients[proxy, octets]

    def _connector(self, proxy: str | None) -> aiohttp.BaseConnector:
        limits: dict[str, Any] = {"limit": self._pool_size_total, "limit_per_host": self._pool_size_per_host}
        if proxy is None:
            return aiohttp.TCPConnector(resolver=_Resolver(self._pipeline_session.ssrf_guard), **limits)
        if not proxy.startswith("socks"):
            return aiohttp.TCPConnector(**limits)
        scheme, _, rest = proxy.partition("://")
        return ProxyConnector.from_url(f"socks5://{rest}", rdns=scheme == "socks5h", **limits)

    def _tls_context(self, url: str, proxy: str | None) -> Any:
        """Return the TLS context for a URL; True for plain HTTP, since creating a context takes time."""
        parts = urlsplit(url)
        if parts.scheme == "https" or (proxy and proxy.startswith("https:")):
            return self._pipeline_session.ssl_context(parts.hostname)
        return True

    @staticmethod
    def _extract_headers(response: _ClientResponse) -> Headers:
        """Return the response headers as bytes: aiohttp's str of headers that are not UTF-8 cannot be encoded."""
        return received_headers(response.raw_headers)

    @staticmethod
    def _request_headers(request: Request) -> Headers:
        """Return the headers to send, without Proxy-Authorization."""
        headers = request.headers
        if b"Proxy-Authorization" in headers:
            headers = AiohttpDownloadHandler._request_headers(request)
        return headers if _is_utf8(headers) else Headers(headers, encoding="latin-1")

    def _extract_proxy_url_with_creds(self, request: Request) -> str | None:
        return None if self._proxy is None or self._proxy.startswith("socks") else self._proxy

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


class _Client:
    """A wrapper of aiohttp's client session that sends requests as browsers do.

    An empty body is passed as None, because for b"" aiohttp would send `Content-Length: 0` with a GET and start a task. URLs are
    sent unchanged, whereas yarl would percent-encode them again and drop an empty query. User info in a URL becomes an
    Authorization header, because aiohttp supports only user info in Latin-1.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.close = session.close
        self.url = ""
        """The URL of the next request, exactly as sent."""

    def request(self, method: str, url: str | yarl.URL, *, data: bytes, headers: list[tuple[str, str]], **options: Any) -> Any:
        text = self.url
        if "@" in text and (authorization := of_user_info(text)):
            text = bare(text)
            if all(name.lower() != "authorization" for name, _ in headers):
                headers = [*headers, ("Authorization", authorization)]
        parsed = yarl.URL(text, encoded=True)
        if text.endswith("?") and not parsed.raw_query_string:
            parsed = parsed.with_path(f"{parsed.raw_path}?", encoded=True)
        return self._session.request(method, parsed, data=data or None, headers=headers, **options)


def _is_utf8(headers: Headers) -> bool:
    """Return whether the headers are UTF-8. Only a Cookie header can contain other bytes."""
    if b"Cookie" not in headers:
        return True
    try:
        (headers.get(b"Cookie") or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def is_proxy_error(error: BaseException, proxy: str) -> bool:
    """Return whether the proxy failed, or refused the request, before anything was sent to the site.

    If so, the request can be sent through another proxy.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientHttpProxyError):
            return cause.status in (401, 407)  # the response to a CONNECT request, which the proxy itself sends
        if isinstance(cause, ProxyError):  # other SOCKS errors concern the connection to the site
            return refuses_password(cause)
        if isinstance(cause, (aiohttp.ClientProxyConnectionError, ProxyConnectionError, ProxyTimeoutError,
                              asyncio.IncompleteReadError)) or is_of_tunnel(cause, proxy):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _refused(response: _ClientResponse) -> aiohttp.ClientHttpProxyError:
    return aiohttp.ClientHttpProxyError(response.request_info, (), status=407, message="Proxy Authentication Required")


class _Resolver(AbstractResolver):
    """Resolves host names, and returns only the addresses that the SSRF guard allows."""

    def __init__(self, ssrf_guard: SsrfGuard) -> None:
        self._ssrf_guard = ssrf_guard
        self._system = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0,
                      family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._system.resolve(host, port, family)
        allowed = []
        refusal: FetchError | None = None
        for each in found:
            try:
                self._ssrf_guard.check_address(host, port, str(ipaddress.ip_address(each["host"].partition("%")[0])))
            except FetchError as error:
                refusal = error
            else:
                allowed.append(each)
        if not allowed and refusal is not None:
            raise refusal
        return allowed

    async def close(self) -> None:
        await self._system.close()
