"""A requests.Session as this program uses it: one proxy or none, a shared jar, bounded time, verified TLS."""

from __future__ import annotations

import re
import ssl
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from pipeline.errors import FetchError, ProxyError
from pipeline.hosts import host_of
from pipeline.session.answer import Answer
from pipeline.session.connections import RequestTarget, pool_classes
from pipeline.session.cookies.jar import Jar
from pipeline.session.cookies.requests_jar import NoCookies, RequestCookies
from pipeline.session.errors import is_of_proxy, not_whole, translate, was_dropped
from pipeline.session.login.http_auth import MAX_TRIES, HttpAuth, basic, of_user_info
from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.proxies.config import credentials_of, refuses_us, shown_proxy
from pipeline.session.redirects_and_bans import banned as is_banned
from pipeline.session.redirects_and_bans import expired
from pipeline.session.responses.content_coding import ContentDecoder, codings_of
from pipeline.session.responses.errors import CutShortError, DecodingError, OversizeError
from pipeline.session.responses.head import missing_range
from pipeline.session.responses.http_client import is_framed
from pipeline.session.trusted_origins import TrustedOrigins, referer_for
from pipeline.settings import BannedTable
from pipeline.text import shown_url
from pipeline.urls import absolute, bare, redirect_target, target_of

if TYPE_CHECKING:
    from pipeline.session.login.expiry import LoginState

MAX_REDIRECTS = 20
_CONNECT_S = 30.0
_CHUNK_BYTES = 64 * 1024
_ATTEMPTS = 3
"""At a page that comes cut short, where asking again does no harm."""
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110, 9.2.2: idempotent

ContextFor = Callable[[str | None], ssl.SSLContext]
"""The TLS context for a host."""


