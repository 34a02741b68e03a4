"""Whether a session is logged in, as its requests find out: expiry rules, and one login for all that meet it."""

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
from pipeline.urls import absolute, redirect_target

SAFE_METHODS = frozenset({"GET", "HEAD"})
"""What is sent again after a login without asking (RFC 9110, 9.2.1)."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Expiry:
    """The rules of [spiders.NAME.login.expired]. hosts: the only ones whose answers are judged."""

    def __init__(self, login: LoginTable, hosts: frozenset[str]) -> None:
        self._login = login
        self._rules = login.expired
        self._hosts = set(hosts)

    def add_host(self, host: str) -> None:
        """Answers of this host are judged, too."""
        self._hosts.add(host)

    @property
    def reads_pages(self) -> bool:
        """Whether some rule needs a page's content."""
        return self._rules.present is not None or self._rules.missing is not None

    def may_replay(self, method: str) -> bool:
        return self._rules.safe_to_replay or method.upper() in SAFE_METHODS

    def of_status(self, url: str, status: int, location: str = "") -> str:
        """Why an answer shows that the login has expired, "" when it does not. location: where a redirect leads."""
        if host_of(url) not in self._hosts:
            return ""
        if status in self._rules.status:
            return f"answers with status {status}"
        if location and status in REDIRECTS and self.is_login_page(redirect_target(location, url), asked=url):
            return "leads back to the login page"
        return ""

    def is_login_page(self, url: str, *, asked: str) -> bool:
        """Whether `url` is the login page, asked for something else."""
        login_url = self._login.url
        return bool(self._rules.redirect and login_url and same_page(url, login_url) and not same_page(asked, login_url))

    def of_page(self, page: Page, *, file: bool = False) -> str:
        """As of_status, by what is on a page. file: a download, which may well lack what every page of the site has.

        A refusal (4xx) may lack it, too: `is_sure` tells.
        """
        if page.answer.status >= 500 or host_of(page.answer.url) not in self._hosts:
            return ""
        if self._rules.present is not None and page.matches(self._rules.present):
            return "shows what login.expired.present names"
        if not file and self._rules.missing is not None and not page.matches(self._rules.missing):
            return "lacks what login.expired.missing names"
        return ""

    def is_sure(self, page: Page) -> bool:
        """Whether of_page says so without a doubt."""
        return page.answer.status < 400 or (self._rules.present is not None and page.matches(self._rules.present))


class LoginState:
    """One login at a time, shared by every thread and task that finds the session expired.

    log_in: logs in and proves it, or raises. holds: whether login.check matches now; asks the site. where: the settings
    table that errors name.
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
        """How many times the session was logged in again, a login under way included."""
        return self._epoch

    @property
    def proved(self) -> int:
        """As epoch, without a login that is under way."""
        return self._proved

    def is_stale(self, epoch: int) -> bool:
        """Whether what was sent at `epoch` belongs to a login that is over: its cookies must not be taken."""
        return epoch < self._epoch

    def settled(self) -> int:
        """The epoch, once no login is under way."""
        with self._lock:
            return self._epoch

    def renew(self, epoch: int) -> None:
        """Log in again, unless someone has since `epoch`. Blocks while another thread does.

        Raises what kept us out; from then on it is raised at once, so that a site is not asked in vain.
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
        """Whether `check` shows that the login of `epoch` held at `since_s` (time.monotonic()), and so all the time before.

        The site is asked unless it was asked since then. Raises what kept it from being asked.
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
        """Another process of this run logged in for us all."""
        with self._lock:
            self._epoch = self._proved = max(self._epoch, epoch)

    def lost(self, url: str, reason: str) -> PipelineError:
        """The error that ends the run: a fresh login did not help. The same one for all who ask."""
        with self._lock:
            if self._lost is None:
                self._lost = LoginError(
                    f"{shown_url(url)} {reason}, right after logging in again", where=self.where,
                    fix="may this account see that page? If not, exclude it from follow; else correct login.expired")
            return self._lost


def same_page(url: str, other: str) -> bool:
    """Whether two URLs lead to one page, whatever their query: the login page takes `?next=…`."""
    return _place(url) == _place(other)


def _place(url: str) -> tuple[str, int, str]:
    """Host, port and path; http and https of one host are one place."""
    host, port = host_and_port(url)
    return host, 80 if port == 443 else port, urlsplit(absolute(url) or url).path.rstrip("/")
