"""Detects in responses that the login has expired, and makes one new login for all threads and tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from pipeline.errors import LoginError, PipelineError
from pipeline.hosts import host_and_port, host_of
from pipeline.session.page import Page
from pipeline.settings import LoginTable
from pipeline.text import shown_url
from pipeline.urls import absolute, redirect_target, route_of

SAFE_METHODS = frozenset({"GET", "HEAD"})
"""The HTTP methods whose requests are sent again after a new login, because they are safe (RFC 9110, 9.2.1)."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Expiry:
    """Decides whether a response shows an expired login, by the rules in [spiders.NAME.login.expired].

    hosts: the hosts whose responses are checked; responses of other hosts never show an expired login.
    """

    def __init__(self, login: LoginTable, hosts: frozenset[str]) -> None:
        self._login = login
        self._rules = login.expired
        self._hosts = set(hosts)

    def add_host(self, host: str) -> None:
        """Also check the responses of `host` for an expired login."""
        self._hosts.add(host)

    @property
    def reads_pages(self) -> bool:
        """Whether the settings contain a rule that needs the content of a page."""
        return self._rules.present is not None or self._rules.missing is not None

    def may_replay(self, method: str) -> bool:
        return self._rules.safe_to_replay or method.upper() in SAFE_METHODS

    def of_status(self, url: str, status: int, location: str = "") -> str:
        """If the status of a response shows that the login has expired, return the reason; otherwise return "".

        location: the value of the Location header.
        """
        if host_of(url) not in self._hosts:
            return ""
        if status in self._rules.status:
            return f"responded with status {status}"
        if location and status in REDIRECTS and self.is_login_page(redirect_target(location, url), asked=url):
            return "redirected to the login page"
        return ""

    def is_login_page(self, url: str, *, asked: str) -> bool:
        """Return whether `url` is the login page although another page, `asked`, was requested."""
        login_url = self._login.url
        return bool(self._rules.redirect and login_url and same_page(url, login_url) and not same_page(asked, login_url))

    def of_page(self, page: Page, *, file: bool = False) -> str:
        """If the content of a page shows that the login has expired, return the reason; otherwise return "".

        file: whether the page was received instead of a file to download; if so, the rule `missing` is not applied. If the page
        has an error status (4xx), the caller must also call `is_sure`.
        """
        if page.answer.status >= 500 or host_of(page.answer.url) not in self._hosts:
            return ""
        if self._rules.present is not None and page.matches(self._rules.present):
            return "matched login.expired.present"
        if not file and self._rules.missing is not None and not page.matches(self._rules.missing):
            return "did not match login.expired.missing"
        return ""

    def is_sure(self, page: Page) -> bool:
        """Return whether the result of of_page() is reliable: always for a normal page, sometimes for an error page.

        For an error page, a match of the rule `present` is reliable. The rule `missing` is not, because error pages lack most
        content.
        """
        return page.answer.status < 400 or (self._rules.present is not None and page.matches(self._rules.present))


class LoginState:
    """The state of a session's login, shared by all threads and tasks. Only one thread logs in at a time.

    log_in: a function that logs in and verifies the login, or raises an error; holds: a function that asks the site whether the
    login is still valid (login.check); where: the name of the settings table, for error messages.
    """

    def __init__(self, expiry: Expiry, log_in: Callable[[], None], holds: Callable[[], bool], where: str) -> None:
        self.expiry = expiry
        self._log_in = log_in
        self._holds = holds
        self.where = where
        self._checking = threading.Lock()
        self._held_at_s = 0.0
        self._lock = threading.RLock()
        self._epoch = 0
        self._proved = 0
        self._lost: PipelineError | None = None

    @property
    def epoch(self) -> int:
        """The number of logins made in this session so far, including a login in progress."""
        return self._epoch

    @property
    def proved(self) -> int:
        """The number of the last login of this session that was verified."""
        return self._proved

    def is_stale(self, epoch: int) -> bool:
        """Return whether a request was sent before the current login; if so, its response's cookies must not be stored.

        epoch: the value of the attribute `epoch` at the time when the request was sent.
        """
        return epoch < self._epoch

    def settled(self) -> int:
        """Wait until no login is in progress, and return the epoch of the current login."""
        with self._lock:
            return self._epoch

    def renew(self, epoch: int) -> None:
        """Log in again, unless there is already a login newer than `epoch`. If a login is in progress, wait for it.

        If the login fails, raises its error. Every later call then raises the same error immediately, without a request.
        """
        with self._lock:
            if self._lost is not None:
                raise self._lost
            if epoch != self._epoch:
                return
            self._epoch += 1
            try:
                self._log_in()
            except PipelineError as error:
                self._lost = error
                raise
            self._proved = self._epoch

    def verify(self, epoch: int, since_s: float) -> bool:
        """Return whether the login with the number `epoch` was still valid at the time `since_s`.

        Ask the site, unless a check that began after since_s has already succeeded. since_s: a value of time.monotonic(). Raises
        the error if the request fails.
        """
        with self._checking:
            if epoch != self._epoch:
                return False
            if self._held_at_s < since_s:
                begun_s = time.monotonic()
                if not self._holds():
                    return False
                self._held_at_s = begun_s
            return epoch == self._epoch

    def adopt(self, epoch: int) -> None:
        """Record that another process of this run has logged in. epoch: the number of that login."""
        with self._lock:
            self._epoch = self._proved = max(self._epoch, epoch)

    def lost(self, url: str, reason: str) -> PipelineError:
        """Return the error that ends the run because the session is still expired after a new login.

        Every call returns the same error.
        """
        with self._lock:
            if self._lost is None:
                self._lost = LoginError(
                    f"{shown_url(url)} {reason} right after a new login", where=self.where,
                    fix="if this account may not see the page, exclude the page with `deny`; otherwise correct login.expired")
            return self._lost


def same_page(url: str, other: str) -> bool:
    """Return whether two URLs belong to the same page. The query is ignored, since URLs of login pages end with `?next=…`."""
    return _place(url) == _place(other)


def _place(url: str) -> tuple[str, int, str]:
    """Return the host, port, path and route of a URL. The ports 80 of http and 443 of https count as the same port."""
    host, port = host_and_port(url)
    return host, 80 if port == 443 else port, urlsplit(absolute(url) or url).path.rstrip("/") + route_of(url).partition("?")[0]
