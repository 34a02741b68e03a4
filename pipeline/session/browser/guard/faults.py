"""Translates failures of connections into FetchError, TlsError and ProxyError, as other clients do."""

from __future__ import annotations

import os
import socket
import ssl

from python_socks import ProxyConnectionError, ProxyTimeoutError
from python_socks import ProxyError as SocksError

from pipeline.content_coding import CutShortError
from pipeline.errors import FetchError, ProxyError, TlsError
from pipeline.session.errors import HUNG_UP, HUNG_UP_FIX, NO_HTTP, NO_HTTP_FIX, tls_fault
from pipeline.session.proxies.config import shown_proxy
from pipeline.session.responses.errors import HeadError
from pipeline.text import clean_line

_CHECK = "check the URL and the network"
_ALLOWS = "check the URL, and which hosts and ports the proxy allows"
_SOCKS_AUTH = ("auth", "credentials")


class ProxyFailedError(Exception):
    """A proxy failed.

    error: what to tell; other: whether the request may be sent through another proxy, since no site has got it yet.
    """

    def __init__(self, error: ProxyError, *, other: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.other = other


def site_fault(error: Exception, *, connected: bool = False, proxy: str | None = None) -> FetchError:
    """Return the FetchError or TlsError for a failed connection to a site.

    connected: whether the connection had been established. proxy: the proxy on the way, for the message.
    """
    if isinstance(error, FetchError):
        return error
    if isinstance(error, ssl.SSLError):
        what, fix, retry = tls_fault(error, "the server")
        return TlsError(what, fix=fix, retry=retry)
    if isinstance(error, TimeoutError):
        what = "the server did not respond in time" if connected else "the connection timed out"
    elif isinstance(error, socket.gaierror):
        what = "the host name cannot be resolved"
    elif isinstance(error, (HeadError, CutShortError)):
        what = clean_line(str(error), 200)
    elif connected:
        what = f"the connection broke during the response: {_reason(error) or type(error).__name__}"
    else:
        what = f"cannot connect to the server: {_reason(error) or 'no connection'}"
    through = f" (through the proxy {shown_proxy(proxy)})" if proxy is not None else ""
    return FetchError(what + through, fix=_CHECK, retry=True)


def proxy_down(error: Exception, proxy: str) -> ProxyFailedError:
    """Return the fault of a proxy to which no connection can be made."""
    shown = shown_proxy(proxy)
    if isinstance(error, ssl.SSLError):
        what, fix, retry = tls_fault(error, "the proxy")
        return ProxyFailedError(ProxyError(what, where=shown, fix=fix, retry=retry), other=True)
    if isinstance(error, socket.gaierror):
        reason = "the host name of the proxy cannot be resolved"
    elif isinstance(error, ConnectionResetError):
        reason = "the proxy closed the connection"
    else:
        reason = (not isinstance(error, TimeoutError) and _reason(error)) or "the proxy did not respond in time"
    return ProxyFailedError(ProxyError(f"the proxy is down: {reason}; the request was not sent without the proxy", where=shown,
                                 fix="start the proxy, or change this spider's `proxy` setting", retry=True), other=True)


def socks_fault(error: Exception, url: str, proxy: str) -> ProxyFailedError:
    """Return the fault of a SOCKS proxy. Only an error code in its reply concerns the site."""
    said = str(error)
    if isinstance(error, (ProxyConnectionError, ProxyTimeoutError)) or not isinstance(error, SocksError):
        return proxy_down(error, proxy)
    if any(word in said.lower() for word in _SOCKS_AUTH):
        return refused_credentials(proxy)
    if error.error_code is None:
        return ProxyFailedError(ProxyError("the proxy does not speak SOCKS5 on this port", where=shown_proxy(proxy),
                                     fix="correct the proxy's scheme or port in [proxies]", retry=True), other=True)
    return ProxyFailedError(ProxyError(f"the proxy could not connect to {url}: {clean_line(said, 80)}", where=shown_proxy(proxy), fix=_ALLOWS,
                                 retry=True), other=False)


def refused_credentials(proxy: str) -> ProxyFailedError:
    return ProxyFailedError(ProxyError("the proxy refused the user name or password", where=shown_proxy(proxy),
                                 fix="correct this proxy's user and password in [proxies]"), other=True)


def refused_tunnel(status: int, url: str, proxy: str) -> ProxyFailedError:
    return ProxyFailedError(ProxyError(f"the proxy answered {status} to the CONNECT request for {url}", where=shown_proxy(proxy), fix=_ALLOWS,
                                 retry=status >= 500), other=False)


def no_http(error: HeadError, proxy: str) -> ProxyFailedError:
    said = str(error).partition(" but ")[2] or clean_line(str(error), 100)
    return ProxyFailedError(ProxyError(NO_HTTP.format(said=said), where=shown_proxy(proxy), fix=NO_HTTP_FIX, retry=True), other=True)


def hung_up(url: str, proxy: str) -> ProxyFailedError:
    return ProxyFailedError(ProxyError(HUNG_UP.format(where=url), where=shown_proxy(proxy), fix=HUNG_UP_FIX, retry=True), other=False)


def _reason(error: Exception) -> str:
    """Return the operating system's message for an error ("Connection refused"), without addresses."""
    number = getattr(error, "errno", None)
    return clean_line(os.strerror(number), 80) if isinstance(number, int) and number > 0 else ""
