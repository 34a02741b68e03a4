"""The operations that need the running service: reload, build digests, and fetch single pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from pipeline.heartbeat.http.operations.mending import MendingReport
from pipeline.heartbeat.http.operations.spider_drafts import DraftReport, SavedSpider, SpiderSource
from pipeline.settings.restart import ReloadReport
from pipeline.store.console.items import ItemFilter

ExportFormat = Literal["csv", "xlsx", "json"]


@dataclass(frozen=True)
class SendReport:
    """The result of a request to send a digest now. runs: the number of runs that it newly reports. id: of the digest that is built.

    With 0 runs, this is an earlier digest that was not built yet.
    """

    state: Literal["building", "nothing to report"]
    runs: int
    id: int | None = None


@dataclass(frozen=True)
class PreviewedMail:
    """A mail of a previewed digest. html: "" if the mail has none.

    subject, recipients: "" for a text for notification channels. attachments: names and sizes in bytes. has_news: False for a mail that says only
    that there is nothing new, which would not be sent. asked: what a language model was asked for the preview; "" if nothing.
    """

    name: str
    text: str
    html: str = ""
    subject: str = ""
    recipients: str = ""
    attachments: tuple[tuple[str, int], ...] = ()
    has_news: bool = True
    asked: str = ""


@dataclass(frozen=True)
class DigestTime:
    """A schedule of a digest. text: as in the settings; "" if it has none. words: in English. next_at: None if it is never due."""

    text: str
    words: str
    next_at: datetime | None


@dataclass(frozen=True)
class CheckReport:
    """The result of a check of the settings. output: what `pipeline check` prints."""

    valid: bool
    lines: list[str]


@dataclass(frozen=True)
class HostCookies:
    """The cookies of a session for one host. count: those that have not expired. expires: when the first of them does; None if none has an end."""

    host: str
    count: int
    expires: datetime | None


@dataclass(frozen=True)
class SessionState:
    """What a session of a spider has stored. storage: the sites of which it has web storage, in words."""

    hosts: list[HostCookies]
    storage: list[str]


class ServiceActions(Protocol):
    """What the service does for the pages and the API. All methods raise PipelineError for what a user may not do or cannot have."""

    async def reload(self) -> ReloadReport: ...

    async def send_digest(self, name: str) -> SendReport: ...

    async def preview_digest(self, name: str) -> list[PreviewedMail]: ...

    async def check(self, toml: str | None) -> CheckReport: ...

    def export_items(self, spider: str, form: ExportFormat, wanted: ItemFilter) -> AsyncGenerator[bytes, None]:
        """Yield the items of a spider as a file, in chunks."""
        ...

    async def digest_times(self) -> Mapping[str, Sequence[DigestTime]]: ...

    async def build_requested_digest(self, name: str, claim_id: int) -> None: ...

    async def suggest(self, url: str, *, render: bool, spider: str | None, name: str = "", schedule: str = "") -> Mapping[str, Any]: ...

    async def check_spider(self, toml: str, *, spider: str = "") -> DraftReport: ...

    async def try_spider(self, toml: str, url: str = "", *, spider: str = "") -> Mapping[str, Any]: ...

    async def save_spider(self, toml: str, *, spider: str = "", version: str = "") -> SavedSpider: ...

    async def spider_source(self, name: str) -> SpiderSource: ...

    async def mend_spider(self, name: str) -> MendingReport: ...

    async def apply_rules(self, name: str, number: str) -> SavedSpider: ...

    def next_slots(self, spider: str, count: int, *, paused_until: datetime | None) -> list[datetime]:
        """Return the next times at which a spider is due. paused_until: the end of its pause, at which a missed slot is caught up."""
        ...

    async def session_state(self, spider: str) -> SessionState: ...

    async def clear_cookies(self, spider: str) -> str:
        """Remove the cookies, the token and the web storage of a spider, and say what was removed. Raises UsageError while it runs."""
        ...
