"""The HTTP client of a session: switches proxies, logs in again, sends cookies, and limits redirects."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from pipeline.content_coding import ContentDecoder, CutShortError, DecodingError, OversizeError, codings_of
from pipeline.errors import FetchError, ProxyError
from pipeline.session.cookies.jar import Jar
from pipeline.session.cookies.requests_jar import NoCookies, RequestCookies
from pipeline.session.errors import is_of_proxy, not_whole, translate
from pipeline.session.login.expiry import LoginState
from pipeline.session.page import Answer
from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.proxies.config import shown_proxy
from pipeline.session.proxies.selection import ProxyRoute
from pipeline.session.request_rules import RequestRules
from pipeline.session.responses.expired_or_banned import banned, expired
from pipeline.session.responses.head import missing_range
from pipeline.session.responses.http_client import is_framed, original_response
from pipeline.session.transport.adapter import REPEATABLE, SessionAdapter
from pipeline.session.transport.tls import TlsContexts
from pipeline.text import shown_url, size_for_people
from pipeline.urls import absolute, bare, redirect_target

MAX_REDIRECTS = 20
_CHUNK_BYTES = 64 * 1024
_ATTEMPTS = 3
"""The maximum number of attempts at an idempotent request whose response arrives incomplete."""


@dataclass(frozen=True)
class ClientLogin:
    """The login that a client uses for its requests.

    state: the login state shared by all clients of a session; None means that the client never logs in again. headers: a function
    that returns the headers to add to a request for a URL, such as the API token.
    """

    state: LoginState | None = None
    headers: Callable[[str], Mapping[str, str]] = lambda url: {}


class Client(requests.Session):
    """A requests.Session for one thread, with a cookie jar that other clients share.

    Redirects are limited to MAX_REDIRECTS, and certificates are verified. Proxies in environment variables and .netrc files are
    ignored. login: the login that the client uses; before: a function that is called before each request with the URL of the
    request.
    """

    def __init__(self, jar: Jar, rules: RequestRules, *, tls: TlsContexts, ssrf_guard: SsrfGuard, proxies: ProxyRoute,
                 login: ClientLogin, before: Callable[[str], None] = lambda url: None) -> None:
        super().__init__()
        self._rules = rules
        self._proxy_route = proxies
        self._login_headers = login.headers
        self._login_state = login.state
        self._before = before
        self._epoch = 0
        self.trust_env = False
        self.max_redirects = MAX_REDIRECTS
        self.headers.update({"User-Agent": rules.user_agent, **rules.headers})
        self.jar = jar
        self.cookies = NoCookies()  # type: ignore[assignment]  # the documentation of requests allows any CookieJar
        self.proxy: str | None = None
        self.proxies = {}
        self._adapters: dict[str | None, SessionAdapter] = {}
        self._new_adapter = partial(SessionAdapter, rules=rules, tls=tls, ssrf_guard=ssrf_guard, store_cookies=self._store_cookies)
        if tls.insecure_hosts:  # the settings name these hosts; one warning per request would flood the log
            warnings.filterwarnings("ignore", category=InsecureRequestWarning)

    @property
    def epoch(self) -> int:
        """The number of the login that was current when the last request was sent."""
        return self._epoch

    def get_adapter(self, url: str | bytes) -> SessionAdapter:  # also called for each redirect
        text = url.decode() if isinstance(url, bytes) else url
        if urlsplit(text).scheme.lower() not in ("http", "https"):
            raise requests.exceptions.InvalidSchema("only http and https URLs are fetched")
        proxy = self._proxy_route.url_for(text)
        if proxy not in self._adapters:
            self._adapters[proxy] = self._new_adapter(proxy)
        return self._adapters[proxy]

    def close(self) -> None:
        super().close()
        for adapter in self._adapters.values():
            adapter.close()

    def request(self, method: str, url: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """Send a request. If the proxy fails, use the next proxy; if the session has expired, log in and send again.

        Raises LoginError if the session is still expired after the new login. Raises FetchError if the session has expired and
        the request must not be repeated. Raises ProxyError if the site has banned every proxy. Also raises the exceptions of the
        library requests.
        """
        login_state = self._login_state
        if login_state is None:
            return self._send_by_proxy(method, url, kwargs)
        self._epoch = login_state.settled()
        response = self._send_by_proxy(method, url, kwargs)
        if not (reason := expired(login_state.expiry, response, url)):
            return response
        response.close()
        if self._epoch and login_state.verify(self._epoch, time.monotonic()):  # login.check has shown that the session is still valid
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
            self.proxy = self._proxy_route.url_for(url)
            self.proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else {}
            self._before(url)
            try:
                response = super().request(method, url, **kwargs)
            except requests.RequestException as error:
                if self.proxy is None or not is_of_proxy(error) or not self._proxy_route.change(self.proxy):
                    raise
                continue
            if self.proxy is None or self._rules.banned is None or not banned(self._rules.banned, response):
                return response
            response.close()
            if not self._proxy_route.change(self.proxy):
                raise proxy_banned(response.url, shown_proxy(self.proxy))

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare a request as the library requests does, but with exactly the cookies that a browser would send."""
        own, request.cookies = request.cookies or {}, {}
        url = _fetchable(absolute(str(request.url)))
        request.url = bare(url)  # without user name and password, which SessionAdapter sends: the library requests supports only Latin-1 in them
        prepared = super().prepare_request(request)
        prepared.url = url  # the library requests percent-encodes characters that browsers send unchanged
        named = prepared.headers.pop("Cookie", None)
        prepared.prepare_cookies(RequestCookies(self.jar, dict(own), prepared.url or ""))
        if named is not None:  # a Cookie header set by the caller is sent to the first URL only, and not after redirects
            prepared.headers["Cookie"] = named
        prepared.headers.update(self._login_headers(prepared.url or ""))
        return prepared

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the URL to which browsers would follow a redirect; None if `resp` is not a redirect.

        Raises InvalidURL for an invalid Location.
        """
        return _fetchable(redirect_target(resp.headers["Location"], resp.url)) if resp.is_redirect else None

    def _store_cookies(self, url: str, lines: list[bytes], served: bytes) -> None:
        """Store the cookies of a response, unless the request was sent before the current login.

        Cookies of an earlier login would overwrite the cookies of the new session.
        """
        if self._login_state is None or not self._login_state.is_stale(self._epoch):
            self.jar.store(url, lines, served=served)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Remove from a redirected request the secrets that the target of the redirect must not receive.

        The secrets are the headers of the login. Raises FetchError if the request has a body and the target's origin is not
        trusted.
        """
        prepared_request.url = self.get_redirect_target(response)  # the URL again without the percent-encoding of requests; see prepare_request
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        source, target = response.url or "", prepared_request.url or ""
        if prepared_request.body and not self._rules.body_origins.trust(target, source):
            what, fix = self._rules.body_origins.refusal("the request body", target, source)
            raise FetchError(f"the server redirected to another origin: {what}", where=shown_url(source), fix=fix)
        if source.startswith("https:") and not target.startswith("https:"):
            prepared_request.headers.pop("Authorization", None)
        for name in self._login_headers(response.request.url or ""):
            prepared_request.headers.pop(name, None)
        prepared_request.headers.update(self._login_headers(prepared_request.url or ""))

    def rebuild_proxies(self, prepared_request: requests.PreparedRequest, proxies: Any) -> Any:
        # The adapter sets the proxy and its credentials. A redirect must not change them.
        prepared_request.headers.pop("Proxy-Authorization", None)
        return self.proxies


