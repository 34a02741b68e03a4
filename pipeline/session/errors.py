"""Translates the exceptions of requests into FetchError, ProxyError and TlsError."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
import socks  # type: ignore[import-untyped]  # PySocks ships no types
from urllib3.exceptions import DecodeError, IncompleteRead, NameResolutionError, NewConnectionError, ReadTimeoutError

from pipeline.content_coding import CutShortError, DecodingError
from pipeline.errors import FetchError, PipelineError, ProxyError, TlsError
from pipeline.session.proxies.config import shown_proxy
from pipeline.session.responses.errors import HeadError, NotHttpError, cut_short, shown_bytes
from pipeline.text import clean_line, shown_url

_CERTIFICATE_FIXES = {
    10: "the owner of the site must renew the certificate (or this machine's clock is wrong)",
    62: "check the URL; the certificate is for another host",
    64: "check the URL; the certificate is for another host",
}
_OWN_AUTHORITY = "if the site uses a private certificate authority, set `ca_file` to the authority's certificate"
HUNG_UP = "the proxy closed the connection before a response arrived from {where}"
HUNG_UP_FIX = "check that the proxy works and allows requests to this URL, and that the site responds without the proxy"
TOO_MANY_REDIRECTS = "the server redirected the request too many times"
TOO_MANY_REDIRECTS_FIX = "open the URL in a browser: the site may require a login or cookies"
NO_HTTP = "the proxy did not respond with HTTP but {said}"
NO_HTTP_FIX = "correct the proxy's scheme or port in [proxies]"
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (401|407)\b")  # a response to CONNECT comes from the proxy itself
_PERMANENT = (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema,
              requests.exceptions.InvalidHeader)


def translate(error: requests.RequestException, url: str, proxy: str | None) -> PipelineError:
    """Return the ProxyError, TlsError or FetchError for an exception of requests, with `retry` set.

    url, proxy: the URL and the proxy of the request. The message shows them without credentials.
    """
    chain = list(_chain(error))
    where = shown_url(_failed_url(error, url))
    if proxy is not None and (found := _proxy_fault(error, chain, where, proxy)):
        return found
    if tls := _tls_fault(error, chain, "the server"):
        return TlsError(tls[0], where=where, fix=tls[1], retry=tls[2])
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return FetchError(TOO_MANY_REDIRECTS, where=where, fix=TOO_MANY_REDIRECTS_FIX)
    if isinstance(error, _PERMANENT):
        return FetchError(f"the URL, or the URL to which it redirects, cannot be requested: {clean_line(type(error).__name__, 200)}", where=where,
                          fix="only http and https URLs are fetched")
    through = f" (through the proxy {shown_proxy(proxy)})" if proxy is not None else ""
    return FetchError(_network_fault(error, chain) + through, where=where, fix="check the URL and the network", retry=True)


def is_of_proxy(error: requests.RequestException) -> bool:
    """Return whether the proxy failed, or refused the request, before anything was sent to the site.

    In this case the request can be repeated through another proxy.
    """
    chain = list(_chain(error))
    if any(isinstance(cause, (socks.ProxyConnectionError, socks.SOCKS5AuthError)) for cause in chain) or _said_to_connect(chain):
        return True
    if not isinstance(error, requests.exceptions.ProxyError):
        return False
    tunnel = next((str(cause) for cause in chain if str(cause).startswith("Tunnel connection failed")), "")
    return not tunnel or _TUNNEL_REFUSED.search(tunnel) is not None


def was_dropped(error: requests.RequestException) -> bool:
    """Return whether the connection was closed before a response arrived."""
    return any(isinstance(cause, (ConnectionResetError, BrokenPipeError)) for cause in _chain(error))


def not_whole(error: BaseException) -> str:
    """If an exception reports an incomplete or invalid response, return its reason; "" for any other exception."""
    for cause in _chain(error):
        if isinstance(cause, (CutShortError, HeadError, DecodingError)):
            return clean_line(str(cause), 200)
        if isinstance(cause, IncompleteRead) and isinstance(cause.expected, int) and isinstance(cause.partial, int):
            return cut_short(cause.partial, cause.partial + cause.expected)
    return ""


def _failed_url(error: requests.RequestException, url: str) -> str:
    """Return the URL of the failed request: `url`, or the URL on another host to which `url` redirected."""
    request = getattr(error, "request", None)
    reached = getattr(request, "url", None)
    if not isinstance(reached, str) or urlsplit(reached).netloc == urlsplit(url).netloc.rpartition("@")[2]:
        return url
    return reached


def _network_fault(error: requests.RequestException, chain: list[BaseException]) -> str:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "the connection timed out"
    if isinstance(error, requests.exceptions.Timeout) or any(
            isinstance(cause, (TimeoutError, ReadTimeoutError)) for cause in chain):
        return "the server did not respond in time"
    if any(isinstance(cause, (NameResolutionError, socket.gaierror)) for cause in chain):
        return "the host name cannot be resolved"
    if said := not_whole(error):
        return said
    reason = _system_reason(chain)
    if any(isinstance(cause, NewConnectionError) for cause in chain):
        return f"cannot connect to the server: {reason or 'no connection'}"
    if isinstance(error, requests.exceptions.ContentDecodingError) or any(isinstance(c, DecodeError) for c in chain):
        return "the server sent a body that cannot be decoded"
    return f"the connection broke during the response: {reason or type(error).__name__}"


def _proxy_fault(error: requests.RequestException, chain: list[BaseException], where: str,
                 proxy: str) -> ProxyError | None:
    """Return a ProxyError if the proxy caused the failure; None if the site caused the failure."""
    shown = shown_proxy(proxy)
    text = " ".join(str(cause) for cause in chain)
    if any(isinstance(cause, (socks.SOCKS5AuthError, socks.SOCKS4Error)) for cause in chain) or (
            "authentication" in text.lower() and ("407" in text or "SOCKS5" in text)) or _TUNNEL_REFUSED.search(text):
        return ProxyError("the proxy refused the user name or password", where=shown,
                          fix="correct this proxy's user and password in [proxies]")
    if what := _other_protocol(chain, where, proxy):
        return ProxyError(what, where=shown, fix=NO_HTTP_FIX, retry=True)
    if any(isinstance(cause, socks.SOCKS5Error) for cause in chain):
        said = next(str(cause) for cause in chain if isinstance(cause, socks.SOCKS5Error))
        return ProxyError(f"the proxy could not connect to {where}: {clean_line(said, 80)}", where=shown,
                          fix="check the URL, and which hosts and ports the proxy allows", retry=True)
    if not isinstance(error, requests.exceptions.ProxyError) and not any(
            isinstance(cause, socks.ProxyError) for cause in chain):
        before_answer = isinstance(error, requests.exceptions.ConnectionError) and getattr(error, "request", None) is not None
        hung_up = before_answer and not not_whole(error) and (was_dropped(error) or any(isinstance(cause, ssl.SSLEOFError) for cause in chain))
        return _hung_up(where, shown) if hung_up else None
    tunnel = next((str(cause) for cause in chain if str(cause).startswith("Tunnel connection failed")), "")
    if tunnel:
        status = tunnel.removeprefix("Tunnel connection failed:").strip()
        return ProxyError(f"the proxy answered {clean_line(status, 80)} to the CONNECT request for {where}", where=shown,
                          fix="check the URL, and which hosts and ports the proxy allows", retry=status[:1] == "5")
    if tls := _tls_fault(error, chain, "the proxy"):
        return ProxyError(tls[0], where=shown, fix=tls[1], retry=tls[2])
    if was_dropped(error):
        return _hung_up(where, shown)
    if any(isinstance(cause, (NameResolutionError, socket.gaierror)) for cause in chain):
        reason = "the host name of the proxy cannot be resolved"
    else:
        reason = _system_reason(chain) or "the proxy did not respond in time"
    return ProxyError(f"the proxy is down: {reason}; the request was not sent without the proxy", where=shown,
                      fix="start the proxy, or change this spider's `proxy` setting", retry=True)


def _hung_up(where: str, shown: str) -> ProxyError:
    return ProxyError(HUNG_UP.format(where=where), where=shown, fix=HUNG_UP_FIX, retry=True)


def _other_protocol(chain: list[BaseException], where: str, proxy: str) -> str:
    """Return the message for a proxy that does not speak the protocol of its URL; "" for other errors."""
    if any(isinstance(cause, socks.GeneralProxyError) and ("invalid data" in str(cause) or "closed unexpectedly" in str(cause))
           for cause in chain):
        return "the proxy does not speak SOCKS5 on this port"
    said = _said_to_connect(chain)
    if not said and where.startswith("http:") and proxy.startswith("http"):
        said = next((str(cause).partition(" but ")[2] for cause in chain if isinstance(cause, NotHttpError)), "")
    return NO_HTTP.format(said=said) if said else ""


def _said_to_connect(chain: list[BaseException]) -> str:
    """Return the first bytes of a proxy's response to CONNECT that is not HTTP; "" for other errors.

    Invalid responses of sites raise the errors of pipeline.session.responses instead of BadStatusLine.
    """
    line = next((str(cause) for cause in chain if isinstance(cause, http.client.BadStatusLine)
                 and not isinstance(cause, http.client.RemoteDisconnected)), "")
    return f"with {shown_bytes(line.encode('latin-1', 'replace'))}" if line else ""


def tls_fault(error: ssl.SSLError, peer: str) -> tuple[str, str, bool]:
    """Return the message for a TLS error, how to fix the problem, and whether a retry can help.

    peer: the word for the other end of the connection in messages: "the server" or "the proxy".
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = clean_line(error.verify_message or error.reason or "not trusted", 200).rstrip(".")
        return (f"{peer}'s certificate is not trusted: {reason}", _CERTIFICATE_FIXES.get(error.verify_code, _OWN_AUTHORITY), False)
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return f"{peer} does not speak TLS on this port", f"write http:// if {peer} does not use TLS, or correct the port", False
    if isinstance(error, ssl.SSLEOFError):
        return (f"{peer} closed the connection during the TLS handshake", f"try again, and check that {peer} uses TLS on this port", True)
    return (f"the TLS connection to {peer} failed: {clean_line(error.reason or type(error).__name__, 200)}",
            f"try again; if this error persists, ask the owner of {peer}", True)


