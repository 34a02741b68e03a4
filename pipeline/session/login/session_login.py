"""The login of one session: logs in when needed, finds a page for the check, stores the state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from pipeline.errors import BrowserError, FetchError, LoginError, ProxyError
from pipeline.hosts import host_of
from pipeline.model import LoginCookie
from pipeline.session.client import Client, ClientLogin
from pipeline.session.cookies import last_login
from pipeline.session.cookies.cookie import Cookie
from pipeline.session.cookies.jar import Jar
from pipeline.session.login.expiry import Expiry, LoginState
from pipeline.session.login.login import Login
from pipeline.session.private_file import write_private
from pipeline.session.proxies.selection import ProxyRoute, ProxySelection
from pipeline.session.request_rules import RequestRules
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.session.web_storage import WebStorage
from pipeline.settings import LoginTable
from pipeline.store.session_files import CHECK_PAGE, LAST_LOGIN, TOKEN, SessionFile, SessionFiles

if TYPE_CHECKING:
    from pipeline.session.login.browser_login import LoginBrowser

UNCHECKABLE = ("items are never reported as gone: login.check matches only on the response to the login, so that an expired session "
               "cannot be detected; set login.check_url to a page on which login.check matches")
"""The note about a session whose login cannot be checked later. See SessionLogin.checkable."""
_CHECK_AGAIN_S = (1.0, 4.0)
"""If the site fails to send the check page: the seconds to wait before the second and the third attempt."""
_BY_ACCESS = "access"
"""A word in the check page file. It means: the login is valid if the page can be accessed, even if login.check does not match."""


@dataclass(frozen=True)
class LoginFiles:
    """The files of one spider's login.

    stored: the private files of the spider; page: the file in which the page of a failed login is saved.
    """

    stored: SessionFiles
    page: Path

    @property
    def spider(self) -> str:
        return self.stored.spider

    @property
    def check_page(self) -> SessionFile:
        """The file that stores the URL of the page on which the last login can be checked."""
        return self.stored.file(CHECK_PAGE)

    @property
    def token(self) -> SessionFile:
        return self.stored.file(TOKEN)

    @property
    def last_login(self) -> SessionFile:
        return self.stored.file(LAST_LOGIN)


@dataclass(frozen=True)
class LoginRules:
    """The settings of a login.

    table: the settings table [spiders.NAME.login]; None if the spider has no login. start: the first start URL that is requested
    with GET; "" if there is no such URL. cookie_names: the names of the login cookies; () means that the login cookies are
    detected automatically.
    """

    table: LoginTable | None
    start: str
    cookie_names: tuple[str, ...]


class OpenClient(Protocol):
    """A function that opens a client of the session. jar, rules, login: replace those of the session unless None."""

    def __call__(self, proxies: ProxyRoute, *, jar: Jar | None = None, rules: RequestRules | None = None,
                 login: ClientLogin | None = None) -> Client: ...


class OpenBrowser(Protocol):
    """A function that returns a browser, which starts when it opens its first page.

    anonymous: whether the browser has no cookies and no storage, instead of those of the session. for_check: whether it may be the
    browser of a run that has one, because it only opens the check page.
    """

    def __call__(self, *, anonymous: bool = False, for_check: bool = False) -> LoginBrowser: ...


class SessionLogin:
    """Logs in a session, one thread at a time, and checks whether the session is still logged in.

    state: the state shared by all threads and tasks; None if the spider has no login. checkable: whether the login can be checked
    later. The value is False if no page is known on which login.check matches for a logged-in client and for no other client. In
    this case, an expired session cannot be detected. open_browser: opens a browser for a login in a browser, and for pages that the
    spider renders; None if the spider needs none.
    """

    def __init__(self, rules: LoginRules, requests: RequestRules, files: LoginFiles, *, jar: Jar, storage: WebStorage, proxies: ProxySelection,
                 open_client: OpenClient, open_browser: OpenBrowser | None = None) -> None:
        self._rules = rules
        self._requests = requests
        self._table = table = rules.table
        self._files = files
        self._jar = jar
        self._storage = storage
        self._proxies = proxies
        self._open_client = open_client
        self._open_browser = open_browser
        self._where = f"spiders.{files.spider}.login"
        self._origins = TrustedOrigins(login_urls(table), "login.origins")
        self._login_rules = replace(requests, body_origins=self._origins)
        self._lock = threading.Lock()
        self.token = read_line(files.token) if table is not None and table.token is not None else ""
        if self.token:
            files.stored.mask.add(self.token)
        self.checkable = True
        self.state = None if table is None else LoginState(
            Expiry(table, self._hosts()), self._log_in_again, self._still_holds, where=self._where)

    def headers(self, url: str) -> dict[str, str]:
        """Return the header with the API token, if `url` belongs to an origin of the login; otherwise {}."""
        if not self.token or self._table is None or not self._origins.trust(url):
            return {}
        name, _, value = self._table.token_header.partition(": ")
        return {name: value.replace("{token}", self.token)}

    def holds(self) -> bool:
        """Ask the site whether the login of an earlier run is still valid, and return the result.

        Return True if the spider has no login.
        """
        if self._table is None:
            return True
        with self._login(self._table) as login:
            return self._holds(login, self._table)

    def ensure(self, *, fresh: bool = False) -> bool:
        """Log in, unless the session is already logged in. Return whether a new login was made.

        fresh: whether to log in even if the session is logged in, with an empty cookie jar. If the settings have no login, return
        False. Raises LoginError if the login cannot be verified; ProxyError, TlsError or FetchError if the site is not available.
        After an error, the cookie jar is unchanged.
        """
        if self._table is None:
            return False
        with self._lock:
            if not (fresh and self._table.sends):
                return self._log_in(self._table, unless_it_holds=True)
            before, stored = list(self._jar), self._storage.snapshot()
            self._jar.clear()
            self._storage.clear()
            try:
                return self._log_in(self._table, unless_it_holds=False)
            except BaseException:
                self._jar.clear()
                for cookie in before:
                    self._jar.set_cookie(cookie)
                self._storage.replace(stored)
                self._save()
                raise

    def cookies(self) -> tuple[datetime, list[LoginCookie]] | None:
        """Return when the last login took place, and its cookies that have an expiry time; None if there was no login."""
        last = last_login.last(self._files.last_login)
        if last is None:
            return None
        return (datetime.fromtimestamp(last.at_s, UTC),
                last_login.ending(self._jar, last, hosts=self._hosts(), names=self._rules.cookie_names))

    def adopt(self, token: str, epoch: int, *, checkable: bool = True) -> None:
        """Use the login that another process of the same run made.

        token: the API token; epoch: the number of the login. The caller puts the cookies of the login into the jar.
        """
        self.token = token
        if token:
            self._files.stored.mask.add(token)
        self.checkable = checkable
        if self.state is not None:
            self.state.adopt(epoch)

    def _hosts(self) -> frozenset[str]:
        return self._requests.hosts | ({host_of(self._table.url)} if self._table is not None and self._table.url else set())

    def _client(self) -> Client:
        """Return a client that never changes its proxy.

        A site may regard a login from two IP addresses as a stolen session.
        """
        return self._open_client(self._proxies.pinned(), rules=self._login_rules)

    def _anonymous_client(self) -> Client:
        return self._open_client(self._proxies.pinned(), jar=Jar(), rules=replace(self._requests, auth=None), login=ClientLogin())

    def _log_in_again(self) -> None:
        """Log in again, because a response has shown that the login has expired."""
        assert self._table is not None
        with self._lock:
            self._log_in(self._table, unless_it_holds=False)

    def _log_in(self, table: LoginTable, *, unless_it_holds: bool) -> bool:
        while True:
            proxy = self._proxies.current
            try:
                made = self._log_in_once(table, unless_it_holds=unless_it_holds)
            except ProxyError:
                if not self._proxies.change(proxy):
                    raise
            else:
                return made

    def _log_in_once(self, table: LoginTable, *, unless_it_holds: bool) -> bool:
        with self._login(table) as login:
            try:
                made = not (unless_it_holds and self._holds(login, table))
                if made:
                    if not table.sends:
                        raise self._cookies_expired()
                    before = list(self._jar)
                    self._remember_check_page(self._find_check_page(table, login, login.log_in()))
                    self._remember_login(last_login.fresh(before, self._jar))
            finally:
                self._save()
        self._proxies.worked()
        return made

    def _save(self) -> None:
        self._jar.save()
        self._storage.save()

    @contextmanager
    def _login(self, table: LoginTable, *, anonymous: bool = False, for_check: bool = False) -> Iterator[Login]:
        """Return the login through a new client, and through a browser where the settings say so. Both are closed at the end.

        anonymous: whether both have no cookies, instead of those of the session. for_check: as for OpenBrowser.
        """
        browser = self._open_browser(anonymous=anonymous, for_check=for_check) if self._open_browser is not None else None
        try:
            with self._anonymous_client() if anonymous else self._client() as client:
                yield self._login_through(table, client, browser)
        finally:
            if browser is not None:
                browser.close()

    def _login_through(self, table: LoginTable, client: Client, browser: LoginBrowser | None = None) -> Login:
        new: Callable[..., Login] = Login
        if table.browser and browser is not None:
            from pipeline.session.login import browser_login  # noqa: PLC0415  loads Playwright, which only such logins need
            new = partial(browser_login.BrowserLogin, browser)
        return new(table, client, self._login_rules, where=self._where, keep_page=self._keep_page, take_token=self._take_token, rendered=browser)

    def _holds(self, login: Login, table: LoginTable) -> bool:
        """Return whether the login is valid. To find out, fetch check_url or the check page found at the last login.

        If the session has no cookies, no token and no web storage, return False without a request. If the site fails, try again, because a login
        that is still valid must not be replaced; if the site still fails, return False or raise the error.
        """
        url, by_access = self._check_page(table)
        if not url or not (self._jar.alive() or self.token or self._storage):
            return False
        for wait_s in _CHECK_AGAIN_S:
            try:
                return login.holds_at(url, by_access=by_access, certain=True)
            except FetchError as error:
                if not error.retry:
                    raise
            time.sleep(wait_s)
        return login.holds_at(url, by_access=by_access)

    def _still_holds(self) -> bool:
        """Return whether the session is logged in now.

        If the site fails, try again; raise the error if the last attempt fails too.
        """
        table = self._table
        assert table is not None
        url, by_access = self._check_page(table)
        for wait_s in (*_CHECK_AGAIN_S, None):
            try:
                with self._login(table, for_check=True) as login:
                    return login.holds_at(url, by_access=by_access, certain=True)
            except (FetchError, ProxyError, BrowserError) as error:  # a page of the run may have ended the browser
                if wait_s is None or not error.retry:
                    raise
                time.sleep(wait_s)
        raise AssertionError("unreachable")

    def _check_page(self, table: LoginTable) -> tuple[str, bool]:
        """Return the URL of the page on which the login can be checked, and how to check the page.

        The URL is "" if there is no such page. The second value is True if the login is valid whenever the page can be accessed,
        and False if login.check must match on the page.
        """
        if table.check_url is not None:
            return table.check_url, False
        if not table.sends:
            return self._rules.start, False
        url, _, how = read_line(self._files.check_page).partition(" ")
        return (url if urlsplit(url).scheme in ("http", "https") else ""), how == _BY_ACCESS

    def _find_check_page(self, table: LoginTable, login: Login, led_to: str) -> str:
        """Find a page on which the new login can be checked later. Return the line for the check page file.

        The page after the login is used if login.check also matches when the page is fetched again with GET. For an API login,
        only the start page is tried, because login.check then applies to the response to the login request. The start page is
        used if login.check matches on it for this session but not for an anonymous client, or if this session can access it but
        an anonymous client cannot. Return "" if neither page can be used. led_to: the URL of the page after the login.
        """
        self.checkable = True
        if table.check_url is not None or (led_to and not table.json_ and login.holds_at(led_to)):
            return led_to
        start = self._rules.start
        with self._login(table, anonymous=True) as anonymous:
            for by_access in (False, True) if start else ():
                if login.holds_at(start, by_access=by_access) and not anonymous.holds_at(start, by_access=by_access):
                    return f"{start} {_BY_ACCESS}" if by_access else start
        self.checkable = False
        return ""

    def _cookies_expired(self) -> LoginError:
        return LoginError("login.check no longer matches with the imported cookies", where=self._where,
                          fix="log in with a browser and import its cookies: `pipeline cookies import`")

    def _remember_check_page(self, url: str) -> None:
        self._files.check_page.replace(f"{url}\n".encode())

    def _remember_login(self, brought: Iterable[Cookie]) -> None:
        cookies = list(brought)
        for secret in last_login.secrets_of(cookies):
            self._files.stored.mask.add(secret)
        self._jar.protect(cookie.key for cookie in cookies)
        last_login.remember(self._files.last_login, cookies, brought_in=False, now_s=time.time())

    def _take_token(self, token: str) -> None:
        self._files.stored.mask.add(token)
        self.token = token
        self._files.token.replace(f"{token}\n".encode())

    def _keep_page(self, body: bytes) -> Path:
        write_private(self._files.page, body)
        return self._files.page


def login_urls(login: LoginTable | None) -> list[str]:
    """Return the URLs whose origins receive passwords and tokens."""
    return [] if login is None else [*([login.url] if login.url else []), *login.origins]


def read_line(file: SessionFile) -> str:
    """Return the text in a file; "" if the file is missing or is not UTF-8.

    Raises SessionError or StoreError if the file cannot be read.
    """
    try:
        return (file.read() or b"").decode().strip()
    except UnicodeDecodeError:
        return ""