def _fetchable(url: str) -> str:
    if not url:
        raise requests.exceptions.InvalidURL("not a valid http(s) URL")
    return url


def not_replayed(url: str, reason: str, method: str) -> FetchError:
    return FetchError(f"the page {reason}, so the login had expired; a {method.upper()} request is not sent again", where=shown_url(url),
                      fix="set login.expired.safe_to_replay if sending requests twice does no harm", retry=True)


def proxy_banned(url: str, proxy: str) -> ProxyError:
    return ProxyError(f"the proxy is banned by {shown_url(url)}", where=proxy,
                      fix="wait, or add another proxy to the pool in [proxies]", retry=True)


def fetch(client: Client, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"",
          max_bytes: int, timeout_s: float) -> Answer:
    """Fetch one page, with its redirects, within timeout_s seconds. The response may have any status.

    Raises ProxyError, TlsError or FetchError if the request fails. Also raises FetchError if the response is incomplete or its
    body has more than max_bytes bytes.
    """
    deadline = time.monotonic() + timeout_s
    for attempts_left in range(_ATTEMPTS if method in REPEATABLE else 1, 0, -1):
        try:
            with client.request(method, url, headers=dict(headers or {}), data=body or None, stream=True) as response:
                data = _read(response, url, max_bytes, deadline)
                return Answer(response.url, response.status_code, response.headers, data, hops=len(response.history))
        except requests.RequestException as error:
            raise translate(error, url, client.proxy) from error
        except OversizeError as error:
            raise FetchError(f"the page is larger than {size_for_people(max_bytes)}", where=shown_url(url),
                             fix="increase the `max_page_size` setting") from error
        except (HTTPError, OSError, DecodingError) as error:  # read1 raises urllib3's errors, not those of requests
            if attempts_left == 1 or not not_whole(error) or time.monotonic() > deadline:
                raise translate(requests.exceptions.ConnectionError(error), url, client.proxy) from error
    raise AssertionError


def _read(response: requests.Response, url: str, max_bytes: int, deadline: float) -> bytes:
    """Read and decode the body of a response. Raise FetchError if the body is not complete by `deadline`.

    read1 returns as soon as some bytes have arrived, so that a slow server cannot delay the check of the deadline.
    """
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
            raise FetchError("the response did not arrive in time", where=shown_url(url), fix="increase the `timeout` setting",
                             retry=True)
    decoder.finish(empty=is_framed(original_response(response.raw)))
    return bytes(data)
