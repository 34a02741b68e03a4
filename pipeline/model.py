"""Records and enums that all packages share: Run, Item, Change, Page, Download, Message, states.

Datetimes are timezone-aware and in UTC. Names ending in `_s` are seconds, names ending in `_bytes` are bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pipeline.price import same

Json = Any
"""Any value that json.dumps accepts: dict, list, str, int, float, bool, None."""


class Outcome(StrEnum):
    """How one run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    KILLED = "killed"
    STOPPED = "stopped"
    ABANDONED = "abandoned"
    SKIPPED = "skipped"


DRY_RUN = "dry-run"
"""The `reason` of a dry run (`pipeline run --dry-run`), which downloads no files and whose store is deleted afterwards."""


class ChangeKind(StrEnum):
    """The kinds of change of an item between two passes."""

    NEW = "new"
    CHANGED = "changed"
    GONE = "gone"
    BACK = "back"


class FrontierState(StrEnum):
    """The state of a request in the frontier.

    tentative: the request was found on a page that is not committed yet. forgotten: the request was tentative, but its page turned
    out to be fetched without a login. aside: the request is skipped for the rest of the pass, because processing the response ended
    the process. missed: the request failed, so the content of the page is unknown.
    """

    WAITING = "waiting"
    TENTATIVE = "tentative"
    FORGOTTEN = "forgotten"
    DONE = "done"
    FAILED = "failed"
    ASIDE = "aside"
    MISSED = "missed"


class DownloadState(StrEnum):
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class MessageState(StrEnum):
    """The state of a message in the outbox.

    waiting: a mail server has yet to accept the message for some recipients. sent: accepted; the states of the recipients show
    refusals. parked: not tried again until a person runs `pipeline outbox retry`. dropped: never sent, because a person ran
    `pipeline outbox drop`.
    """

    WAITING = "waiting"
    SENT = "sent"
    PARKED = "parked"
    DROPPED = "dropped"


