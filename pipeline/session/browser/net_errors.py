"""Translate the network errors of Chromium (net::ERR_…) to errors of the pipeline."""

from __future__ import annotations

import re

from pipeline.errors import BrowserError, FetchError, PipelineError, ProxyError, TlsError
from pipeline.text import clean_line, shown_url

_NAME = re.compile(r"net::(ERR_[A-Z0-9_]+)")
_CERTIFICATE = {
    "ERR_CERT_AUTHORITY_INVALID": ("it is signed by an unknown authority",
                                   "if the site has its own certificate authority, set `ca_file`; otherwise name the host in `insecure_tls`"),
    "ERR_CERT_COMMON_NAME_INVALID": ("it is for another host", "correct the host in the URL"),
    "ERR_CERT_DATE_INVALID": ("it has expired or is not valid yet", "tell the owner of the site, and check the clock of this machine"),
    "ERR_CERT_REVOKED": ("it was revoked", "tell the owner of the site"),
}
_REASONS = {
    "ERR_NAME_NOT_RESOLVED": "the host name cannot be resolved",
    "ERR_CONNECTION_REFUSED": "the server refused the connection",
    "ERR_CONNECTION_RESET": "the connection broke",
    "ERR_CONNECTION_CLOSED": "the server closed the connection before a response arrived",
    "ERR_EMPTY_RESPONSE": "the server closed the connection before a response arrived",
    "ERR_CONNECTION_TIMED_OUT": "the server did not respond in time",
    "ERR_TIMED_OUT": "the server did not respond in time",
    "ERR_ADDRESS_UNREACHABLE": "the host cannot be reached",
    "ERR_INTERNET_DISCONNECTED": "this machine has no network connection",
    "ERR_CONTENT_LENGTH_MISMATCH": "the response is shorter than its Content-Length",
    "ERR_INCOMPLETE_CHUNKED_ENCODING": "the response was cut short: the last chunk is missing",
    "ERR_CONTENT_DECODING_FAILED": "the server sent a body that cannot be decoded",
    "ERR_INVALID_HTTP_RESPONSE": "the server sent no valid HTTP response",
    "ERR_HTTP2_PROTOCOL_ERROR": "the connection broke (HTTP/2)",
    "ERR_TUNNEL_CONNECTION_FAILED": "the connection to the server failed",
    "ERR_TOO_MANY_REDIRECTS": "the server redirects too often",
    "ERR_UNSAFE_PORT": "the browser does not open URLs with this port",
    "ERR_INVALID_URL": "the URL is not valid",
}
_FINAL = frozenset(("ERR_UNSAFE_PORT", "ERR_INVALID_URL", "ERR_TOO_MANY_REDIRECTS"))
"""Errors that another attempt does not change."""


class NotShownError(FetchError):
    """What shows that a page is complete did not appear in time. Another attempt at once would only take as long again."""


def net_error(text: str) -> str:
    """Return the name of Chromium's network error in a message, such as "ERR_CONNECTION_REFUSED"; "" if there is none."""
    found = _NAME.search(text)
    return found[1] if found else ""


def reason(name: str) -> str:
    """Return what a network error of Chromium means, as part of a sentence."""
    if name in _CERTIFICATE:
        return f"the server's certificate is not trusted: {_CERTIFICATE[name][0]}"
    return _REASONS.get(name) or f"the browser reports {name or 'an unknown error'}"


def translated(text: str, url: str, proxy: str | None = None) -> PipelineError:
    """Return the error for a page that could not be opened. text: the message of Playwright. proxy: the proxy without credentials, or None."""
    where, name = shown_url(url), net_error(text)
    if is_crash(text):
        return crashed(url)
    if name.startswith(("ERR_CERT_", "ERR_SSL_", "ERR_BAD_SSL")):
        why, fix = _CERTIFICATE.get(name, (f"the browser reports {name}", "open the URL in a browser"))
        what = "the server's certificate is not trusted" if name.startswith("ERR_CERT_") else "the TLS connection to the server failed"
        return TlsError(f"{what}: {why}", where=where, fix=fix, retry=True)
    if name.startswith(("ERR_PROXY_", "ERR_SOCKS_")) and proxy is not None:
        return ProxyError(f"the proxy could not connect to {where}: {name}", where=proxy, fix="check the proxy", retry=True)
    if not name:
        return BrowserError(f"the page could not be rendered: {clean_line(text.partition('Call log:')[0], 200)}", where=where, retry=True)
    return FetchError(reason(name), where=where, retry=name not in _FINAL)


def is_crash(text: str) -> bool:
    """Return whether a message of Playwright says that the page or the browser has crashed or was closed."""
    return "crash" in text.lower() or "has been closed" in text or "Connection closed" in text


def crashed(url: str) -> BrowserError:
    return BrowserError("the page crashed its process of the browser", where=shown_url(url), retry=True,
                        fix="exclude the page with `deny` if this happens each time")
