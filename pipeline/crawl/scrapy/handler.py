"""Download handler for pages: Scrapy's aiohttp handler with the session's proxy, TLS trust and SSRF guard.

The only module that touches the private module of that handler.
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
from pipeline.crawl.scrapy.proxy_errors import refuses_password
from pipeline.crawl.scrapy.response_protocol import UnusableResponseError, install
from pipeline.errors import FetchError
from pipeline.hosts import place_of
from pipeline.session.login.http_auth import of_user_info
from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.proxies.config import refuses_us, shown_proxy
from pipeline.session.responses.content_coding import codings_of, decode
from pipeline.session.responses.errors import CutShortError, DecodingError, OversizeError, cut_short
from pipeline.session.responses.head import MAX_HEAD_BYTES, MAX_LINES, is_redirect, missing_range
from pipeline.urls import bare

PROXY = "pipeline_proxy"
"""The meta key that says which proxy, shown without credentials, a request went through."""

_SKIPPED_AUTO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class SessionHandler(AiohttpDownloadHandler):
    """Every request goes through the session's proxy, if it has one; a dead proxy never leaks a direct request."""

    experimental = False  # pinned to a Scrapy we tested it with
    lazy = True

    def __init__(self, crawler: Crawler) -> None:
        # Not the parent's: it makes a connector and a TLS context (20 ms) that would not be used.
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
        """One request, when its host's budget lets it; through the pool's next proxy when one fails."""
        session = self._pipeline_session
        # Without a reactor, Scrapy's own count of what is under way lags behind: this one is exact.
        async with self._semaphores[place_of(request.url)], self._budget.turn(request.url):
            if request.callback is not NO_CALLBACK and self._budget.left_alone_s(request.url):
                raise HostPausedError  # while it waited for its turn
            while True:
                proxy = session.proxy_for(request.url)
                if proxy is not None:
                    request.meta[PROXY] = shown_proxy(proxy)
                try:
                    response = await super().download_request(request)
                except (DownloadConnectionRefusedError, DownloadFailedError) as error:
                    if proxy is None or not is_of_proxy(error) or not session.change_proxy(proxy):
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
        # Read by super() before it first awaits, so that requests do not see each other's.
        self._proxy = proxy = session.proxy_for(request.url)
        client = self._client(proxy, octets=not _is_utf8(request.headers))
        client.url = request.url
        self._session = client  # type: ignore[assignment]
        self._ssl_context = self._trust(request.url, proxy)
        try:
            async with super()._make_request(request, timeout) as response:
                if proxy is not None and not proxy.startswith("socks") and refuses_us(response.status, response.headers):
                    raise DownloadConnectionRefusedError("the proxy wants a user and password") from _refused(response)
                yield response
        except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
            raise DownloadConnectionRefusedError(str(error)) from error
        except aiohttp.ClientHttpProxyError as error:
            raise DownloadConnectionRefusedError(f"the proxy answered {error.status}") from error
        except asyncio.IncompleteReadError as error:  # of a SOCKS proxy's answer: aiohttp reads otherwise
            raise DownloadConnectionRefusedError("the proxy hung up") from error

    @staticmethod
    async def _iter_body_chunks(response: _ClientResponse) -> AsyncIterator[bytes]:
        """The body's bytes. Raises ResponseDataLossError with what was missing, whatever a spider says of data loss."""
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
        """Decode a coded body, which shows whether it came to its end, and hand it to the middleware that puts it in place.

        Next to the wire: a body that was cut is asked for again, and is not kept for later passes.
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
            raise DownloadCancelledError(f"is larger than {max_bytes} bytes once it is decoded") from error

    def _client(self, proxy: str | None, *, octets: bool) -> _Client:
        """octets: for requests whose headers are not UTF-8."""
        if (proxy, octets) not in self._clients:
            self._clients[proxy, octets] = _Client(aiohttp.ClientSession(
                connector=install(self._connector(proxy)), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
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

    def _trust(self, url: str, proxy: str | None) -> Any:
        """The TLS context for a URL; making one takes a while, so that plain HTTP goes without."""
        parts = urlsplit(url)
        if parts.scheme == "https" or (proxy and proxy.startswith("https:")):
            return self._pipeline_session.ssl_context(parts.hostname)
        return True

    @staticmethod
    def _extract_headers(response: _ClientResponse) -> Headers:
        """As octets: aiohttp's text of those that are not UTF-8 could not be encoded again."""
        return received_headers(response.raw_headers)

    @staticmethod
    def _request_headers(request: Request) -> Headers:
        """A copy only where something is left out of it, or where it is no text."""
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
    """aiohttp's session, told of no body where there is none: for an empty one it sends `Content-Length: 0` with a GET,
    which no browser does, and starts a task. URLs go on the wire as they are: yarl would percent-encode them anew, and leave
    out an empty query; aiohttp knows user info in Latin-1 only."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.close = session.close
        self.url = ""
        """Of the next request, as it is."""

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
    """Whether they are text to aiohttp. Of what is sent only a cookie, whose octets are its site's, may not be."""
    if b"Cookie" not in headers:
        return True
    try:
        (headers.get(b"Cookie") or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def is_of_proxy(error: BaseException) -> bool:
    """Whether the proxy itself failed or refused us, before anything was sent to a site: another one may serve."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientHttpProxyError):
            return cause.status in (401, 407)  # to a CONNECT, so that it is the proxy's own
        if isinstance(cause, ProxyError):  # else it is the proxy's word on the site
            return refuses_password(cause)
        if isinstance(cause, (aiohttp.ClientProxyConnectionError, ProxyConnectionError, ProxyTimeoutError,
                              asyncio.IncompleteReadError)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _refused(response: _ClientResponse) -> aiohttp.ClientHttpProxyError:
    return aiohttp.ClientHttpProxyError(response.request_info, (), status=407, message="Proxy Authentication Required")


class _Resolver(AbstractResolver):
    """Gives the connector only addresses that may be connected to, so that a name cannot lead elsewhere."""

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
