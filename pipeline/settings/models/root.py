"""The whole of settings.toml, with [pipeline], [proxies], [retention], [logs] and [demo]."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import (
    Duration,
    Secret,
    Size,
    Table,
    ZoneName,
)
from pipeline.settings.fields.schedule import Days, DayTexts, parse_days
from pipeline.settings.models.digest import DigestTable
from pipeline.settings.models.heartbeat import HeartbeatTable
from pipeline.settings.models.mail import AlertsTable, MailTable
from pipeline.settings.models.spider import SpiderTable

_PASSWORD_IN_URL = re.compile(r"://[^:/?#@]*:[^@]+@|[?&](ssl)?password=[^&]")


class PipelineTable(Table):
    data_dir: str = "var"
    timezone: ZoneName = "UTC"
    max_runs: int = Field(2, ge=1, le=64)
    contact: str = ""
    database: str | Secret | None = None
    """Where the store is; by default SQLite in data_dir. A URL with a password is a secret."""
    keep_free: Size = Field(200 * 10**6, validate_default=False)
    """Bytes of disk that downloads leave free."""
    downloads_quota: Size | None = Field(None, validate_default=False)
    """The oldest downloaded files of all spiders are deleted when they take more together."""
    shutdown_grace: Duration = 20.0
    """How long SIGTERM waits for runs to checkpoint."""

    @field_validator("database")
    @classmethod
    def _no_plain_password(cls, database: str | Secret | None) -> str | Secret | None:
        if isinstance(database, str) and _PASSWORD_IN_URL.search(database):
            raise PydanticCustomError("secret", "has a password in it, which is never written here; put the whole URL "
                                      "where { env = \"NAME\" } or { file = \"path\" } says")
        return database


class KeepTable(Table):
    """How much of something stays. `"30d"` is an age, `1000` a count, `{ age = "30d", count = 1000 }` both; `{}`: all."""

    age: Duration | None = None
    count: int | None = Field(None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _in_short(cls, value: object) -> object:
        if isinstance(value, str):
            return {"age": value}
        return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value


Level = Literal["debug", "info", "warning", "error"]


class LogsTable(Table):
    """How much is told. level: of everything; the others of one part."""

    level: Level = "info"
    service: Level | None = None
    schedule: Level | None = None
    crawl: Level | None = None
    download: Level | None = None
    session: Level | None = None
    mail: Level | None = None
    heartbeat: Level | None = None
    store: Level | None = None
    scrapy: Level | None = None
    max_size: Size = Field(10 * 10**6, validate_default=False)
    """A run's log that is larger begins anew; what was before is kept as NAME.log.1."""

    @property
    def parts(self) -> dict[str, str | None]:
        """The level of each part; None: that of everything."""
        return {name: level for name, level in self if name not in ("level", "max_size")}


class RetentionTable(Table):
    """What a digest has yet to tell, or the outbox to send, stays whatever stands here."""

    runs: KeepTable = KeepTable.model_validate("365d")
    """Runs of each spider, with their changes and digests. The last 20 and the last success always stay."""
    pages: KeepTable = KeepTable.model_validate({"age": "7d", "count": 1_000_000})
    """Which pages were fetched, and pages saved for digests."""
    messages: KeepTable = KeepTable.model_validate({"age": "90d", "count": 10_000})
    """Messages that were sent or dropped."""
    logs: KeepTable = KeepTable.model_validate({"age": "30d", "count": 10_000})
    """Logs of runs, and of digests."""


class ProxyTable(Table):
    """A proxy with its password kept out of the URL."""

    url: str
    user: str | None = None
    password: Secret | None = None


Proxy = str | ProxyTable | tuple[str | ProxyTable, ...]


class DemoTable(Table):
    host: Literal["127.0.0.1"] = "127.0.0.1"
    port: int = Field(8081, ge=0, le=65535)


class Settings(Table):
    """The whole of settings.toml. file: its path; folder: what relative paths start from."""

    pipeline: PipelineTable = PipelineTable()
    heartbeat: HeartbeatTable = HeartbeatTable()
    mail: MailTable = MailTable.model_construct(from_="Pipeline <pipeline@localhost>")
    proxies: dict[str, Proxy] = Field(default_factory=dict)
    alerts: AlertsTable = AlertsTable()
    retention: RetentionTable = RetentionTable()
    logs: LogsTable = LogsTable()
    calendars: dict[str, DayTexts] = Field(default_factory=dict)
    """Days by name, for the `skip` of schedules."""
    spiders: dict[str, SpiderTable] = Field(default_factory=dict)
    digests: dict[str, DigestTable] = Field(default_factory=dict)
    demo: DemoTable | None = None
    file: Annotated[str, Field(exclude=True)] = ""

    @model_validator(mode="after")
    def _tags_name_spiders(self) -> Settings:
        tags_of = {name: spider.tags for name, spider in self.spiders.items()}
        self.digests.update({name: digest.with_tagged(tags_of) for name, digest in self.digests.items()})
        return self

    @cached_property
    def folder(self) -> Path:
        return Path(self.file).absolute().parent if self.file else Path.cwd()

    @cached_property
    def data_dir(self) -> Path:
        return self.folder / Path(self.pipeline.data_dir).expanduser()

    def keeps_pages(self, spider: str) -> bool:
        """Whether a digest attaches the pages on which this spider found something."""
        return any("pages" in digest.attach and spider in digest.spiders for digest in self.digests.values())

    @property
    def database_url(self) -> str | None:
        """The store's URL, revealed where it is a secret; None for SQLite in data_dir."""
        found = self.pipeline.database
        return found.reveal() if isinstance(found, Secret) else found

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.pipeline.timezone)

    def days(self, entries: tuple[str, ...]) -> Days:
        """The days that a `skip` names, calendars spelled out."""
        return parse_days([day for entry in entries for day in self.calendars.get(entry, (entry,))])

    def followers(self, name: str) -> list[str]:
        """The spiders that run after it."""
        return [other for other, table in self.spiders.items() if name in table.after]

    def for_run(self, name: str) -> Settings:
        """What a run of that spider needs of them: with ten thousand spiders, all of it takes long to hand over."""
        wanted = (name, *self.followers(name))
        return self.model_copy(update={"spiders": {each: self.spiders[each] for each in wanted}, "digests": {}})
