"""The root model of settings.toml, with [pipeline], [proxies], [retention], [logs] and [demo]."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.languages import PAGE_LANGUAGES
from pipeline.settings.fields.scalars import (
    Duration,
    Size,
    Table,
    ZoneName,
)
from pipeline.settings.fields.schedule import Days, DayTexts, parse_days
from pipeline.settings.fields.secret import Secret
from pipeline.settings.fields.storage_url import split_storage_url
from pipeline.settings.models.ai import AiTable
from pipeline.settings.models.archive import ArchiveTable
from pipeline.settings.models.cluster import ClusterTable
from pipeline.settings.models.digest import DigestTable
from pipeline.settings.models.heartbeat import HeartbeatTable
from pipeline.settings.models.mail import AlertsTable, MailTable
from pipeline.settings.models.render import BrowserTable
from pipeline.settings.models.spider import SpiderTable

if TYPE_CHECKING:
    PageLanguage = str
else:  # type checkers do not support a computed Literal
    PageLanguage = Literal[PAGE_LANGUAGES]
"""The languages of the heartbeat's pages."""

_PASSWORD_IN_URL = re.compile(r"://[^:/?#@]*:[^@]+@|[?&](ssl)?password=[^&]")


class S3Table(Table):
    """How the object store of `storage` is accessed."""

    endpoint: str = ""
    """URL of the server, such as "https://minio.example.com". The default is the environment variable AWS_ENDPOINT_URL, or Amazon's
    server in the region."""
    region: str = ""
    """Region of the bucket. The default is the environment variable AWS_REGION."""
    access_key: Secret | None = None
    """Access key. The default is the environment variable AWS_ACCESS_KEY_ID, or what the machine gives to its programs."""
    secret_key: Secret | None = None
    """Secret key. The default is the environment variable AWS_SECRET_ACCESS_KEY, or what the machine gives to its programs."""
    allow_http: bool = False
    """Whether the server may be used without TLS. A server on this machine always may."""
    cache_size: Size = Field(10**9, validate_default=False)
    """Maximum size of the copies of files that a node keeps in data_dir/cache/objects."""


class PipelineTable(Table):
    """Where data is stored, the time zone, and limits of the whole program."""

    data_dir: str = "var"
    """Folder for everything that the program writes: database, cookie jars, downloads, messages, logs."""
    timezone: ZoneName = "UTC"
    """IANA time zone of schedules and of displayed times."""
    language: PageLanguage = "en"
    """Language of the heartbeat's pages. Digests and alerts have a `language` of their own."""
    max_runs: int = Field(2, ge=1, le=64)
    """Maximum number of runs at the same time; with PostgreSQL, of each process that performs runs."""
    contact: str = ""
    """Address that is added to the User-Agent header, so that the operator of a site can contact you."""
    database: str | Secret | None = None
    """URL of the database. The default is SQLite in data_dir. A URL with a password must be a secret."""
    storage: str | None = None
    """Where files are stored: an object store such as "s3://bucket/prefix" (the extra `s3`). The default is data_dir."""
    s3: S3Table = S3Table()
    """How the object store of `storage` is accessed."""
    fast_engine: bool = True
    """Whether crawls use the program's fast engine instead of Scrapy's own engine. With a version of Scrapy for which the fast engine
    was not tested, Scrapy's engine is always used."""
    keep_free: Size = Field(200 * 10**6, validate_default=False)
    """Disk space that downloads must leave free."""
    downloads_quota: Size | None = Field(None, validate_default=False)
    """Maximum size of the downloaded files of all spiders together. Beyond this size the oldest files are deleted."""
    shutdown_grace: Duration = 20.0
    """How long a service that is being stopped (SIGTERM) waits for its runs to save their progress."""

    @field_validator("storage")
    @classmethod
    def _names_a_bucket(cls, storage: str | None) -> str | None:
        if storage is not None:
            try:
                split_storage_url(storage)
            except ValueError as error:
                kind = "secret" if re.search("[@?]", storage) else "storage"  # a secret is not shown
                raise PydanticCustomError(kind, "{why}", {"why": str(error)}) from error
        return storage

    @field_validator("database")
    @classmethod
    def _no_plain_password(cls, database: str | Secret | None) -> str | Secret | None:
        if isinstance(database, str) and _PASSWORD_IN_URL.search(database):
            raise PydanticCustomError("secret", "the URL contains a password, and passwords are not allowed in the settings file; replace the whole "
                                      "URL by a secret: { env = \"NAME\" } or { file = \"path\" }")
        return database


class KeepTable(Table):
    """How many records are kept, and for how long.

    `"30d"` limits the age, `1000` limits the number, and `{ age = "30d", count = 1000 }` limits both. `{}` keeps everything.
    """

    age: Duration | None = None
    """Entries older than this are deleted."""
    count: int | None = Field(None, ge=0)
    """Number of entries to keep; the oldest entries beyond this number are deleted."""

    @model_validator(mode="before")
    @classmethod
    def _in_short(cls, value: object) -> object:
        if isinstance(value, str):
            return {"age": value}
        return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value


Level = Literal["debug", "info", "warning", "error"]