class Client(requests.Session):
    """For one thread. Redirects are bounded, the environment is ignored, the jar is shared with other clients.

    route: the proxy for a URL, None for none. change_proxy: told of a proxy that failed; whether there is another.
    trusted: the origins that own_headers go to; bodies: those that a body may be sent on to by a redirect.
    banned: how an answer shows that the proxy is. login_state: what keeps it logged in; None for a client that logs in itself. before: called ahead of each request.
    """

    def __init__(self, *, jar: Jar, route: Callable[[str], str | None], headers: Mapping[str, str], timeout_s: float,
                 context_for: ContextFor, ssrf_guard: SsrfGuard, trusted: TrustedOrigins, bodies: TrustedOrigins,
                 own_headers: Mapping[str, str] | None = None, insecure_hosts: frozenset[str] = frozenset(),
                 login_headers: Callable[[str], Mapping[str, str]] = lambda url: {},
                 change_proxy: Callable[[str | None], bool] = lambda failed: False,
                 banned: BannedTable | None = None, login_state: LoginState | None = None, auth: HttpAuth | None = None,
                 before: Callable[[str], None] = lambda url: None) -> None:
        super().__init__()
        self._bodies = bodies
        self._login_headers = login_headers
        self._route = route
        self._change_proxy = change_proxy
        self._banned = banned
        self._login_state = login_state
        self._before = before
        self._epoch = 0
        self.trust_env = False
        self.max_redirects = MAX_REDIRECTS
        self.headers.update({**headers, **(own_headers or {})})
        self.jar = jar
        self.cookies = NoCookies()  # type: ignore[assignment]  # any CookieJar serves, as requests documents
        self.proxy: str | None = None
        self.proxies = {}
        self._adapters: dict[str | None, _Adapter] = {}
        self._make_adapter = partial(
            _Adapter, store_cookies=self._store_cookies, timeout_s=timeout_s, context_for=context_for, ssrf_guard=ssrf_guard,
            own_headers=own_headers or {}, trusted=trusted, insecure_hosts=insecure_hosts,
            auth=auth)
        if insecure_hosts:  # the settings name them; one warning a request would bury the log
            warnings.filterwarnings("ignore", category=InsecureRequestWarning)

    @property
    def epoch(self) -> int:
        """During which login the last request was sent."""
        return self._epoch

    def get_adapter(self, url: str | bytes) -> _Adapter:  # of every hop of a redirect
        text = url.decode() if isinstance(url, bytes) else url
        if urlsplit(text).scheme.lower() not in ("http", "https"):
            raise requests.exceptions.InvalidSchema("only http and https URLs are fetched")
        proxy = self._route(text)
        if proxy not in self._adapters:
            self._adapters[proxy] = self._make_adapter(proxy=proxy)
        return self._adapters[proxy]

    def close(self) -> None:
        super().close()
        for adapter in self._adapters.values():
            adapter.close()

    def request(self, method: str, url: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """As requests does it; through the pool's next proxy when one fails, and once more after a new login.

        Raises LoginError when that does not help, FetchError for what is not sent twice, and requests' exceptions.
        """
        login_state = self._login_state
        if login_state is None:
            return self._send_by_proxy(method, url, kwargs)
        self._epoch = login_state.settled()
        response = self._send_by_proxy(method, url, kwargs)
        if not (reason := expired(login_state.expiry, response, url)):
            return response
        response.close()
        if self._epoch and login_state.verify(self._epoch, time.monotonic()):  # another thread has just logged in again
            raise login_state.lost(url, reason)
        login_state.renew(self._epoch)
        if not login_state.expiry.may_replay(method):
            raise not_replayed(url, reason, method)
        self._epoch = login_state.settled()
        response = self._send_by_proxy(method, url, kwargs)
        if reason := expired(login_state.expiry, response, url):
            response.close()
            raise login_state.lost(url, reason)
        return response

    def _send_by_proxy(self, method: str, url: str, kwargs: dict[str, Any]) -> requests.Response:
        while True:
            self.proxy = self._route(url)
            self.proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else {}
            self._before(url)
            try:
                response = super().request(method, url, **kwargs)
            except requests.RequestException as error:
                if self.proxy is None or not is_of_proxy(error) or not self._change_proxy(self.proxy):
                    raise
                continue
            if self.proxy is None or self._banned is None or not is_banned(self._banned, response):
                return response
            response.close()
            if not self._change_proxy(self.proxy):
                raise proxy_banned(response.url, shown_proxy(self.proxy))

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As requests does it, with cookies matched as browsers match them (host-only, values as they came)."""
        own, request.cookies = request.cookies or {}, {}
        url = _fetchable(absolute(str(request.url)))
        request.url = bare(url)  # requests knows user info in Latin-1 only: see _send_authorized
        prepared = super().prepare_request(request)
        prepared.url = url  # requests has percent-encoded anew what browsers send as it is
        named = prepared.headers.pop("Cookie", None)
        prepared.prepare_cookies(RequestCookies(self.jar, dict(own), prepared.url or ""))
        if named is not None:  # a header of the request's own is sent as it is, to the first address only
            prepared.headers["Cookie"] = named
        prepared.headers.update(self._login_headers(prepared.url or ""))
        return prepared

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where browsers follow a redirect to. Raises InvalidURL for one that leads nowhere."""
        return _fetchable(redirect_target(resp.headers["Location"], resp.url)) if resp.is_redirect else None

    def _store_cookies(self, url: str, lines: list[bytes], served: bytes) -> None:
        """Take what an answer sets, unless it belongs to a login that is over: it would put us out again."""
        if self._login_state is None or not self._login_state.is_stale(self._epoch):
            self.jar.store(url, lines, served=served)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """A redirect to an origin that is not trusted loses the login's header, whatever its name, and brings no body there."""
        prepared_request.url = self.get_redirect_target(response)  # again as it is, see prepare_request
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        source, target = response.url or "", prepared_request.url or ""
        if prepared_request.body and not self._bodies.trust(target, source):
            what, fix = self._bodies.refusal("what was posted", target, source)
            raise FetchError(f"redirects to another origin: {what}", where=shown_url(source), fix=fix)
        if source.startswith("https:") and not target.startswith("https:"):
            prepared_request.headers.pop("Authorization", None)
        for name in self._login_headers(response.request.url or ""):
            prepared_request.headers.pop(name, None)
        prepared_request.headers.update(self._login_headers(prepared_request.url or ""))

    def rebuild_proxies(self, prepared_request: requests.PreparedRequest, proxies: Any) -> Any:
        # The adapter names the proxy and its credentials; none of either may change on a redirect.
        prepared_request.headers.pop("Proxy-Authorization", None)
        return self.proxies


class _Adapter(HTTPAdapter):
    """Fixes proxy, time limits and TLS of every request, whatever the call says of proxies or verification.

    own_headers, which may hold secrets, go to trusted origins only, across redirects as well. store_cookies: told of every
    answer that sets some, with its URL, its `Set-Cookie` fields and its `Date`.
    """

    def __init__(self, *, proxy: str | None, store_cookies: Callable[[str, list[bytes], bytes], None], timeout_s: float,
                 context_for: ContextFor, ssrf_guard: SsrfGuard, own_headers: Mapping[str, str], trusted: TrustedOrigins,
                 insecure_hosts: frozenset[str], auth: HttpAuth | None) -> None:
        self._auth = auth
        self._store_cookies = store_cookies
        self._own_headers = own_headers
        self._trusted = trusted
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        self._proxy = proxy
        self._timeout = (min(timeout_s, _CONNECT_S), timeout_s)
        self._context_for = context_for
        self._insecure_hosts = insecure_hosts
        self._ssrf_guard = ssrf_guard
        self._answered = False
        super().__init__()
        self._target = RequestTarget()
        self.poolmanager.pool_classes_by_scheme = pool_classes(ssrf_guard, timeout_s, self._target)
        self._proxied_pools = pool_classes(None, timeout_s, self._target, socks=bool(proxy and proxy.startswith("socks")))

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        self._ssrf_guard.check_url(request.url or "")
        if not self._trusted.trust(request.url or ""):
            for name, value in self._own_headers.items():
                if request.headers.get(name) == value:
                    del request.headers[name]
        if referer := referer_for(_text(request.headers.pop("Referer", "")), request.url or ""):
            request.headers["Referer"] = referer
        # requests.Session passes all but the request by name.
        for name, value in request.headers.items():
            request.headers[name] = _on_the_wire(value)  # type: ignore[assignment]  # bytes are sent as they are
        kwargs["timeout"] = kwargs.get("timeout") or self._timeout
        kwargs["verify"] = host_of(request.url or "") not in self._insecure_hosts
        response = self._send_authorized(request, *args, **{**kwargs, "proxies": self._proxies})
        if self._proxy and self._proxy.startswith("http") and refuses_us(response.status_code, response.headers):
            response.close()
            raise requests.exceptions.ProxyError("407 Proxy Authentication Required", request=request)
        self._take_cookies(response)
        if response.is_redirect:
            _discard_body(response)
        return response

    def _send_authorized(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """With the spider's HTTP authentication where it belongs. The request itself, which redirects copy, stays as it is."""
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
        """On a connection kept from before, which the other end may just be closing: what may be sent twice is then sent
        once more, and what may not begins with a new one."""
        kept, repeatable = self._answered, request.method in _REPEATABLE
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
        # To an http site behind an https proxy, the pool's TLS is the proxy's: never the insecure context.
        if host["scheme"] == "https":
            pool["ssl_context"] = self._context_for(host["host"])
        elif self._proxy and self._proxy.startswith("https:"):
            pool.update(ssl_context=self._context_for(urlsplit(self._proxy).hostname), cert_reqs="CERT_REQUIRED")
        return host, pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context holds the authorities, where requests would add its own bundle."""

    def proxy_manager_for(self, proxy: Any, **proxy_kwargs: Any) -> Any:
        if proxy.startswith("https:"):
            proxy_kwargs["proxy_ssl_context"] = self._context_for(urlsplit(proxy).hostname)
        found = super().proxy_manager_for(proxy, **proxy_kwargs)
        found.pool_classes_by_scheme = self._proxied_pools
        return found

    def proxy_headers(self, proxy: Any) -> dict[str, str]:
        """RFC 7617 with UTF-8, where requests knows Latin-1 only."""
        credentials = credentials_of(proxy)
        return {"Proxy-Authorization": basic(*credentials)} if credentials else {}


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _fetchable(url: str) -> str:
    if not url:
        raise requests.exceptions.InvalidURL("no http(s) URL that browsers open")
    return url


def not_replayed(url: str, reason: str, method: str) -> FetchError:
    return FetchError(f"{reason}: the login had expired, and a {method.upper()} is not sent twice", where=shown_url(url),
                      fix="set login.expired.safe_to_replay if that does no harm", retry=True)


def proxy_banned(url: str, proxy: str) -> ProxyError:
    return ProxyError(f"the proxy is banned by {shown_url(url)}", where=proxy,
                      fix="wait, or add another to its pool in [proxies]", retry=True)


def fetch(client: Client, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"",
          max_bytes: int, timeout_s: float) -> Answer:
    """One page with its redirects, at most max_bytes of it, within timeout_s. Raises ProxyError, TlsError, FetchError.

    A page of any status is an answer, as long as it is whole.
    """
    deadline = time.monotonic() + timeout_s
    for attempts_left in range(_ATTEMPTS if method in _REPEATABLE else 1, 0, -1):
        try:
            with client.request(method, url, headers=dict(headers or {}), data=body or None, stream=True) as response:
                data = _read(response, url, max_bytes, deadline)
                return Answer(response.url, response.status_code, response.headers, data, hops=len(response.history))
        except requests.RequestException as error:
            raise translate(error, url, client.proxy) from error
        except OversizeError as error:
            raise FetchError(f"is larger than {max_bytes} bytes", where=shown_url(url), fix="raise max_page_size") from error
        except (HTTPError, OSError, DecodingError) as error:  # read1 goes around requests' own translation
            if attempts_left == 1 or not not_whole(error) or time.monotonic() > deadline:
                raise translate(requests.exceptions.ConnectionError(error), url, client.proxy) from error
    raise AssertionError


def _read(response: requests.Response, url: str, max_bytes: int, deadline: float) -> bytes:
    """The decoded body. read1 returns what is there, so that a dripping server meets the deadline."""
    if missing := missing_range(response.status_code, response.headers.get("Content-Range", "")):
        raise CutShortError(missing)
    data = bytearray()
    decoder = ContentDecoder(codings_of(response.headers.get("Content-Encoding", "").split(",")), max_bytes)
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
        for piece in decoder.feed(chunk):
            data += piece
        if len(data) > max_bytes:
            raise OversizeError
        if time.monotonic() > deadline:
            raise FetchError("did not arrive in time", where=shown_url(url), fix="raise timeout", retry=True)
    decoder.finish(empty=is_framed(getattr(response.raw, "_original_response", None)))
    return bytes(data)


def _discard_body(response: requests.Response) -> None:
    """A redirect's body, however long, is not waited for; the connection is kept when it was short."""
    with suppress(HTTPError):  # its head says all
        response.raw.read1(_CHUNK_BYTES, decode_content=False)
    response._content = b""
    response._content_consumed = True  # type: ignore[attr-defined]
    response.raw.close()


def _octets(value: str) -> bytes:
    """A header of an answer as it came; a folded one (RFC 9112, 5.2) on one line."""
    return re.sub(r"\r?\n[ \t]+", " ", value).encode("latin-1", "replace")


def _on_the_wire(value: str | bytes) -> str | bytes:
    """UTF-8 for what http.client, which knows Latin-1 only, could not send."""
    if isinstance(value, bytes):
        return value
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()
    return value
