"""Records of a crawl: requests and pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pipeline.model.exchange import Exchange
from pipeline.model.files import Download
from pipeline.model.items import Item, Json, Reject


class FrontierState(StrEnum):
    """The state of a request in the frontier.

    tentative: the request was found on a page that is not committed yet. forgotten: the request was tentative, but the page on which
    it was found turned out to have been fetched without a valid login, so the request is not sent. aside: the request is skipped for
    the rest of the pass, because processing its response ended the process. missed: the request failed, but a later run may retry it.
    """

    WAITING = "waiting"
    TENTATIVE = "tentative"
    FORGOTTEN = "forgotten"
    DONE = "done"
    FAILED = "failed"
    ASIDE = "aside"
    MISSED = "missed"


@dataclass(slots=True)
class Request:
    """A page to fetch, as the frontier stores the request. All its values can be stored as JSON.

    callback: name of the spider's method that processes the response; "" means the default method. Do not change a request; copy it
    with dataclasses.replace() instead. The class is not frozen for the sake of speed: a crawl creates a request for each link, and
    frozen requests would make a crawl one percent slower.
    """

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    encoding: str = ""
    callback: str = ""
    errback: str = ""
    meta: dict[str, Json] = field(default_factory=dict)
    cb_kwargs: dict[str, Json] = field(default_factory=dict)
    cookies: Json = None
    priority: int = 0
    depth: int = 0
    dont_filter: bool = False


@dataclass(frozen=True)
class LoginCookie:
    """A login cookie that has an expiry time.

    login_at: when the spider logged in or, for an imported cookie, when the cookie was imported. brought_in: whether the cookie was
    imported. ends_at: when the cookie expires.
    """

    name: str
    site: str
    login_at: datetime
    brought_in: bool
    ends_at: datetime


class PageOutcome(StrEnum):
    """What became of a request for a page.

    not_modified: the server confirmed the stored page (status 304). forbidden: robots.txt forbids it. ignored: a middleware of the
    spider or of Scrapy left the request out.
    """

    FETCHED = "fetched"
    NOT_MODIFIED = "not_modified"
    RENDERED = "rendered"
    FAILED = "failed"
    FORBIDDEN = "forbidden"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Page:
    """One fetched response with everything extracted from it. Each page is committed as a whole.

    frontier_id: id of the request's row in the frontier; None if the request was only kept in memory.
    error: why the page failed; "" if it did not fail. error_kind: class name of the error.
    transient: whether the error may go away on a retry.
    body: content of the page if the page is to be saved, otherwise empty. file_key: key of the saved page in the file store.
    epoch: number of the login that was current when the page was requested; each new login increases this number.
    repeatable: whether the request may safely be sent twice.
    offsite: links that are not followed, because they lead to other hosts.
    redirected_host: host to which a start URL was redirected; links to this host are followed as well.
    counts: for each rule that was applied to the page, the number of its matches, and the number of items to which the rule was
    applied. The second number is 0 for a rule that is applied to whole pages.
    obstacle: why the page has none of the site's content, such as JavaScript that would build it; "" if nothing suggests so.
    outcome: how the page was fetched, or why not; a page with an error counts as failed. duration_s: how long the server took; None if
    nothing was sent. exchanges: the requests and responses of the page, redirects included, if the spider archives pages.
    """

    url: str
    status: int
    fetched_at: datetime
    size_bytes: int = 0
    frontier_id: int | None = None
    items: tuple[Item, ...] = ()
    rejects: tuple[Reject, ...] = ()
    links: tuple[Request, ...] = ()
    downloads: tuple[Download, ...] = ()
    error: str = ""
    transient: bool = False
    body: bytes = b""
    file_key: str = ""
    error_kind: str = ""
    epoch: int = 0
    repeatable: bool = True
    offsite: tuple[str, ...] = ()
    redirected_host: str = ""
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    obstacle: str = ""
    outcome: PageOutcome = PageOutcome.FETCHED
    duration_s: float | None = None
    exchanges: tuple[Exchange, ...] = ()

    @property
    def memory_bytes(self) -> int:
        """About how much memory the page needs until it is committed."""
        return self.size_bytes + (sum(each.size_bytes for each in self.exchanges) if self.exchanges else 0)

    @property
    def end_state(self) -> FrontierState:
        """The state that the page's request has in the frontier after the page is committed."""
        if not self.error:
            return FrontierState.DONE
        return FrontierState.MISSED if self.transient or self.error_kind == "SpiderError" else FrontierState.FAILED
