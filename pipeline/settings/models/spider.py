"""[spiders.NAME]: what a spider fetches, extracts and downloads, when it runs, and its limits."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.registry import BUILT_IN_SPIDERS, DEFAULT_SPIDER
from pipeline.settings.fields.path_template import item_fields
from pipeline.settings.fields.scalars import (
    Duration,
    HttpUrl,
    Size,
    Table,
    duration_s,
    https_or_loopback,
    nearest,
)
from pipeline.settings.fields.schedule import Schedules
from pipeline.settings.fields.secret import Secret
from pipeline.settings.models.downloads import DownloadsTable
from pipeline.settings.models.extraction import (
    ItemsTable,
    PagesTable,
    Selector,
    WatchTable,
    check_extra,
    check_regexes,
)
from pipeline.settings.models.login import CookiesTable, LoginTable, check_statuses
from pipeline.settings.models.request import CONTROL_CHARACTERS, AuthTable, Start, check_encoding, check_headers


def _check_host(place: str) -> str:
    """A host with or without a port."""
    try:
        parts = urlsplit(f"//{place}")
        good = parts.port != 0 and bool(re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d+)?", place))
    except ValueError:
        good = False
    if not good:
        raise PydanticCustomError("host", "{found} is not a host; write it as \"files.lan\" or \"files.lan:8090\"",
                                  {"found": repr(place)})
    return place


class BannedTable(Table):
    """How an answer shows that the proxy is banned. The proxy then pauses, and the request uses the next proxy of the pool."""

    status: tuple[int, ...] = ()
    """HTTP statuses that show that the proxy is banned."""
    present: Selector | None = None
    """Selector of something that only the answer to a banned proxy has."""

    _statuses = field_validator("status")(check_statuses)


def _catch_up(value: object) -> object:
    return None if value is True else 0.0 if value is False else duration_s(value)


CatchUp = Annotated[float | None, BeforeValidator(_catch_up), WithJsonSchema({"type": ["boolean", "string"]})]


class RetryTable(Table):
    """How often a failed run is tried again. A wrong password or a mistake in a rule is not tried again."""

    times: int = Field(0, ge=0, le=7)
    """Number of further runs for one slot."""
    wait: Duration = 60.0
    """Wait before the first of them; it doubles each time."""
    max_wait: Duration = 3600.0
    """Longest wait."""
    outcomes: tuple[Literal["failed", "timed_out", "killed"], ...] = ("failed", "timed_out", "killed")
    """Outcomes that are tried again."""


class SpiderTable(Table):
    """A spider: what it fetches, extracts and downloads, when it runs and within which limits."""

    spider: str = DEFAULT_SPIDER
    """Name of a built-in spider (spiders.md lists them), or a class of yours as "module:Class"."""
    tags: tuple[str, ...] = ()
    """Words by which digests and their groups choose spiders."""
    schedule: Schedules = ()
    """When it runs: cron, "every 30m", "daily at 07:00", a table with these and more, or a list."""
    after: tuple[str, ...] = ()
    """Spiders after whose successful passes it runs, once for each pass."""
    catch_up: CatchUp = None
    """Whether a slot that was missed while no service ran is run late: true, false, or for how long after its due time."""
    overlap: Literal["skip", "queue", "kill"] = "skip"
    """What happens to a slot while the spider is running: it is skipped, queued, or replaces the run."""
    retry: RetryTable = RetryTable()
    """How often a failed run is tried again."""
    start: tuple[Start, ...] = ()
    """URLs or requests that a crawl begins with."""
    follow: tuple[Selector, ...] = ()
    """Selectors of the links to follow."""
    download: tuple[Selector, ...] = ()
    """Selectors of the files to download."""
    hosts: tuple[Annotated[str, AfterValidator(_check_host)], ...] = ()
    """Hosts ("name" or "name:port") that links may lead to, besides those of `start`."""
    allow: tuple[str, ...] = ()
    """Regular expressions; only links that match one of them are followed."""
    deny: tuple[str, ...] = ()
    """Regular expressions; links that match one of them are not followed."""
    drop_params: tuple[str, ...] = ()
    """Parameters of the query and the path to remove from links, besides those for tracking (utm_…, gclid, fbclid …)."""
    pages: PagesTable | None = None
    """Numbered pages: by page, offset or cursor, in the URL, a form or JSON."""
    items: ItemsTable | None = None
    """How items are extracted."""
    watch: WatchTable = WatchTable()
    """For the watch spider: which part of a page is compared, and what in it is ignored."""
    login: LoginTable | None = None
    """How the spider logs in."""
    auth: AuthTable | None = None
    """HTTP authentication of pages, files, robots.txt and the login, at the origins of `start` only."""
    cookies: CookiesTable | None = None
    """Cookies to import."""
    login_cookies: tuple[str, ...] = ()
    """Names of the cookies that carry the login and whose expiry raises an alert; those set by the login by default."""
    proxy: str | None = None
    """A name in [proxies], or "environment" for http_proxy, https_proxy and no_proxy."""
    banned: BannedTable = BannedTable()
    """How an answer shows that the proxy is banned."""
    max_pages: int = Field(0, ge=0)
    """Number of pages of one pass; 0 for no limit. A run that reaches the limit is not complete."""
    max_depth: int = Field(0, ge=0)
    """Number of links between a start and a page; 0 for no limit. Pages beyond it do not belong to the pass."""
    max_time: Duration | None = None
    """Time after which no further page is fetched. The run then succeeds, but is not complete."""
    concurrency: int = Field(4, ge=1, le=256)
    """Number of requests to one host at the same time."""
    processes: int = Field(1, ge=1, le=16)
    """Number of processes that fetch one pass together and share `concurrency`; for the built-in spiders."""
    delay: Duration = 0.0
    """Time between two requests to one host, by all spiders with a delay."""
    throttle: bool = False
    """Whether Scrapy's AutoThrottle adapts the number of requests to the speed of the site, up to `concurrency`."""
    patience: Duration = 600.0
    """Longest Retry-After or Crawl-delay to wait for; beyond it the page fails for this run."""
    quiet: tuple[str, ...] = ()
    """Hours without requests, such as "22:00-06:00", in the time zone of [pipeline]; a run then saves its progress and stops."""
    revalidate: bool = True
    """Whether pages with an ETag or Last-Modified are cached in data_dir/cache and fetched again only when they changed."""
    page_cache: Size = Field(10**9, ge=10**6, validate_default=False)
    """Disk space of cached pages of this spider, compressed; those unused the longest are deleted first."""
    robots: bool = True
    """Whether robots.txt is obeyed."""
    encoding: str | None = None
    """Encoding of pages, where they declare a wrong one."""
    pdf: bool = False
    """Whether PDFs are read as pages of text: a section#page-N for each page, a p for each line. Needs the extra `pdf`."""
    headers: dict[str, str | Secret] = Field(default_factory=dict)
    """Headers that are sent to the origins of start and login and of headers_for, and to no other."""
    headers_for: tuple[HttpUrl, ...] = ()
    """Further origins, such as "https://cdn.example", that get `headers` and the bodies of requests."""
    user_agent: str | None = None
    """User-Agent header; by default it names this program and pipeline.contact."""
    ca_file: str | None = None
    """PEM file with further certificate authorities to trust."""
    insecure_tls: bool | tuple[str, ...] = False
    """Hosts whose certificates are not verified; true for those of start and login."""
    timeout: Duration = 60.0
    """Limit for one request, from its start to the last byte."""
    retries: int = Field(2, ge=0, le=20)
    """Number of times a failed request is repeated."""
    max_page_size: Size = Field(32 * 10**6, validate_default=False)
    """Largest size of a page, decompressed."""
    time_limit: Duration = 6 * 3600.0
    """Limit for one run; the run is ended beyond it."""
    memory_limit: Size = Field(2 * 10**9, validate_default=False)
    """Memory limit of a run's process; the run is ended beyond it."""
    page_cpu_limit: Duration = 20.0
    """CPU time to parse and extract one page; a page that takes more is set aside."""
    downloads: DownloadsTable = DownloadsTable()
    """How files are fetched and stored."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for a Python spider."""
    beat: Secret | HttpUrl | None = None
    """An https URL of a dead man's switch that is told when a run starts, succeeds or fails."""

    @field_validator("beat")
    @classmethod
    def _beat_is_https(cls, value: str | Secret | None) -> str | Secret | None:
        return https_or_loopback(value)

    @field_validator("start", "after", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, (str, dict)) else value

    @field_validator("spider")
    @classmethod
    def _spider_name(cls, value: str) -> str:
        if value in BUILT_IN_SPIDERS or re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
            return value
        raise PydanticCustomError("spider", "no spider named {found}; known: {known}, or \"module:Class\"",
                                  {"found": repr(value), "known": ", ".join(BUILT_IN_SPIDERS)})

    @field_validator("encoding")
    @classmethod
    def _codec(cls, value: str | None) -> str | None:
        return check_encoding(value)

    @field_validator("insecure_tls")
    @classmethod
    def _bare_hosts(cls, value: bool | tuple[str, ...]) -> bool | tuple[str, ...]:
        for host in value if isinstance(value, tuple) else ():
            if not re.fullmatch(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]", host):
                raise PydanticCustomError("host", "{found} is not a host; write only the name, such as \"files.lan\"",
                                          {"found": repr(host)})
        return value

    @field_validator("quiet")
    @classmethod
    def _spans(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for span in value:
            if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", span) or span[:5] == span[6:]:
                raise PydanticCustomError("quiet", "{found} are not quiet hours; write them as \"22:00-06:00\"",
                                          {"found": repr(span)})
        return value

    @field_validator("pdf")
    @classmethod
    def _pdf_reader(cls, value: bool) -> bool:
        if value:
            check_extra("pypdfium2", "pdf")
        return value

    _patterns = field_validator("allow", "deny")(check_regexes)
    _own_headers = field_validator("headers")(check_headers)

    @field_validator("user_agent")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and CONTROL_CHARACTERS.search(value):
            raise PydanticCustomError("header", "contains a line break or control character; remove it")
        return value

    @model_validator(mode="after")
    def _processes_share(self) -> SpiderTable:
        if self.processes == 1:
            return self
        if not self.is_built_in:
            raise PydanticCustomError("processes", "processes works only with built-in spiders, because a Python spider may keep "
                                      "state in memory, which processes do not share")
        if self.concurrency < self.processes:
            raise PydanticCustomError("processes", "concurrency = {concurrency} is too low for processes = {processes}: "
                                      "each process needs at least one request", {
                                          "concurrency": self.concurrency, "processes": self.processes})
        if self.throttle:
            raise PydanticCustomError("processes", "give throttle or processes, not both: a process cannot measure how fast the "
                                      "site answers the others")
        return self

    @model_validator(mode="after")
    def _has_work(self) -> SpiderTable:
        if self.is_built_in and not self.start:
            raise PydanticCustomError("start", "start is missing: give at least one URL")
        if self.auth is not None and not self.start:
            raise PydanticCustomError("auth", "auth needs start: it is sent only to the origins of the start URLs")
        if self.items is not None and self._declares_items and not self.items.fields:
            raise PydanticCustomError("items", "items.fields is missing: name at least one field")
        if self._declares_items:
            known = self.items.all_fields if self.items is not None else {}
            for name in item_fields(self.downloads.path):
                if name not in known and name.partition(".")[0] not in known:
                    raise PydanticCustomError("path", "downloads.path names {name}, which is not a field of its items{hint}",
                                              {"name": "{item." + name + "}", "hint": nearest(name, known)})
        if self.pages is not None and self.pages.cursor is None and self.items is None:
            raise PydanticCustomError("items", "pages needs items, since the first page without items is the last, or a cursor")
        if self.pages is not None and self.pages.where != "query" and self.pages.state is None and any(
                getattr(start, "form" if self.pages.where == "form" else "json_") is None for start in self.start):
            raise PydanticCustomError("start", "every start needs {where} = …, in which pages sets the number",
                                      {"where": self.pages.where})
        return self

    @property
    def is_built_in(self) -> bool:
        """Whether `spider` names a built-in spider, not a class of the user's."""
        return self.spider in BUILT_IN_SPIDERS

    @property
    def _declares_items(self) -> bool:
        return self.is_built_in and BUILT_IN_SPIDERS[self.spider].declares_items
