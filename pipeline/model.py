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
    """How one run ended.

    killed: the run's process was killed, or ended unexpectedly. abandoned: the run's lease expired, because the service that
    supervised the run ended as well. skipped: the run was never started.
    """

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


class DownloadState(StrEnum):
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class MessageState(StrEnum):
    """The state of a message in the outbox.

    waiting: the mail server has not accepted the message for every recipient yet. sent: the server accepted the message for at least
    one recipient, and refused all others. parked: delivery was given up until a person runs `pipeline outbox retry`. dropped: never
    sent, because a person ran `pipeline outbox drop`, or because its digest is built again with less (see `Rebuild`).
    """

    WAITING = "waiting"
    SENT = "sent"
    PARKED = "parked"
    DROPPED = "dropped"


class RecipientState(StrEnum):
    """The state of one recipient of a message. rebuilt: refused, and the digest is built again for this recipient."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    REBUILT = "rebuilt"


class Health(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"


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
class Item:
    """A record that a spider extracts, with a key that identifies the record within its spider."""

    key: str
    data: dict[str, Json]


@dataclass(frozen=True)
class Change:
    """A change of an item: the item is new, changed, gone or back.

    before: the fields before the change; {} for a new item. after: the fields after the change; {} for a gone item. page_key: key in
    the file store of the saved page on which the change was found; "" if no digest attaches pages.
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
        """The names of the fields that the change affects, in the order of the item's fields.

        Two prices with the same amount and currency count as equal, even if their texts differ.
        """
        names = list(dict.fromkeys([*self.after, *self.before]))
        return [name for name in names if not same(self.before.get(name), self.after.get(name))]


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


@dataclass(frozen=True)
class Reject:
    """An item that failed validation, with the reason.

    key: the item's key; "" if the item has no key.
    """

    reason: str
    data: dict[str, Json]
    key: str = ""


@dataclass(frozen=True)
class Download:
    """A file to download, yielded by a spider.

    name: the requested file name, which is made safe before the file is stored; "" lets the program choose a name. sha256: the
    SHA-256 that the file must have, in hex; "" accepts any content. headers: HTTP headers to send with the request.
    """

    url: str
    name: str = ""
    item_key: str = ""
    referer: str = ""
    sha256: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class QueuedDownload:
    """A download leased from the store, with what earlier attempts and passes recorded about the file.

    part_key: key of the partial download that an earlier attempt left. part_etag, part_last_modified, part_length: ETag, Last-Modified
    and length of the response that the partial download is the beginning of. etag, last_modified, file_key, file_sha256, file_size:
    describe the last complete version of the file; file_key is "" if this version was deleted because of a limit. item: the item to
    which the file belongs; {} if the file belongs to no item.
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

    key: key in the file store. sha256: SHA-256 of the content in hex. run_id: id of the run that downloaded the file; None if the
    database no longer contains this run. referer: URL of the page on which the file was found; "" if it is unknown.
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
    referer: str = ""


@dataclass(frozen=True)
class PictureRequest:
    """A picture to fetch for a mail, with the session of a spider. page: URL of a page that shows the picture, or ""."""

    spider: str
    url: str
    page: str = field(default="", compare=False)


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

    @property
    def end_state(self) -> FrontierState:
        """The state that the page's request has in the frontier after the page is committed."""
        if not self.error:
            return FrontierState.DONE
        return FrontierState.MISSED if self.transient or self.error_kind == "SpiderError" else FrontierState.FAILED


@dataclass
class Progress:
    """Counters of a run, which `pipeline run`, `pipeline history` and the heartbeat show."""

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
    """Return one Transfer with the sums of several transfers.

    total_bytes of the result is None unless the size of every file is known.
    """
    totals = [each.total_bytes for each in transfers]
    known = [total for total in totals if total is not None]
    return Transfer("", sum(each.done_bytes for each in transfers), sum(known) if len(known) == len(totals) else None,
                    sum(each.rate_bytes_s for each in transfers))


@dataclass(frozen=True)
class Run:
    """One attempt at a pass.

    reason: why the run was created: schedule, catch-up, after, manual, resume or retry. not_before: earliest time at which the run may
    start; None means now. transfers: the downloads in progress when the run last reported its progress.
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
class Rebuild:
    """Why and for whom a digest is built again: the mail server refused a message for its size or its content.

    digest_id: id of the digest that claimed the runs. message_id: id of a message that was refused first. recipients: the addresses for
    which it was refused. recipients_of: 0 if they are recipients of the digest itself, 1 for its first group, and so on. step: how much is
    left out, as an index of REBUILD_STEPS. max_bytes: largest message that the server accepts; None if unknown. reason: the server's reply.
    """

    digest_id: int
    message_id: int
    recipients: tuple[str, ...]
    recipients_of: int
    step: int
    max_bytes: int | None
    reason: str


REBUILD_STEPS = ("smaller attachments", "no attachments", "only the numbers of changes")
"""What a digest is built again with, one step after each refusal. After the last step, the message that was refused first is parked."""


@dataclass(frozen=True)
class Again:
    """A person's request to report runs again, whether or not the digest has reported them.

    run_ids: the runs. recipients: bare addresses of the only recipients of the mail; () for all recipients of the digest.
    """

    run_ids: tuple[int, ...]
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True)
class DigestClaim:
    """The runs that one digest reports.

    id: identifies the claim. The Message-IDs of the digest's mails are derived from this id, so they stay the same if the digest is
    built again. slot_key: identifies the due time of the digest. attempt: number of attempts to build the digest, including this one.
    rebuild: set if the digest was already sent, and a mail server refused one of its messages. again: set if a person requested to report
    the runs again.
    """

    id: int
    name: str
    slot_key: str
    created_at: datetime
    run_ids: tuple[int, ...]
    attempt: int = field(default=1, compare=False)
    rebuild: Rebuild | None = None
    again: Again | None = None


@dataclass(frozen=True)
class DraftMessage:
    """A rendered message that is to be added to the outbox: an e-mail, or a text for a notification channel.

    file_key: key of the .eml file, or of the JSON file with the text, in the file store. recipients_of: 0 for the recipients of a digest
    itself, 1 for those of its first group, and so on. channel: "" for an e-mail, otherwise the reference of the channel's URL, such as
    "env:SLACK_URL".
    """

    message_id: str
    subject: str
    sender: str
    recipients: tuple[str, ...]
    file_key: str
    size_bytes: int
    recipients_of: int = 0
    channel: str = ""


@dataclass(frozen=True)
class Message:
    """A message of the outbox.

    recipients: the recipients to whom the message is still to be delivered: the mail server has neither accepted nor refused them.
    channel: as in DraftMessage.
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
    channel: str = ""


@dataclass(frozen=True)
class RecipientResult:
    """The mail server's reply for one recipient.

    code, text: the reply code and the reply text. retry: whether the server refused the recipient only temporarily (4xx). content:
    whether the server refused the message for its size or its content, and not the recipient. max_bytes: the largest message that the
    server accepts; None if it did not say.
    """

    address: str
    accepted: bool
    code: int = 0
    text: str = ""
    retry: bool = False
    content: bool = False
    max_bytes: int | None = None
