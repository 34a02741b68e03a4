"""The transport adapter of a session.

Applies the proxy, TLS, timeouts, HTTP authentication and secret headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from pipeline.hosts import host_of
from pipeline.session.errors import was_dropped
from pipeline.session.login.http_auth import MAX_TRIES, basic, of_user_info
from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.proxies.config import credentials_of, refuses_credentials
from pipeline.session.request_rules import RequestRules
from pipeline.session.transport.connections import RequestTarget, pool_classes
from pipeline.session.transport.tls import TlsContexts
from pipeline.session.trusted_origins import referer_for
from pipeline.urls import bare, target_of

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""The idempotent HTTP methods (RFC 9110, 9.2.2)."""
_CONNECT_S = 30.0
_DISCARD_BYTES = 64 * 1024


class SessionAdapter(HTTPAdapter):
    """Sends requests with the proxy, the timeouts and the TLS context of a session.

    The options `proxies`, `verify` and `cert` of a request are ignored. The headers set for the spider may contain secrets, so
    only trusted origins receive them, even after redirects. store_cookies: a function called for every response that sets
    cookies, with the URL, the values of the Set-Cookie headers and the value of the Date header.
    """

    def __init__(self, proxy: str | None, rules: RequestRules, *, tls: TlsContexts, ssrf_guard: SsrfGuard,
                 store_cookies: Callable[[str, list[bytes], bytes], None]) -> None:
        self._proxy = proxy
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        self._auth = rules.auth
        self._own_headers = rules.headers
        self._trusted = rules.trusted
        self._timeout = (min(rules.timeout_s, _CONNECT_S), rules.timeout_s)
        self._tls = tls
        self._ssrf_guard = ssrf_guard
        self._store_cookies = store_cookies
        self._answered = False
        super().__init__()
        self._target = RequestTarget()
        self.poolmanager.pool_classes_by_scheme = pool_classes(ssrf_guard, rules.timeout_s, self._target)
        self._proxied_pools = pool_classes(None, rules.timeout_s, self._target, socks=bool(proxy and proxy.startswith("socks")))

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        self._ssrf_guard.check_url(request.url or "")
        if not self._trusted.trust(request.url or ""):
            for name, value in self._own_headers.items():
                if request.headers.get(name) == value:
                    del request.headers[name]
        if referer := referer_for(_text(request.headers.pop("Referer", "")), request.url or ""):
            request.headers["Referer"] = referer
        # requests.Session passes every argument except the request by name.
        for name, value in request.headers.items():
            request.headers[name] = _on_the_wire(value)  # type: ignore[assignment]  # http.client sends bytes unchanged
        kwargs["timeout"] = kwargs.get("timeout") or self._timeout
        kwargs["verify"] = host_of(request.url or "") not in self._tls.insecure_hosts
        response = self._send_authorized(request, *args, **{**kwargs, "proxies": self._proxies})
        if self._proxy and self._proxy.startswith("http") and refuses_credentials(response.status_code, response.headers):
            response.close()
            raise requests.exceptions.ProxyError("407 Proxy Authentication Required", request=request)
        self._take_cookies(response)
        if response.is_redirect:
            _discard_body(response)
        return response

    def _send_authorized(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request, with the spider's HTTP authentication if the URL's origin may receive it.

        The Authorization header is added to a copy of the request, because the library requests sends the headers of the original
        request again after a redirect.
        """
        auth, url = self._auth, request.url or ""
        if auth is None or not auth.serves(url) or "Authorization" in request.headers:
            if "Authorization" not in request.headers and (header := of_user_info(url)):
                request = request.copy()
                request.headers["Authorization"] = header
            return self._send(request, *args, **kwargs)
        for tries in range(1, MAX_TRIES + 1):
            attempt = request.copy()
            if header := auth.header(request.method or "GET", url):
                attempt.headers["Authorization"] = header
            response = self._send(attempt, *args, **kwargs)
            offered = [response.headers.get("WWW-Authenticate", "")]
            if response.status_code != 401 or not auth.take(offered, sent=bool(header), tries=tries):
                break
            self._take_cookies(response)
            _discard_body(response)
        return response

    def _take_cookies(self, response: requests.Response) -> None:
        if "Set-Cookie" in response.headers:
            lines = response.raw.headers.getlist("Set-Cookie")
            self._store_cookies(response.request.url or "", [_octets(line) for line in lines],
                                _octets(response.headers.get("Date", "")))

    def _send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request. Send it again if the server closes the kept-alive connection at the same moment.

        Only an idempotent request is sent again. Every other request is sent on a new connection, so that this cannot happen.
        """
        kept, repeatable = self._answered, request.method in REPEATABLE
        url = request.url or ""
        by_proxy = self._proxy is not None and self._proxy.startswith("http") and url.startswith("http:")
        self._target.text = bare(url) if by_proxy else target_of(url)
        if kept and not repeatable:
            self.close()
        try:
            response = super().send(request, *args, **kwargs)
        except requests.ConnectionError as error:
            if not kept or not repeatable or not was_dropped(error):
                raise
            self.close()
            response = super().send(request, *args, **kwargs)
        self._answered = True
        return response

    def build_connection_pool_key_attributes(self, request: requests.PreparedRequest, verify: Any,
                                             cert: Any = None) -> Any:
        host: Any
        pool: Any
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        # For an http site, the context is for the TLS connection to an https proxy, which is always verified.
        if host["scheme"] == "https":
            pool["ssl_context"] = self._tls.context_for(host["host"])
        elif self._proxy and self._proxy.startswith("https:"):
            pool.update(ssl_context=self._tls.context_for(urlsplit(self._proxy).hostname), cert_reqs="CERT_REQUIRED")
        return host, pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing. The TLS context already has the certificate authorities; the library requests would add its own bundle."""

    def proxy_manager_for(self, proxy: Any, **proxy_kwargs: Any) -> Any:
        if proxy.startswith("https:"):
            proxy_kwargs["proxy_ssl_context"] = self._tls.context_for(urlsplit(proxy).hostname)
        found = super().proxy_manager_for(proxy, **proxy_kwargs)
        found.pool_classes_by_scheme = self._proxied_pools
        return found

    def proxy_headers(self, proxy: Any) -> dict[str, str]:
        """Return the header with the proxy's credentials, in UTF-8 (RFC 7617). The library requests supports Latin-1 only."""
        credentials = credentials_of(proxy)
        return {"Proxy-Authorization": basic(*credentials)} if credentials else {}


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _discard_body(response: requests.Response) -> None:
    """Discard the body of a response without waiting for all of it.

    If the body is short, the connection is kept open; if it is longer, the connection is closed.
    """
    with suppress(HTTPError):  # only the headers are needed
        response.raw.read1(_DISCARD_BYTES, decode_content=False)
    response.raw.close()


def _octets(value: str) -> bytes:
    """Return the value of a response header as bytes. The lines of a folded header (RFC 9112, 5.2) are joined."""
    return re.sub(r"\r?\n[ \t]+", " ", value).encode("latin-1", "replace")


def _on_the_wire(value: str | bytes) -> str | bytes:
    """Return a header value that http.client can send: the text, or UTF-8 bytes if Latin-1 cannot encode it."""
    if isinstance(value, bytes):
        return value
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()
    return value
