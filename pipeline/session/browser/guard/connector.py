"""Connects to sites for the guard proxy: to checked addresses only, or through the session's proxies."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohappyeyeballs
from python_socks import ProxyError as SocksError
from python_socks import ProxyType
from python_socks.async_.asyncio import Proxy

from pipeline.errors import FetchError
from pipeline.session.browser.guard.faults import (
    ProxyFailedError,
    hung_up,
    no_http,
    proxy_down,
    refused_credentials,
    refused_tunnel,
    site_fault,
    socks_fault,
)
from pipeline.session.browser.guard.requests import ProxyRequest
from pipeline.session.browser.guard.streams import BufferedStream, SocketStream, Stream, TlsStream
from pipeline.session.login.http_auth import basic
from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.proxies.config import credentials_of, refuses_credentials
from pipeline.session.responses.errors import HeadError
from pipeline.session.responses.head import Head, parse_head
from pipeline.session.session import Session

CONNECT_S = 30.0
_EYEBALLS_S = 0.25  # RFC 8305, 5

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve_host(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host by the system's resolver. Raises socket.gaierror."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True)
class Connection:
    """A connection for requests to one host and port.

    proxy: the URL of the proxy that it goes through, or None; forwarding: whether an HTTP proxy at its other end wants requests in
    absolute form; authorization: the value of Proxy-Authorization for this proxy, or "".
    """

    stream: BufferedStream
    proxy: str | None = None
    forwarding: bool = False
    authorization: str = ""


class Connector:
    """Opens connections to sites. If the session has a proxy, a connection is never made without it.

    resolve: returns the addresses of a host. Each address is checked, and the connection is made to the checked address itself, so that
    a name that resolves differently the next time changes nothing. received: called with the number of bytes of each read.
    """

    def __init__(self, session: Session, resolve: Resolve, received: Callable[[int], None]) -> None:
        self._session = session
        self._guard: SsrfGuard = session.ssrf_guard
        self._resolve = resolve
        self._received = received
        self._timeout_s = min(session.timeout_s, CONNECT_S)
        self._working_proxy: str | None = None

    async def open(self, request: ProxyRequest) -> Connection:
        """Open a connection for a request, through the next proxy of the pool if a proxy is down.

        Raises FetchError, TlsError, or ProxyFailedError.
        """
        while True:
            proxy = self._session.proxy_for(request.url)
            try:
                opened = await (self._direct(request) if proxy is None else self._proxied(request, proxy))
            except ProxyFailedError as fault:
                if not self.can_change(fault, proxy):
                    raise
            else:
                if not opened.forwarding:  # a forwarding proxy shows with its first response whether it works
                    self.worked(opened)
                return opened

    def can_change(self, fault: ProxyFailedError, proxy: str | None) -> bool:
        """Select another proxy after a fault; return whether there is one."""
        return fault.other and self._session.change_proxy(proxy)

    def worked(self, connection: Connection) -> None:
        """Tell the session that a proxy works, when it was used for the first time."""
        if connection.proxy is not None and connection.proxy != self._working_proxy:
            self._working_proxy = connection.proxy
            self._session.proxy_worked()

    async def _direct(self, request: ProxyRequest) -> Connection:
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._checked_addresses(request)
                return Connection(BufferedStream(await self._dial(addresses, request.port)))
        except (OSError, TimeoutError) as error:
            raise site_fault(error) from error

    async def _checked_addresses(self, request: ProxyRequest) -> list[str]:
        """Return the addresses of the host that the SSRF guard allows. Raises FetchError if it allows none."""
        allowed: list[str] = []
        refusal: FetchError | None = None
        for each in await self._resolve(request.host, request.port):
            try:
                self._guard.check_address(request.host, request.port, str(ipaddress.ip_address(each.partition("%")[0])))
            except FetchError as error:
                refusal = error
            else:
                allowed.append(each)
        if not allowed:
            raise refusal or socket.gaierror(socket.EAI_NONAME, "no address")
        return allowed

    async def _dial(self, addresses: list[str], port: int) -> SocketStream:
        """Connect to the first of several addresses that responds (RFC 8305). Nothing is resolved again here."""
        infos = [(socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (each, port)) for each in addresses]
        connected = await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=_EYEBALLS_S)
        return await self._opened(connected)

    async def _opened(self, connected: socket.socket) -> SocketStream:
        return SocketStream(*await asyncio.open_connection(sock=connected), self._received)

    async def _proxied(self, request: ProxyRequest, proxy: str) -> Connection:
        if proxy.startswith("socks"):
            return await self._through_socks(request, proxy)
        credentials = credentials_of(proxy)
        authorization = basic(*credentials) if credentials else ""
        stream = BufferedStream(await self._http_proxy(proxy))
        if not request.is_connect:
            return Connection(stream, proxy, forwarding=True, authorization=authorization)
        try:
            await self._tunnel(stream, request, proxy, authorization)
        except BaseException:
            stream.close()
            raise
        return Connection(stream, proxy)

    async def _http_proxy(self, proxy: str) -> Stream:
        """Connect to an HTTP or HTTPS proxy. Its address is not checked: the settings name it."""
        parts = urlsplit(proxy)
        host, port = parts.hostname or "", parts.port or 80
        try:
            async with asyncio.timeout(self._timeout_s):
                plain = await self._dial(await resolve_host(host, port), port)
            if parts.scheme != "https":
                return plain
            secured = TlsStream(plain, self._session.ssl_context(host), host=host)
            try:
                await secured.handshake(self._timeout_s)
            except BaseException:
                plain.close()
                raise
        except (OSError, TimeoutError) as error:
            raise proxy_down(error, proxy) from error
        return secured

    async def _tunnel(self, stream: BufferedStream, request: ProxyRequest, proxy: str, authorization: str) -> None:
        """Ask an HTTP proxy for a tunnel to the request's host."""
        place = request.place.encode()
        lines = [b"CONNECT %b HTTP/1.1" % place, b"Host: " + place]
        if authorization:
            lines.append(b"Proxy-Authorization: " + authorization.encode())
        try:
            await stream.write(b"\r\n".join(lines) + b"\r\n\r\n")
            raw = await stream.head(self._timeout_s)
            if not raw:
                raise ConnectionResetError
            head = parse_head(raw)
        except HeadError as error:
            raise no_http(error, proxy) from error
        except TimeoutError as error:
            raise proxy_down(error, proxy) from error
        except OSError as error:
            raise hung_up(request.url, proxy) from error
        if refused_by_proxy(head):
            raise refused_credentials(proxy)
        if not 200 <= head.status < 300:
            raise refused_tunnel(head.status, request.url, proxy)

    async def _through_socks(self, request: ProxyRequest, proxy: str) -> Connection:
        """Connect through a SOCKS5 proxy. With socks5h it resolves the name; otherwise it gets a checked address."""
        host = request.host
        if not proxy.startswith("socks5h:"):
            try:
                async with asyncio.timeout(self._timeout_s):
                    host = (await self._checked_addresses(request))[0]
            except (OSError, TimeoutError) as error:
                raise site_fault(error) from error
        parts, credentials = urlsplit(proxy), credentials_of(proxy)
        user, password = credentials or (None, None)
        client = Proxy(ProxyType.SOCKS5, parts.hostname or "", parts.port or 1080, user, password, rdns=True)
        try:
            connected = await client.connect(host, request.port, timeout=self._timeout_s)
        except (SocksError, OSError, TimeoutError) as error:
            raise socks_fault(error, request.url, proxy) from error
        return Connection(BufferedStream(await self._opened(connected)), proxy)


def refused_by_proxy(head: Head) -> bool:
    """Return whether a response of an HTTP proxy says that the proxy refused the user name or password."""
    challenge = b", ".join(value for name, value in head.fields if name.lower() == b"www-authenticate")
    return refuses_credentials(head.status, {"WWW-Authenticate": challenge.decode("latin-1")})
