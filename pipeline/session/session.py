"""The session of one spider: its cookie jar, proxies and login, and the HTTP clients that share them."""

from __future__ import annotations

import copy
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import CookieError
from pipeline.model import LoginCookie
from pipeline.session.client import Client, ClientLogin, fetch
from pipeline.session.cookies.importers import bring_in, read_import
from pipeline.session.cookies.jar import Jar
from pipeline.session.login.expiry import LoginState
from pipeline.session.login.http_auth import HttpAuth
from pipeline.session.login.session_login import LoginFiles, LoginRules, SessionLogin
from pipeline.session.page import Answer
from pipeline.session.politeness.robots import PARSED_BYTES
from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.proxies.config import shown_proxy
from pipeline.session.proxies.selection import ProxyRoute, ProxySelection
from pipeline.session.request_rules import RequestRules
from pipeline.session.transport.tls import TlsContexts
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.session.web_storage import WebStorage

if TYPE_CHECKING:
    from pipeline.session.login.browser_login import LoginBrowser


class Session:
    """The session that the page requests and the file downloads of a spider share.

    Thread-safe, except that each thread needs its own client. storage: the web storage of the spider's sites, which browsers use; None if
    none is kept, because the spider has no login. open_browser: returns a browser for a session, for logins and the pages on which they
    are checked; None if the spider needs no browser for them.
    """

    def __init__(self, jar: Jar, files: LoginFiles, *, requests: RequestRules, login: LoginRules, proxies: ProxySelection,
                 tls: TlsContexts, ssrf_guard: SsrfGuard, storage: WebStorage | None = None,
                 open_browser: Callable[[Session], LoginBrowser] | None = None) -> None:
        self.name = files.spider
        self.jar = jar
        self.storage = storage
        self._makes_login = False
        self.ssrf_guard = ssrf_guard
        self._files = files
        self._requests = requests
        self._proxies = proxies
        self._tls = tls
        self._open_browser = open_browser
        self._run_browser: LoginBrowser | None = None
        self._run_browser_logs_in = False
        self._login = SessionLogin(
            login, requests, files, jar=jar, storage=WebStorage() if storage is None else storage, proxies=proxies, open_client=self._client,
            open_browser=None if open_browser is None else self._browser)

    def __repr__(self) -> str:
        return f"<Session {self.name}: {self.jar!r}, proxy {shown_proxy(self.proxy) if self.proxy else 'none'}>"

    def share_browser(self, browser: LoginBrowser | None, *, for_logins: bool = False) -> None:
        """Check the login from now on in the browser of a run, instead of starting one for each check; None ends this.

        for_logins: whether to log in in it, too. Only for a session that has no other proxy to change to.
        """
        self._run_browser, self._run_browser_logs_in = browser, for_logins

    def _browser(self, *, anonymous: bool = False, for_check: bool = False) -> LoginBrowser:
        """Return a browser for the login of this session. Like its client, it never changes the proxy and never logs in again.

        for_check: whether it may be that of the run, which shares the cookies and the proxies of all its pages.
        """
        assert self._open_browser is not None
        if (shared := self._run_browser) is not None and (for_check or (self._run_browser_logs_in and not anonymous)):
            return shared
        if anonymous:
            session = Session(Jar(), self._files, requests=replace(self._requests, auth=None), login=LoginRules(None, "", ()),
                              proxies=self._proxies.fixed(), tls=self._tls, ssrf_guard=self.ssrf_guard)
        else:
            session = copy.copy(self)
            session._proxies, session._makes_login = self._proxies.fixed(), True
        return self._open_browser(session)

    @property
    def user_agent(self) -> str:
        return self._requests.user_agent

    @property
    def headers(self) -> Mapping[str, str]:
        """The request headers set for this spider in the settings. Only trusted origins receive them."""
        return self._requests.headers

    @property
    def trusted(self) -> TrustedOrigins:
        """The origins that may receive the spider's request headers and bodies."""
        return self._requests.trusted

    @property
    def auth(self) -> HttpAuth | None:
        return self._requests.auth

    @property
    def timeout_s(self) -> float:
        """The timeout of one request, in seconds."""
        return self._requests.timeout_s

    @property
    def verify(self) -> bool | str:
        """The value for the parameter `verify` of the library requests."""
        return self._tls.verify

    @property
    def proxy(self) -> str | None:
        """The URL of the current proxy, with percent-encoded credentials; None means no proxy."""
        return self._proxies.current

    @property
    def login_state(self) -> LoginState | None:
        """The state of the login; None if the spider has no login, or if this session makes the login."""
        return None if self._makes_login else self._login.state

    @property
    def checkable(self) -> bool:
        """Whether this program can find out later if the session is still logged in.

        If False, an expired session is not detected.
        """
        return self._login.checkable

    @property
    def token(self) -> str:
        """The API token received at login; "" if there is none."""
        return self._login.token

    @property
    def has_one_proxy(self) -> bool:
        """Whether the session never changes its proxy, or has none."""
        return self._proxies.is_fixed

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy to use for a URL; None means no proxy."""
        return self._proxies.url_for(url)

    def change_proxy(self, failed: str | None) -> bool:
        """Stop using the proxy `failed`, because it is down or banned. Return False if no other proxy can be used."""
        return self._proxies.change(failed)

    def proxy_worked(self) -> None:
        """Reset the failure count of the current proxy, because a response has arrived through the proxy."""
        self._proxies.worked()

    def ssl_context(self, host: str | None = None) -> ssl.SSLContext:
        """Return the TLS context for a host. Raises UsageError if ca_file cannot be read."""
        return self._tls.context_for(host)

    def has_tls_exception(self, host: str) -> bool:
        """Return whether `insecure_tls` or `ca_file` applies to a host, so that a browser cannot verify its certificate."""
        return self._tls.is_exception(host)

    def client(self, before: Callable[[str], None] = lambda url: None) -> Client:
        """Return a new client for one thread, with the session's cookie jar. The caller must close the client.

        The client logs in again when the session expires, and uses the next proxy of the pool when a proxy fails. before: a
        function that is called before each request with the URL of the request.
        """
        return self._client(self._proxies.route(), login=ClientLogin(self.login_state, self.login_headers), before=before)

    def client_without_login(self, before: Callable[[str], None] = lambda url: None, *, timeout_s: float) -> Client:
        """Return a client like `client`, but one that never logs in. timeout_s: the timeout of a request, if it is less than the spider's."""
        rules = replace(self._requests, timeout_s=min(timeout_s, self.timeout_s))
        return self._client(self._proxies.route(), rules=rules, before=before)

    def _client(self, proxies: ProxyRoute, *, jar: Jar | None = None, rules: RequestRules | None = None,
                login: ClientLogin | None = None, before: Callable[[str], None] = lambda url: None) -> Client:
        """Return a client. jar, rules: replace those of the session unless None.

        login: the login that the client uses; None means that the client sends the API token but never logs in again.
        """
        return Client(self.jar if jar is None else jar, rules or self._requests, tls=self._tls, ssrf_guard=self.ssrf_guard,
                      proxies=proxies, login=login or ClientLogin(headers=self.login_headers), before=before)

    def login_headers(self, url: str) -> dict[str, str]:
        """Return the header with the API token, if `url` belongs to an origin of the login; otherwise {}."""
        return self._login.headers(url)

    def logged_in(self) -> bool:
        """Ask the site whether the login of an earlier run is still valid, and return the result.

        Return True if the spider has no login.
        """
        return self._login.holds()

    def ensure_login(self, *, fresh: bool = False) -> bool:
        """Log in, unless the session is already logged in. See SessionLogin.ensure."""
        return self._login.ensure(fresh=fresh)

    def login_cookies(self) -> tuple[datetime, list[LoginCookie]] | None:
        """Return when the last login took place, and its cookies that have an expiry time; None if there was no login."""
        return self._login.cookies()

    def clear(self) -> None:
        """Remove all cookies and the web storage."""
        self.jar.clear()
        if self.storage is not None:
            self.storage.clear()

    def save(self) -> None:
        """Save the cookie jar and the web storage, if they have changed. Raises errors as Jar.save."""
        self.jar.save()
        if self.storage is not None:
            self.storage.save()

    def checkpoint(self) -> None:
        """Save the cookie jar and the web storage before pages are committed. Raises errors as Jar.checkpoint."""
        self.jar.checkpoint()
        if self.storage is not None:
            self.storage.checkpoint()

    def keep_in_memory(self) -> None:
        """Never save the cookie jar and the web storage again, because another process saves them."""
        self.jar.keep_in_memory()
        if self.storage is not None:
            self.storage.keep_in_memory()

    def adopt(self, token: str, epoch: int, *, checkable: bool = True) -> None:
        """Use the login that another process of the same run made.

        token: the API token; epoch: the number of the login; checkable: see `checkable`. The caller puts the cookies of the login into
        the jar.
        """
        self._login.adopt(token, epoch, checkable=checkable)

    def bring_in(self, file: Path, url: str) -> int:
        """Import the cookies of a file into the jar. Return the number of imported cookies.

        url: the site to which cookies without a domain belong. Raises CookieError if the file does not exist or its cookies
        cannot be read.
        """
        try:
            text = read_import(file)
        except FileNotFoundError as error:
            raise CookieError("the file does not exist", where=str(file), fix="enter the path of the file that you exported") from error
        return bring_in(self.jar, text, str(file), url=url, last_login=self._files.last_login, now_s=time.time())

    def try_proxy(self, proxy: str, url: str) -> int:
        """Fetch a page through one proxy, and return the HTTP status.

        Raises ProxyError if the proxy fails, and FetchError or TlsError if the site fails.
        """
        with self._client(ProxyRoute(lambda _: proxy)) as client:
            return fetch(client, "GET", url, max_bytes=self._requests.max_page_bytes, timeout_s=self.timeout_s).status

    def look(self, url: str) -> Answer:
        """Fetch the robots.txt at `url`, and return the response. Raises ProxyError, TlsError or FetchError if that fails."""
        with self._client(self._proxies.route()) as client:
            return fetch(client, "GET", url, max_bytes=max(PARSED_BYTES, self._requests.max_page_bytes), timeout_s=self.timeout_s)