class LogsTable(Table):
    """How much is logged: `level` is the default for all parts, the other levels apply to one part each."""

    level: Level = "info"
    """Level of all parts for which no other level is set."""
    service: Level | None = None
    """Level of the service."""
    schedule: Level | None = None
    """Level of schedules."""
    crawl: Level | None = None
    """Level of crawls."""
    download: Level | None = None
    """Level of downloads."""
    session: Level | None = None
    """Level of sessions: logins, cookies, proxies."""
    mail: Level | None = None
    """Level of mail."""
    heartbeat: Level | None = None
    """Level of the heartbeat server."""
    store: Level | None = None
    """Level of the store."""
    scrapy: Level | None = None
    """Level of Scrapy."""
    max_size: Size = Field(10 * 10**6, validate_default=False)
    """Size at which a run's log is renamed to NAME.log.1 and a new log is started."""

    @property
    def parts(self) -> dict[str, str | None]:
        """The level of each part, by name of the part. None means that `level` applies."""
        return {name: level for name, level in self if name not in ("level", "max_size")}


class RetentionTable(Table):
    """How long records are kept.

    Changes that a digest has yet to report and messages that the outbox has yet to send are always kept.
    """

    runs: KeepTable = KeepTable.model_validate("365d")
    """Runs of each spider, with their changes and digests. The last 20 runs and the last successful run are always kept."""
    pages: KeepTable = KeepTable.model_validate({"age": "7d", "count": 1_000_000})
    """Records of fetched pages, pages saved for digests, and pictures of watched pages. The last picture of each page is always kept."""
    messages: KeepTable = KeepTable.model_validate({"age": "90d", "count": 10_000})
    """Messages that were sent or dropped."""
    logs: KeepTable = KeepTable.model_validate({"age": "30d", "count": 10_000})
    """Logs of runs and of digests."""


class ProxyTable(Table):
    """A proxy whose password is a secret.

    A proxy without a password can also be written as a URL: `office = "http://127.0.0.1:3128"`.
    """

    url: str
    """URL of the proxy, such as "socks5h://10.0.0.1:1080"."""
    user: str | None = None
    """User name for the proxy."""
    password: Secret | None = None
    """Password for the proxy."""


Proxy = str | ProxyTable | tuple[str | ProxyTable, ...]


class DemoTable(Table):
    """The bundled demo site. Remove this table when you no longer need the demo site."""

    host: Literal["127.0.0.1"] = "127.0.0.1"
    """Address of the bundled demo site."""
    port: int = Field(8081, ge=0, le=65535)
    """Port of the bundled demo site; 0 chooses a free port."""


class Settings(Table):
    """The whole of settings.toml.

    file: the path of settings.toml. folder: the folder of settings.toml, from which relative paths start.
    """

    pipeline: PipelineTable = PipelineTable()
    """Where data is stored, the time zone, and limits of the whole program."""
    heartbeat: HeartbeatTable = HeartbeatTable()
    """The heartbeat server."""
    mail: MailTable = MailTable.model_construct(from_="Pipeline <pipeline@localhost>")
    """How messages are sent."""
    proxies: dict[str, Proxy] = Field(default_factory=dict)
    """Proxies by name: a URL, a table, or a list of URLs and tables, which is a pool."""
    browser: BrowserTable = BrowserTable()
    """Which browser renders pages."""
    archive: ArchiveTable = ArchiveTable()
    """How long archived pages are kept, and who confirms when they were archived."""
    cluster: ClusterTable = ClusterTable()
    """How several nodes share the work. Only used with PostgreSQL."""
    alerts: AlertsTable = AlertsTable()
    """Who receives mails about problems."""
    retention: RetentionTable = RetentionTable()
    """How long records are kept."""
    logs: LogsTable = LogsTable()
    """Levels and size of logs."""
    calendars: dict[str, DayTexts] = Field(default_factory=dict)
    """Lists of days by name, which `skip` of a schedule can refer to."""
    spiders: dict[str, SpiderTable] = Field(default_factory=dict)
    """Spiders by name."""
    digests: dict[str, DigestTable] = Field(default_factory=dict)
    """Digests by name."""
    ai: AiTable | None = None
    """The language model that digests may use."""
    demo: DemoTable | None = None
    """The bundled demo site; the service serves it while this table is present."""
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
        """Return whether a digest attaches the pages on which this spider found new or changed items."""
        return any("pages" in digest.attach and spider in digest.spiders for digest in self.digests.values())

    @property
    def database_url(self) -> str | None:
        """The URL of the database; None means SQLite in data_dir.

        If the setting is a secret, the secret is read. Raises UsageError if it cannot be read.
        """
        found = self.pipeline.database
        return found.reveal() if isinstance(found, Secret) else found

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.pipeline.timezone)

    def days(self, entries: tuple[str, ...]) -> Days:
        """Return the days that the entries of a schedule's `skip` setting stand for.

        The name of a calendar stands for all days of the calendar.
        """
        return parse_days([day for entry in entries for day in self.calendars.get(entry, (entry,))])

    def followers(self, name: str) -> list[str]:
        """Return the spiders that run after the spider `name`."""
        return [other for other, table in self.spiders.items() if name in table.after]

    def for_run(self, name: str) -> Settings:
        """Return the part of the settings that a run of the spider `name` needs.

        Only this part is sent to the child process of the run, because sending the settings of ten thousand spiders takes long.
        Of the digests, the run needs those that attach its pages (see `keeps_pages`).
        """
        wanted = (name, *self.followers(name))
        return self.model_copy(update={
            "spiders": {each: self.spiders[each] for each in wanted},
            "digests": {each: digest for each, digest in self.digests.items() if "pages" in digest.attach and name in digest.spiders}})