def _tls_fault(error: requests.RequestException, chain: list[BaseException], peer: str) -> tuple[str, str, bool] | None:
    """Return the result of tls_fault() for an exception of requests; None if the exception was not caused by a TLS error."""
    found = [cause for cause in chain if isinstance(cause, ssl.SSLError)]
    if found:
        return tls_fault(next((each for each in found if isinstance(each, ssl.SSLCertVerificationError)), found[0]), peer)
    if isinstance(error, requests.exceptions.SSLError):
        return f"the TLS connection to {peer} failed", "check the URL", False
    return None


def _system_reason(chain: list[BaseException]) -> str:
    """Return the operating system's reason, such as "Connection refused", without addresses and URLs."""
    found = [cause.strerror for cause in chain if isinstance(cause, OSError) and isinstance(cause.errno, int)
             and isinstance(cause.strerror, str)]
    if found:
        return clean_line(found[-1], 80)
    text = " ".join(str(cause) for cause in chain)
    return next((reason for reason in ("Connection refused", "No route to host", "Network is unreachable",
                                       "Connection reset by peer", "timed out") if reason in text), "")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and every exception inside it: causes, contexts, reasons of urllib3, arguments."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = (current.__cause__, current.__context__, getattr(current, "reason", None),
                 getattr(current, "socket_err", None), *current.args)
        waiting += [each for each in inner if isinstance(each, BaseException)]
