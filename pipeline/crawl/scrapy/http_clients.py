"""The aiohttp clients of a crawl, one for each proxy, with the session's TLS contexts and SSRF guard."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp_socks import ProxyConnector
from scrapy import Request
from scrapy.http import Headers

from pipeline.crawl.scrapy.octet_headers import OctetsRequest
from pipeline.crawl.scrapy.response_protocol import use_lenient_protocol
from pipeline.errors import FetchError
from pipeline.session import Session
from pipeline.session.login.http_auth import of_user_info
from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.responses.head import MAX_HEAD_BYTES, MAX_LINES
from pipeline.session.transport.adapter import REPEATABLE
from pipeline.urls import bare

_SKIPPED_AUTO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class StaleConnectionError(aiohttp.ServerDisconnectedError):
    """The server closed a kept-alive connection while a request was being sent on the connection."""


class PeerResponse(aiohttp.ClientResponse):
    """A response that records the server's IP address and certificate at its start, while it still has the connection."""

    header_encoding = "utf-8"
    """How the headers of the request were encoded."""
    peer_address: str | None = None
    certificate: bytes | None = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        transport, protocol = connection.transport, connection.protocol
        if transport is not None:
            self.peer_address = transport.get_extra_info("peername")[0]
            tls = transport.get_extra_info("ssl_object")
            self.certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        try:
            return await super().start(connection)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if getattr(protocol, "is_stale", False):
                raise StaleConnectionError(str(error)) from error
            raise


class _ToOctetsRequest(PeerResponse):
    """The response to an OctetsRequest."""

    header_encoding = "latin-1"


class HttpClients:
    """Sends requests through one aiohttp client for each proxy, opened at the first request through this proxy.

    limit, limit_per_host: the maximum number of connections of each client, in total and to one host.
    """

    def __init__(self, session: Session, *, limit: int, limit_per_host: int) -> None:
        self._session = session
        self._limits: dict[str, Any] = {"limit": limit, "limit_per_host": limit_per_host}
        self._clients: dict[tuple[str | None, bool, bool], aiohttp.ClientSession] = {}

    def send(self, request: Request, proxy: str | None, *, timeout_s: float,
             new_connection: bool = False) -> AbstractAsyncContextManager[Any]:
        """Return a context manager that sends a request and yields the PeerResponse.

        An empty body is passed as None, since aiohttp would send `Content-Length: 0` with a GET for b"", which no browser does. A
        user name and password in the URL become an Authorization header here, since aiohttp supports them in Latin-1 only. A
        request that must not be sent twice uses a new connection: if the server closed a kept-alive connection, it would be
        unknown whether the request was processed.
        """
        sent, utf8 = _headers(request)
        headers, url = sent.to_tuple_list(), request.url
        if "@" in url and (authorization := of_user_info(url)):
            url = bare(url)
            if b"Authorization" not in sent:
                headers = [*headers, ("Authorization", authorization)]
        keep_alive = request.method in REPEATABLE and not new_connection
        if not keep_alive:  # without this header aiohttp would send `Connection: close`, which no browser does
            headers = [*headers, ("Connection", "keep-alive")]
        return self._client(proxy, utf8=utf8, keep_alive=keep_alive).request(
            request.method, _as_it_is(url), data=request.body or None, headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout_s), ssl=self._tls_context(request.url, proxy), allow_redirects=False,
            proxy=None if proxy is None or proxy.startswith("socks") else proxy)

    def _client(self, proxy: str | None, *, utf8: bool, keep_alive: bool) -> aiohttp.ClientSession:
        client = self._clients.get((proxy, utf8, keep_alive))
        if client is None:
            client = self._clients[proxy, utf8, keep_alive] = aiohttp.ClientSession(
                connector=use_lenient_protocol(self._connector(proxy, force_close=not keep_alive)), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
                response_class=PeerResponse if utf8 else _ToOctetsRequest, request_class=aiohttp.ClientRequest if utf8 else OctetsRequest,
                skip_auto_headers=_SKIPPED_AUTO_HEADERS,
                max_line_size=MAX_HEAD_BYTES, max_field_size=MAX_HEAD_BYTES, max_headers=MAX_LINES + 3)
        return client

    def _connector(self, proxy: str | None, *, force_close: bool) -> aiohttp.BaseConnector:
        options = {**self._limits, "force_close": force_close}
        if proxy is None:
            return aiohttp.TCPConnector(resolver=_GuardedResolver(self._session.ssrf_guard), **options)
        if not proxy.startswith("socks"):
            return aiohttp.TCPConnector(**options)
        scheme, _, rest = proxy.partition("://")
        return ProxyConnector.from_url(f"socks5://{rest}", rdns=scheme == "socks5h", **options)

    def _tls_context(self, url: str, proxy: str | None) -> Any:
        """Return the TLS context for a URL; for plain HTTP, return True (aiohttp's default) without creating a context, to save
        time.
        """
        parts = urlsplit(url)
        if parts.scheme == "https" or (proxy and proxy.startswith("https:")):
            return self._session.ssl_context(parts.hostname)
        return True

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


def _as_it_is(url: str) -> yarl.URL:
    """Return the URL as a yarl.URL without changes. By default, yarl percent-encodes the URL again and drops an empty query."""
    parsed = yarl.URL(url, encoded=True)
    if url.endswith("?") and not parsed.raw_query_string:
        return parsed.with_path(f"{parsed.raw_path}?", encoded=True)
    return parsed


def _headers(request: Request) -> tuple[Headers, bool]:
    """Return the headers to send, and whether to encode them in UTF-8; if not, each character represents one byte.

    Only a cookie may contain bytes that are not UTF-8, because the site that set the cookie chose the bytes. Proxy-Authorization
    is left out. The headers are copied only if something changes.
    """
    headers = request.headers
    if b"Proxy-Authorization" in headers:
        headers = headers.copy()
        headers.pop(b"Proxy-Authorization")
    cookie = headers.get(b"Cookie")
    if cookie is None or cookie.isascii():
        return headers, True
    try:
        cookie.decode("utf-8")
    except UnicodeDecodeError:
        return Headers(headers, encoding="latin-1"), False
    return headers, True


class _GuardedResolver(AbstractResolver):
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
