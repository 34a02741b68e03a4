"""The proxy for all traffic of a session's browser: SSRF guard, the session's proxies and TLS.

Chromium is started so that it can reach nothing but this proxy. Whatever makes a connection (a redirect, an iframe, fetch, a WebSocket, a
service worker), its host and its resolved address are checked here, so a page cannot make the browser reach a private address.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import ssl
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from pipeline.content_coding import CutShortError
from pipeline.errors import FetchError, PipelineError, ProxyError
from pipeline.session.browser.guard.authentication import authenticate
from pipeline.session.browser.guard.certificate import make_certificate
from pipeline.session.browser.guard.connector import Connection, Connector, Resolve, resolve_host
from pipeline.session.browser.guard.exchange import BrowserClosedError, Exchange
from pipeline.session.browser.guard.faults import ProxyFailedError, hung_up, site_fault
from pipeline.session.browser.guard.records import FailureRecord, LoadMeter, PageLoad
from pipeline.session.browser.guard.requests import ProxyRequest, RequestError, parse_request
from pipeline.session.browser.guard.streams import IDLE_S, BufferedStream, SocketStream, Stream, TlsStream, relay
from pipeline.session.login.http_auth import basic
from pipeline.session.responses.errors import HeadError
from pipeline.session.session import Session

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

_LOG = logging.getLogger(__name__)
_MAX_CONNECTIONS = 512
_FIRST_HEAD_S = 30.0
_CLOSE_S = 5.0
_HANDSHAKE = b"\x16"  # the first byte of a TLS connection (RFC 8446, 5.1)
_ANSWERS = {
    200: b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    400: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    407: b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="guard"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
    502: b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}
_TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"


class GuardProxy:
    """An HTTP proxy on a free loopback port, for one browser. It requires random credentials.

    session: its SSRF guard, proxies and TLS settings apply to each connection. max_bytes: how much may arrive for one page (see
    `page_load`); None means no limit. resolve: returns the addresses of a host.
    """

    def __init__(self, session: Session, *, max_bytes: int | None = None, resolve: Resolve = resolve_host) -> None:
        self.username, self.password = secrets.token_hex(8), secrets.token_urlsafe(24)
        self.sign_in_host = f"{secrets.token_hex(16)}.invalid"
        self.server = ""
        self._tls, self.spki = make_certificate(datetime.now(UTC))
        self._credentials = basic(self.username, self.password).encode()
        self._session = session
        self._meter = LoadMeter(max_bytes)
        self._failures = FailureRecord()
        self._connector = Connector(session, resolve, self._meter.received)
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<GuardProxy {self.server or 'not started'}>"

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.server = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening, and close all connections."""
        if self._listener is not None:
            self._listener.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._listener is not None:
            with suppress(TimeoutError):  # a client that reads nothing may keep its connection
                async with asyncio.timeout(_CLOSE_S):
                    await self._listener.wait_closed()

    def browser_arguments(self) -> list[str]:
        """Return the arguments with which Chromium must be started, so that no connection passes by the proxy."""
        return [
            "--disable-quic",  # HTTP/3 and WebTransport use UDP
            "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",  # WebRTC; the name depends on the kind of build
            "--webrtc-ip-handling-policy=disable_non_proxied_udp",
            "--dns-prefetch-disable",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # the browser itself resolves no name
            f"--ignore-certificate-errors-spki-list={self.spki}",
        ]

    async def authenticate(self, context: BrowserContext) -> Page:
        """Give the proxy's credentials to a new browser context. Return its first page, which is blank. Raises BrowserError if that fails."""
        return await authenticate(context, f"http://{self.sign_in_host}/", self.username, self.password)

    def refusals(self) -> list[str]:
        """Return a sentence for each refused connection since the last call, at most 100, each once."""
        return self._failures.refusals()

    def reason_for(self, url: str) -> PipelineError | None:
        """Return why the last request for a URL, or the last tunnel to its host and port, failed; None if it did not.

        The URL is an http, https, ws or wss URL. Refused private addresses and all other problems of sites are FetchError or TlsError,
        problems of the session's proxies ProxyError.
        """
        return self._failures.reason_for(url)

    @property
    def received_bytes(self) -> int:
        """How many bytes were received from sites until now."""
        return self._meter.received_bytes

    def page_load(self) -> AbstractContextManager[PageLoad]:
        """Count what arrives for a page: `with guard.page_load() as load` while the page is open."""
        return self._meter.page_load()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        browser = BufferedStream(SocketStream(reader, writer))
        if len(self._connections) >= _MAX_CONNECTIONS:
            _LOG.warning("The browser opened more than %d connections at once; one was closed.", _MAX_CONNECTIONS)
            browser.close(abort=True)
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(OSError, TimeoutError):  # the browser closed the connection
                await self._serve(browser)
        except asyncio.CancelledError:
            browser.close(abort=True)
        finally:
            self._connections.discard(task)
            browser.close()

    async def _serve(self, browser: BufferedStream) -> None:
        """Serve the requests on one connection of the browser. Each is authenticated and checked for itself."""
        site: Connection | None = None
        served: tuple[str, int] | None = None
        limit_s = _FIRST_HEAD_S
        try:
            while True:
                request = await self._next_request(browser, limit_s)
                if request is None:
                    return
                if request.is_connect:
                    await self._tunnel(browser, request)
                    return
                if site is not None and (served != (request.host, request.port) or site.stream.ended):
                    site.stream.close()
                    site = None
                served, limit_s = (request.host, request.port), IDLE_S
                site = await self._forward(browser, request, site)
                if site is None:
                    return
        finally:
            if site is not None:
                site.stream.close()

    async def _next_request(self, browser: BufferedStream, limit_s: float) -> ProxyRequest | None:
        """Return the next request that may be served. Otherwise respond to it, and return None."""
        try:
            head = await browser.head(limit_s)
            if not head:
                return None
            request = parse_request(head)
        except (RequestError, HeadError) as error:
            _LOG.warning("The proxy of the browser cannot read a request: %s", error)
            await browser.write(_ANSWERS[400])
            return None
        if not hmac.compare_digest(request.credentials, self._credentials):
            await browser.write(_ANSWERS[407])
        elif request.host == self.sign_in_host:
            await browser.write(_ANSWERS[400 if request.is_connect else 200])
        elif self._is_allowed(request):
            return request
        elif request.is_connect:
            await browser.write(_ANSWERS[502])  # a plain request gets no response, since a page could read it like one of the site
        return None

    def _is_allowed(self, request: ProxyRequest) -> bool:
        try:
            self._session.ssrf_guard.check_url(request.url)
        except FetchError as error:
            self._refused(request, error)
            return False
        return True

    async def _forward(self, browser: BufferedStream, request: ProxyRequest, site: Connection | None) -> Connection | None:
        """Forward a plain HTTP request. Return the connection to the site if it can be used again.

        If it cannot, the connection to the browser is to be closed, too. site: the connection of the request before, or None.
        """
        while True:
            kept = site
            if site is None:
                site = await self._open(request)
                if site is None:
                    return None
            exchange = Exchange(browser, site, request, self._session.timeout_s, partial(self._worked, request, site))
            try:
                await exchange.run()
            except ProxyFailedError as fault:
                site.stream.close()
                if self._connector.can_change(fault, site.proxy) and request.length == 0:  # a body has been read from the browser
                    site = None
                    continue
                self._failed(request, fault.error)
            except (BrowserClosedError, RequestError):
                site.stream.close()
                return None
            except (OSError, TimeoutError, HeadError, CutShortError, FetchError) as error:
                site.stream.close()
                # A kept connection may be closed by the site at this moment: the browser then sends its request again by itself.
                if kept is None or exchange.answered:
                    self._failed(request, _exchange_fault(error, exchange))
            except asyncio.CancelledError:
                site.stream.close(abort=True)
                raise
            else:
                if exchange.reusable:
                    return site
                site.stream.close()
                return None
            browser.close(abort=exchange.answered)
            return None

    async def _tunnel(self, browser: BufferedStream, request: ProxyRequest) -> None:
        """Connect the browser with a host and port, and pass on whatever they send."""
        site = await self._open(request)
        if site is None:
            await browser.write(_ANSWERS[502])
            return
        try:
            await browser.write(_TUNNEL)
            ends: tuple[Stream, Stream] | None = (browser, site.stream)
            if self._session.has_tls_exception(request.host):
                ends = await self._terminate_tls(browser, site, request)
            if ends is not None:
                self._worked(request, site)
                await relay(*ends)
        finally:
            site.stream.close()

    async def _terminate_tls(self, browser: BufferedStream, site: Connection, request: ProxyRequest) -> tuple[Stream, Stream] | None:
        """If the browser begins TLS, perform the handshakes. Return both ends, or None if the site's handshake fails.

        The site's certificate is verified with the session's TLS context for the host, which the browser does not know. A tunnel that
        begins with anything else, such as a WebSocket without TLS, stays as it is.
        """
        async with asyncio.timeout(IDLE_S):
            first = await browser.read()
        browser.put_back(first)
        if first[:1] != _HANDSHAKE:
            return browser, site.stream
        secured = TlsStream(site.stream, self._session.ssl_context(request.host), host=request.host)
        try:
            await secured.handshake(self._session.timeout_s)
        except (OSError, TimeoutError) as error:
            self._failed(request, hung_up(request.url, site.proxy).error if site.proxy and isinstance(error, (ConnectionError, ssl.SSLEOFError))
                         else site_fault(error, connected=True, proxy=site.proxy))
            return None
        shown = TlsStream(browser, self._tls, server_side=True)
        await shown.handshake(_FIRST_HEAD_S)
        return shown, secured

    async def _open(self, request: ProxyRequest) -> Connection | None:
        """Open a connection for a request; record why if that fails, and return None."""
        try:
            return await self._connector.open(request)
        except ProxyFailedError as fault:
            self._failed(request, fault.error)
        except FetchError as error:
            if error.where:  # only the SSRF guard knows the place
                self._refused(request, error)
            else:
                self._failed(request, error)
        return None

    def _worked(self, request: ProxyRequest, site: Connection) -> None:
        self._failures.worked(request)
        self._connector.worked(site)

    def _refused(self, request: ProxyRequest, error: FetchError) -> None:
        _LOG.info("A request of the browser was refused: %s", error)
        self._failures.refused(request, error)

    def _failed(self, request: ProxyRequest, error: PipelineError) -> None:
        _LOG.debug("A connection of the browser to %s failed: %s", request.place, error)
        self._failures.failed(request, error)


def _exchange_fault(error: Exception, exchange: Exchange) -> FetchError | ProxyError:
    """Return the error to record for a request whose connection was established."""
    site = exchange.site
    if site.forwarding and not exchange.answered and isinstance(error, ConnectionError):
        return hung_up(exchange.request.url, site.proxy or "").error
    return site_fault(error, connected=True, proxy=site.proxy)
