"""Translate proxy errors of aiohttp to ProxyError, with the same messages as pipeline.session.errors."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from urllib.parse import urlsplit

import aiohttp
from aiohttp_socks import ProxyConnectionError, ProxyTimeoutError
from aiohttp_socks import ProxyError as SocksError

from pipeline.crawl.scrapy.response_protocol import NotHttpResponseError
from pipeline.errors import ProxyError
from pipeline.session.errors import HUNG_UP, HUNG_UP_FIX, NO_HTTP, NO_HTTP_FIX
from pipeline.session.proxies.config import shown_proxy
from pipeline.text import clean_line, shown_url

_REFUSED = ("the proxy refused the user name or password", "correct this proxy's user and password in [proxies]")
_ALLOWS = "check the URL, and which hosts and ports the proxy allows"
_SOCKS_AUTH = ("auth", "credentials")
_DOWN = (aiohttp.ClientProxyConnectionError, ProxyConnectionError, ProxyTimeoutError)


def proxy_fault(cause: BaseException | None, url: str, proxy: str) -> ProxyError | None:
    """Return the error of the proxy as a ProxyError; None if the proxy did not fail.

    cause: the exception that made the request fail. url: the URL of the request.
    """
    found = _fault(cause, shown_url(url), proxy)
    return ProxyError(found[0], where=shown_proxy(proxy), fix=found[1], retry=found[0] != _REFUSED[0]) if found else None


def refuses_password(error: BaseException) -> bool:
    """Return whether an error says that a SOCKS proxy refused the user name or password."""
    return isinstance(error, SocksError) and any(word in str(error).lower() for word in _SOCKS_AUTH)


def _fault(cause: BaseException | None, where: str, proxy: str) -> tuple[str, str] | None:
    """Return the message and the fix of a proxy's error; None if the proxy did not fail."""
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return _REFUSED if cause.status in (401, 407) else (
            f"the proxy answered {cause.status} to the CONNECT request for {where}", _ALLOWS)
    if isinstance(cause, asyncio.IncompleteReadError) or "Unexpected SOCKS version" in str(cause):
        return "the proxy does not speak SOCKS5 on this port", "correct the proxy's scheme or port in [proxies]"
    if isinstance(cause, SocksError):
        return _REFUSED if refuses_password(cause) else (
            f"the proxy could not connect to {where}: {clean_line(str(cause), 80)}", _ALLOWS)
    if isinstance(cause, _DOWN) and not _is_hung_up(cause):
        return f"the proxy is down: {_reason(cause)}; the request was not sent without the proxy", "start the proxy, or change this spider's `proxy` setting"
    if isinstance(cause, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)) and _is_at(cause, proxy):
        if isinstance(cause, aiohttp.ClientConnectorCertificateError):
            reason = getattr(cause.certificate_error, "verify_message", "") or str(cause.certificate_error)
            return (f"the proxy's certificate is not trusted: {clean_line(reason, 200).rstrip('.')}",
                    "if the proxy uses a private certificate authority, set `ca_file` to the authority's certificate")
        return "the proxy does not speak TLS on this port", "write http:// if the proxy does not use TLS, or correct the port"
    if is_of_tunnel(cause, proxy):
        return NO_HTTP.format(said=str(cause).partition(" but ")[2]), NO_HTTP_FIX
    return (HUNG_UP.format(where=where), HUNG_UP_FIX) if _is_hung_up(cause) else None


def is_of_tunnel(error: BaseException | None, proxy: str) -> bool:
    """Return whether a response that is not HTTP was sent by the HTTP proxy itself and not by the site.

    If such a response arrived over TLS, the site sent it through the proxy's tunnel.
    """
    return isinstance(error, NotHttpResponseError) and not error.secured and not proxy.startswith("socks")


def _is_hung_up(cause: BaseException | None) -> bool:
    """Return whether the proxy, or the site behind it, closed the connection before sending a response."""
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return False
    error = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else cause
    return isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)) or (
        isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE))


def _is_at(cause: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError, proxy: str) -> bool:
    parts = urlsplit(proxy)
    return (cause.host, cause.port) == (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))


def _reason(cause: BaseException) -> str:
    """Return the operating system's message for an error ("Connection refused"), without addresses."""
    error = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else cause
    if isinstance(error, socket.gaierror):
        return "the host name of the proxy cannot be resolved"
    if isinstance(error, (ConnectionResetError, ssl.SSLEOFError)):
        return "the proxy closed the connection"
    number = getattr(error, "errno", None)
    if isinstance(error, TimeoutError) or not isinstance(number, int):
        return "the proxy did not respond in time"
    return os.strerror(number)
