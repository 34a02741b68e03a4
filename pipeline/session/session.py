"""The session of one spider: its cookie jar, its proxy, its login and the clients that share them."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

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


class Session:
    """What a spider and its downloads share. Threads may use it at once, each with a client of its own."""

    def __init__(self, jar: Jar, files: LoginFiles, *, requests: RequestRules, login: LoginRules, proxies: ProxySelection,
                 tls: TlsContexts, ssrf_guard: SsrfGuard) -> None:
        self.name = files.spider
        self.jar = jar
        self.ssrf_guard = ssrf_guard
        self._files = files
        self._requests = requests
        self._proxies = proxies
        self._tls = tls
        self._login = SessionLogin(login, requests, files, jar=jar, proxies=proxies, open_client=self._client)

    def __repr__(self) -> str:
        return f"<Session {self.name}: {self.jar!r}, proxy {shown_proxy(self.proxy) if self.proxy else 'none'}>"

    @property
    def user_agent(self) -> str:
        return self._requests.user_agent

    @property
    def headers(self) -> Mapping[str, str]:
        """The spider's own, for trusted origins."""
        return self._requests.headers

    @property
    def trusted(self) -> TrustedOrigins:
        """The origins that get the spider's own headers and bodies."""
        return self._requests.trusted

    @property
    def auth(self) -> HttpAuth | None:
        return self._requests.auth

    @property
    def own_hosts(self) -> frozenset[str]:
        """The hosts that the spider's settings name."""
        return self._requests.hosts

    @property
    def timeout_s(self) -> float:
        """Of one request."""
        return self._requests.timeout_s

    @property
    def verify(self) -> bool | str:
        """As requests' `verify`."""
        return self._tls.verify

    @property
    def proxy(self) -> str | None:
        """The proxy in use, credentials percent-encoded; None for none."""
        return self._proxies.current

    @property
    def login_state(self) -> LoginState | None:
        """None without a login."""
        return self._login.state

    @property
    def checkable(self) -> bool:
        """Whether `login.check` can be fetched again after a login. If not, nobody can tell when the session is over."""
        return self._login.checkable

    @property
    def token(self) -> str:
        """The token that an API's login gave, "" for none."""
        return self._login.token

    def proxy_for(self, url: str) -> str | None:
        """The proxy for a URL, None for none."""
        return self._proxies.url_for(url)

    def change_proxy(self, failed: str | None) -> bool:
        """The proxy `failed` is down or banned: use another from now on. False when there is no other."""
        return self._proxies.change(failed)

    def proxy_worked(self) -> None:
        """An answer came through the proxy in use: its earlier failures are forgotten."""
        self._proxies.worked()

    def ssl_context(self, host: str | None = None) -> ssl.SSLContext:
        """The TLS context for a host. Raises UsageError for a ca_file that cannot be read."""
        return self._tls.context_for(host)

    def client(self, before: Callable[[str], None] = lambda url: None) -> Client:
        """A new requests.Session for one thread, on the shared jar. Close it when done.

        It stays logged in, and goes on with the pool's next proxy when one fails. before: called ahead of each request.
        """
        return self._client(self._proxies.route(), login=ClientLogin(self.login_state, self.login_headers), before=before)

    def _client(self, proxies: ProxyRoute, *, jar: Jar | None = None, rules: RequestRules | None = None,
                login: ClientLogin | None = None, before: Callable[[str], None] = lambda url: None) -> Client:
        """A client with other parts than the session's. Without `login` it sends an API's token, but never logs in again."""
        return Client(self.jar if jar is None else jar, rules or self._requests, tls=self._tls, ssrf_guard=self.ssrf_guard,
                      proxies=proxies, login=login or ClientLogin(headers=self.login_headers), before=before)

    def login_headers(self, url: str) -> dict[str, str]:
        """The header with an API's token, for URLs of its own origins; {} for all others."""
        return self._login.headers(url)

    def logged_in(self) -> bool:
        """Whether the login of an earlier run still holds; asks the site. True without a login."""
        return self._login.holds()

    def ensure_login(self, *, fresh: bool = False) -> bool:
        """Log in unless the login still holds: as SessionLogin.ensure, with its errors."""
        return self._login.ensure(fresh=fresh)

    def login_cookies(self) -> tuple[datetime, list[LoginCookie]] | None:
        """When the last login was made, and those of its cookies that end some day; None when there was none."""
        return self._login.cookies()

    def adopt(self, token: str, epoch: int) -> None:
        """Go on with a login that another process of the same run made; its cookies come separately."""
        self._login.adopt(token, epoch)

    def bring_in(self, file: Path, url: str) -> int:
        """Put the cookies of a file into the jar; how many. url: the site of cookies that name none.

        Raises CookieError, also when there is no such file.
        """
        try:
            text = read_import(file)
        except FileNotFoundError as error:
            raise CookieError("no such file", where=str(file), fix="name the file you exported") from error
        return bring_in(self.jar, text, str(file), url=url, last_login=self._files.last_login, now_s=time.time())

    def try_proxy(self, proxy: str, url: str) -> int:
        """The status of a page fetched through one proxy. Raises ProxyError when the proxy fails, else FetchError."""
        with self._client(ProxyRoute(lambda _: proxy)) as client:
            return fetch(client, "GET", url, max_bytes=self._requests.max_page_bytes, timeout_s=self.timeout_s).status

    def look(self, url: str) -> Answer:
        """Fetch a robots.txt. Raises ProxyError, TlsError or FetchError."""
        with self._client(self._proxies.route()) as client:
            return fetch(client, "GET", url, max_bytes=max(PARSED_BYTES, self._requests.max_page_bytes), timeout_s=self.timeout_s)
