"""The records and enums of the vocabulary: Run, Item, Change, Page, Download, Message, their states.

Datetimes are aware and in UTC; `_s` is seconds, `_bytes` is bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pipeline.price import same

Json = Any
"""What json.dumps takes: dict, list, str, int, float, bool, None."""


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
"""The reason of a dry run: its store is deleted afterwards, and it downloads no files."""


class ChangeKind(StrEnum):
    """The kinds of change of an item between two passes."""

    NEW = "new"
    CHANGED = "changed"
    GONE = "gone"
    BACK = "back"


class FrontierState(StrEnum):
    """The state of a request in the frontier.

    tentative: found on a page that is not committed yet; forgotten: was tentative, but its page was fetched without a login;
    aside: set aside because it ended its process; missed: failed, so its content is unknown.
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

    waiting: not accepted for all recipients; sent: accepted (refusals are in the recipients); parked: given up until
    `pipeline outbox retry`; dropped: given up by `pipeline outbox drop`.
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
    """A page to fetch, as the frontier stores it: everything in it is JSON.

    callback: name of the spider's method, "" for its default. Change no request, but make another one with `replace`; to
    freeze it would make a crawl, which makes one of each link, a percent slower.
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
    """A record with a key within its spider."""

    key: str
    data: dict[str, Json]


@dataclass(frozen=True)
class Change:
    """A change of an item. before is {} for new items, after is {} for gone ones.

    page_key: file key of the saved page, where digests attach pages.
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
        """Names of the fields that differ, in the order of the item. Prices are compared by currency and amount."""
        names = list(dict.fromkeys([*self.after, *self.before]))
        return [name for name in names if not same(self.before.get(name), self.after.get(name))]


@dataclass(frozen=True)
class LoginCookie:
    """A cookie with an expiry that carries a login. login_at: time of the login, or of the import where brought_in."""

    name: str
    site: str
    login_at: datetime
    brought_in: bool
    ends_at: datetime


@dataclass(frozen=True)
class Reject:
    """An item that was rejected, with the reason. key: "" where it has none."""

    reason: str
    data: dict[str, Json]
    key: str = ""


@dataclass(frozen=True)
class Download:
    """A file to download, yielded by a spider. name: the wished name, made safe before use.

    sha256: required hex digest, "" for any. headers are sent with the request.
    """

    url: str
    name: str = ""
    item_key: str = ""
    referer: str = ""
    sha256: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class QueuedDownload:
    """A download leased from the store, with what an earlier attempt or pass left.

    part_*: validators of the bytes in `part_key`; etag, last_modified, file_*: of the last complete version, with
    file_key "" where it was deleted because of a limit. item: the item that the file belongs to, {} for none.
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
    """One version of a downloaded file: key in the file store, size and SHA-256 (hex).

    run_id: None when the file outlived the record of its run.
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
    """One fetched response with everything extracted from it: the unit of commit.

    frontier_id: the row it answers, None when it was kept in memory only.
    error: why the page failed ("" when it did not), error_kind its class; transient: whether the error may pass.
    body: the page as found, where it is to be kept; file_key: where it is then. epoch: of the login it was asked for with.
    repeatable: whether its request may be sent twice. offsite: links that were left out because they lead to other hosts;
    redirected_host: a host that belongs to the site too, because a start redirected there.
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
        """The state of its frontier row after the commit."""
        if not self.error:
            return FrontierState.DONE
        return FrontierState.MISSED if self.transient or self.error_kind == "SpiderError" else FrontierState.FAILED


@dataclass
class Progress:
    """Counters of a run, shown in its row, in `status` and on the terminal."""

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
    """A download in progress. total_bytes: None when the server did not announce it; rate in bytes per second."""

    name: str
    done_bytes: int
    total_bytes: int | None
    rate_bytes_s: float

    @property
    def left_s(self) -> float | None:
        """Seconds left at this rate; None when unknown."""
        if self.total_bytes is None or self.rate_bytes_s <= 0:
            return None
        return max(0, self.total_bytes - self.done_bytes) / self.rate_bytes_s


def together(transfers: Sequence[Transfer]) -> Transfer:
    """The sum of transfers; its total is known when each of theirs is."""
    totals = [each.total_bytes for each in transfers]
    known = [total for total in totals if total is not None]
    return Transfer("", sum(each.done_bytes for each in transfers), sum(known) if len(known) == len(totals) else None,
                    sum(each.rate_bytes_s for each in transfers))


@dataclass(frozen=True)
class Run:
    """One attempt at a pass. reason: schedule, catch-up, after or manual as its slot's; resume or retry.

    not_before: it waits until then. transfers: downloads in progress, as of its last report.
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
    """The runs that one digest reports. slot_key names the due time, id makes its Message-IDs stable.

    attempt: number of times it was leased, including this time.
    """

    id: int
    name: str
    slot_key: str
    created_at: datetime
    run_ids: tuple[int, ...]
    attempt: int = field(default=1, compare=False)


@dataclass(frozen=True)
class DraftMessage:
    """A rendered e-mail on its way into the outbox. file_key: the .eml in the file store."""

    message_id: str
    subject: str
    sender: str
    recipients: tuple[str, ...]
    file_key: str
    size_bytes: int


@dataclass(frozen=True)
class Message:
    """A message of the outbox. recipients: those not yet accepted or refused."""

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
    """The mail server's answer for one recipient; retry: a temporary refusal (4xx)."""

    address: str
    accepted: bool
    code: int = 0
    text: str = ""
    retry: bool = False