class RecipientState(StrEnum):
    WAITING = "waiting"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Health(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"


@dataclass(slots=True)
class Request:
    """A page to fetch, as the frontier stores it. All its values can be stored as JSON.

    callback: name of the spider's method, "" for the default method. Do not change a request, but copy it with `replace`. Requests
    are not frozen, because a crawl creates one for each link, and frozen requests would make a crawl one percent slower.
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
class Item:
    """A record that a spider extracts, with a key that identifies the record within its spider."""

    key: str
    data: dict[str, Json]


@dataclass(frozen=True)
class Change:
    """A change of an item.

    before: the fields before the change, {} for a new item. after: the fields after the change, {} for a gone item. page_key: key
    in the file store of the page with the change, if a digest attaches pages; otherwise "".
    """

    id: int
    spider: str
    key: str
    kind: ChangeKind
    at: datetime
    run_id: int
    before: dict[str, Json]
    after: dict[str, Json]
    page_key: str = ""

    @property
    def fields(self) -> list[str]:
        """The names of the fields that differ, in the order of the item.

        Prices are compared by currency and amount.
        """
        names = list(dict.fromkeys([*self.after, *self.before]))
        return [name for name in names if not same(self.before.get(name), self.after.get(name))]


@dataclass(frozen=True)
class LoginCookie:
    """A cookie with an expiry time that carries a login.

    login_at: time of the login, or of the import for an imported cookie. brought_in: whether the cookie was imported. ends_at: when
    the cookie expires.
    """

    name: str
    site: str
    login_at: datetime
    brought_in: bool
    ends_at: datetime


@dataclass(frozen=True)
class Reject:
    """An item that was rejected, with the reason.

    key: the item's key; "" if the item has no key.
    """

    reason: str
    data: dict[str, Json]
    key: str = ""


@dataclass(frozen=True)
class Download:
    """A file to download, yielded by a spider.

    name: the requested file name, which is made safe before use. sha256: the required digest in hex; "" accepts any content.
    headers: HTTP headers of the request.
    """

    url: str
    name: str = ""
    item_key: str = ""
    referer: str = ""
    sha256: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class QueuedDownload:
    """A download leased from the store, with the state that an earlier attempt or pass left.

    part_key: key of the partial download. part_etag, part_last_modified, part_length: ETag, Last-Modified and length of the
    response of which the partial download is the beginning. etag, last_modified, file_key, file_sha256, file_size: of the last
    complete version; file_key is "" if this version was deleted because of a limit. item: the item to which the file belongs; {}
    for none.
    """

    id: int
    spider: str
    url: str
    name: str
    referer: str
    headers: tuple[tuple[str, str], ...]
    sha256_wanted: str
    attempt: int
    part_key: str
    part_etag: str
    part_last_modified: str
    part_length: int | None
    file_key: str
    etag: str
    last_modified: str
    requested_at: datetime
    file_sha256: str = ""
    file_size: int | None = None
    item: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredFile:
    """One version of a downloaded file.

    key: key in the file store. sha256: SHA-256 of the content in hex. run_id: the run that downloaded the file; None if the record
    of this run was deleted.
    """

    id: int
    spider: str
    run_id: int | None
    url: str
    key: str
    name: str
    size_bytes: int
    sha256: str
    content_type: str
    fetched_at: datetime


@dataclass(frozen=True)
class Page:
    """One fetched response with everything extracted from it. Each page is committed as a whole.

    frontier_id: id of the request's row in the frontier; None if the request was only kept in memory. error: why the page failed,
    otherwise "". error_kind: class of the error. transient: whether another attempt can succeed. body: content of the page if it is
    to be saved. file_key: key in the file store of the saved page. epoch: number of the login with which the page was requested.
    repeatable: whether the request may be sent twice. offsite: links that were left out because they lead to other hosts.
    redirected_host: host to which a start URL was redirected, and which therefore belongs to the site.
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

    @property
    def end_state(self) -> FrontierState:
        """The state of the page's frontier row after the commit."""
        if not self.error:
            return FrontierState.DONE
        return FrontierState.MISSED if self.transient or self.error_kind == "SpiderError" else FrontierState.FAILED


@dataclass
class Progress:
    """Counters of a run, which are shown in the run's row, in `status` and on the terminal."""

    pages: int = 0
    pages_failed: int = 0
    items: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    back: int = 0
    unchanged: int = 0
    duplicates: int = 0
    rejected: int = 0
    downloads: int = 0
    downloads_unchanged: int = 0
    downloads_failed: int = 0
    download_bytes: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Transfer:
    """A download in progress.

    total_bytes: None if the server did not announce the size. rate_bytes_s: bytes per second.
    """

    name: str
    done_bytes: int
    total_bytes: int | None
    rate_bytes_s: float

    @property
    def left_s(self) -> float | None:
        """Seconds until the end of the download at the current rate; None if unknown."""
        if self.total_bytes is None or self.rate_bytes_s <= 0:
            return None
        return max(0, self.total_bytes - self.done_bytes) / self.rate_bytes_s


def together(transfers: Sequence[Transfer]) -> Transfer:
    """Return the sum of transfers. Its total is None unless the total of each transfer is known."""
    totals = [each.total_bytes for each in transfers]
    known = [total for total in totals if total is not None]
    return Transfer("", sum(each.done_bytes for each in transfers), sum(known) if len(known) == len(totals) else None,
                    sum(each.rate_bytes_s for each in transfers))


@dataclass(frozen=True)
class Run:
    """One attempt at a pass.

    reason: why the run was created: schedule, catch-up, after, manual, resume or retry. not_before: earliest start of the run.
    transfers: downloads in progress, according to the run's last report.
    """

    id: int
    pass_id: int
    spider: str
    attempt: int
    reason: str
    due_at: datetime
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    complete: bool = False
    suspect: bool = False
    error_kind: str = ""
    error: str = ""
    progress: Progress = field(default_factory=Progress)
    transfers: tuple[Transfer, ...] = ()
    lease_owner: str = ""
    lease_until: datetime | None = None
    slot_id: int = 0
    not_before: datetime | None = None

    @property
    def running(self) -> bool:
        return self.started_at is not None and self.ended_at is None


@dataclass(frozen=True)
class DigestClaim:
    """The runs that one digest reports.

    id: identifies the claim; Message-IDs are derived from the id, so that building the digest again does not change the Message-IDs.
    slot_key: identifies the due time. attempt: number of attempts to build the digest, including this attempt.
    """

    id: int
    name: str
    slot_key: str
    created_at: datetime
    run_ids: tuple[int, ...]
    attempt: int = field(default=1, compare=False)


@dataclass(frozen=True)
class DraftMessage:
    """A rendered e-mail that is to be added to the outbox.

    file_key: key of the .eml file in the file store.
    """

    message_id: str
    subject: str
    sender: str
    recipients: tuple[str, ...]
    file_key: str
    size_bytes: int


@dataclass(frozen=True)
class Message:
    """A message of the outbox.

    recipients: the recipients that the server has neither accepted nor refused yet.
    """

    id: int
    digest_id: int | None
    message_id: str
    subject: str
    sender: str
    recipients: tuple[str, ...]
    file_key: str
    size_bytes: int
    state: MessageState
    attempt: int
    created_at: datetime
    next_attempt_at: datetime
    sent_at: datetime | None
    last_error: str


@dataclass(frozen=True)
class RecipientResult:
    """The mail server's reply for one recipient.

    retry: whether the refusal is temporary (4xx).
    """

    address: str
    accepted: bool
    code: int = 0
    text: str = ""
    retry: bool = False
