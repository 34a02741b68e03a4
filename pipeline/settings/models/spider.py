"""[spiders.NAME]: what a spider fetches, extracts and downloads, when it runs, and its limits."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline.registry import BUILT_IN_SPIDERS, DEFAULT_SPIDER
from pipeline.settings.fields.path_template import item_fields
from pipeline.settings.fields.scalars import (
    Duration,
    HttpUrl,
    Size,
    Table,
    https_or_loopback,
    nearest,
)
from pipeline.settings.fields.schedule import Schedules
from pipeline.settings.fields.secret import Secret
from pipeline.settings.fields.spider_name import spider_hint
from pipeline.settings.models.archive import Archive
from pipeline.settings.models.display import DisplayTable
from pipeline.settings.models.downloads import DownloadsTable
from pipeline.settings.models.extraction import (
    ItemsTable,
    PagesTable,
    Selector,
    check_extra,
    check_regexes,
)
from pipeline.settings.models.login import CookiesTable, LoginTable, check_statuses
from pipeline.settings.models.render import SEEN_BLOCKED, Render
from pipeline.settings.models.request import CONTROL_CHARACTERS, AuthTable, Start, check_encoding, check_headers
from pipeline.settings.models.runs import MOST_AUTO_PROCESSES, CatchUp, ProcessCount, RetryTable
from pipeline.settings.models.watch import WatchTable


def _check_host(place: str) -> str:
    """Return `place` if it is a host with or without a port. Raises PydanticCustomError otherwise."""
    try:
        parts = urlsplit(f"//{place}")
        good = parts.port != 0 and bool(re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d+)?", place))
    except ValueError:
        good = False
    if not good:
        raise PydanticCustomError("host", "{found} is not a host; write a host such as \"files.lan\" or \"files.lan:8090\"",
                                  {"found": repr(place)})
    return place


class BannedTable(Table):
    """How a response shows that the proxy is banned.

    A banned proxy is not used for a while, and the request is sent again through the next proxy of the pool.
    """

    status: tuple[int, ...] = ()
    """HTTP statuses that show that the proxy is banned."""
    present: Selector | None = None
    """Selector of an element that appears only in responses to a banned proxy."""

    _statuses = field_validator("status")(check_statuses)


class SpiderTable(Table):
    """A spider: what it fetches, extracts and downloads, when it runs, and its limits."""

    project: str | None = None
    """A Scrapy project whose settings and components the spider uses: a folder with a scrapy.cfg file, or a module with settings. `spider`
    may then be a name that `scrapy list` shows. See scrapy-projects.md."""
    spider: str = DEFAULT_SPIDER
    """Name of a built-in spider (see spiders.md), or your own class as "module:Class" or "file.py:Class"."""
    tags: tuple[str, ...] = ()
    """Tags by which digests and their groups select spiders, and by which the heartbeat's pages filter them."""
    schedule: Schedules = ()
    """When the spider runs: cron, "every 30m", "daily at 07:00", a table with further options, or a list of schedules."""
    after: tuple[str, ...] = ()
    """Names of other spiders. This spider runs once after each successful pass of one of them."""
    catch_up: CatchUp = None
    """Whether a slot that was missed, because no service was running, is run later: true, false, or how long after its due time the
    slot may still be run."""
    overlap: Literal["skip", "queue", "kill"] = "skip"
    """What happens to a slot that becomes due while the spider is still running: "skip" omits the slot, "queue" delays the slot until
    the current run has ended, "kill" ends the current run and then runs the slot."""
    retry: RetryTable = RetryTable()
    """How often a failed run is retried."""
    start: tuple[Start, ...] = ()
    """URLs or requests with which a crawl begins."""
    follow: tuple[Selector, ...] = ()
    """Selectors of the links to follow."""
    download: tuple[Selector, ...] = ()
    """Selectors of the files to download."""
    hosts: tuple[Annotated[str, AfterValidator(_check_host)], ...] = ()
    """Hosts ("name" or "name:port") to which links may lead, in addition to the hosts of `start`."""
    public_only: bool = False
    """Whether private addresses are refused although `start`, `hosts` or `login` name them. Spiders that are added on the heartbeat's pages
    or through its API need it, unless another spider of the settings names the same hosts."""
    allow: tuple[str, ...] = ()
    """Regular expressions. Only links that match at least one expression are followed."""
    deny: tuple[str, ...] = ()
    """Regular expressions. Links that match an expression are not followed."""
    drop_params: tuple[str, ...] = ()
    """Names of parameters to remove from the query and the path of links. Tracking parameters (utm_…, gclid, fbclid …) are always
    removed."""
    render: Render | None = None
    """Whether pages are rendered in a browser before rules are applied: "browser", or a table. Without it, no browser is started."""
    pages: PagesTable | None = None
    """Numbered pages of a listing, which are requested by page number, offset or cursor in the URL, a form or a JSON body."""
    items: ItemsTable | None = None
    """How items are extracted."""
    allow_empty: bool = False
    """Whether it is normal that a pass finds nothing: no item, or no file for a spider that only downloads. By default, a run that finds
    nothing is suspect."""
    mend: Literal["propose", "auto", "off"] = "propose"
    """What happens when a run is suspect: "propose" looks for the stored items on the pages and proposes new rules in the alert and on
    the spider's page, "auto" also writes them to this file if at least 95 % of the known values agree on three pages, "off" does
    nothing."""
    watch: WatchTable = WatchTable()
    """For the watch spider: which part of a page is compared, and which text in this part is ignored."""
    login: LoginTable | None = None
    """How the spider logs in."""
    auth: AuthTable | None = None
    """HTTP authentication for pages, files, robots.txt and the login. The credentials are sent only to the origins of `start`."""
    cookies: CookiesTable | None = None
    """Cookies to import."""
    login_cookies: tuple[str, ...] = ()
    """Names of the cookies that keep the spider logged in. An alert is sent before such a cookie expires. The default is the cookies
    that the login sets."""
    proxy: str | None = None
    """Name of a proxy in [proxies], or "environment" for http_proxy, https_proxy and no_proxy."""
    banned: BannedTable = BannedTable()
    """How a response shows that the proxy is banned."""
    max_pages: int = Field(0, ge=0)
    """Maximum number of pages of one pass; 0 means no limit. A run that reaches the limit is not complete."""
    max_depth: int = Field(0, ge=0)
    """Maximum number of links from an entry in `start` to a page; 0 means no limit. Pages beyond the limit are not part of the pass."""
    max_time: Duration | None = None
    """How long a run may fetch pages. After this time, the run fetches no further page; it succeeds, but is not complete."""
    concurrency: int = Field(4, ge=1, le=256)
    """Maximum number of requests to one host at the same time."""
    processes: ProcessCount = 1
    """Number of processes that fetch one pass together and share `concurrency`. With "auto", a run of a built-in spider starts with one
    process. If one core limits a large crawl, more processes join it, up to four and up to the number of cores. A spider written in
    Python always has one process. On PostgreSQL with procrastinate, the processes may be on several nodes."""
    queue: str = Field("default", pattern=r"^[A-Za-z0-9_.-]{1,40}$")  # a notification of PostgreSQL has no room for more
    """Queue of the runs. With PostgreSQL, only workers with this queue perform them, such as "browser" or "eu"."""
    delay: Duration = 0.0
    """Minimum time between two requests to one host. The requests of all spiders with a delay are counted together."""
    throttle: bool = False
    """Whether Scrapy's AutoThrottle adapts the number of requests to the speed of the site, up to `concurrency`."""
    patience: Duration = 600.0
    """Longest wait that the spider accepts if a site demands one with Retry-After or Crawl-delay. If the site demands a longer wait, the
    page fails in this run."""
    quiet: tuple[str, ...] = ()
    """Hours without requests, such as "22:00-06:00", in the time zone of [pipeline]. A run then saves its progress and stops."""
    revalidate: bool = True
    """Whether pages with an ETag or Last-Modified header are cached in data_dir/cache and downloaded again only if they have changed."""
    page_cache: Size = Field(10**9, ge=10**6, validate_default=False)
    """Maximum disk space for the cached pages of this spider, compressed. The least recently used pages are deleted first."""
    robots: bool = True
    """Whether robots.txt is obeyed."""
    encoding: str | None = None
    """Encoding of pages, if the pages declare a wrong encoding."""
    pdf: bool = False
    """Whether PDF files are converted to HTML, so that selectors apply: each page becomes a `section#page-N`, each line a `p`. Needs
    the extra `pdf`."""
    headers: dict[str, str | Secret] = Field(default_factory=dict)
    """HTTP headers that are sent only to the origins of `start`, of `login` and of `headers_for`."""
    headers_for: tuple[HttpUrl, ...] = ()
    """Further origins, such as "https://cdn.example", to which `headers` and the bodies of requests are sent."""
    user_agent: str | None = None
    """User-Agent header. The default names this program and pipeline.contact."""
    ca_file: str | None = None
    """PEM file with additional certificate authorities to trust."""
    insecure_tls: bool | tuple[str, ...] = False
    """Hosts whose certificates are not verified; true means the hosts of `start` and `login`."""
    timeout: Duration = 60.0
    """Time limit for one request, from its start to the last byte of the response."""
    retries: int = Field(2, ge=0, le=20)
    """Maximum number of times that a failed request is repeated."""
    max_page_size: Size = Field(32 * 10**6, validate_default=False)
    """Maximum size of a page after decompression."""
    time_limit: Duration = 6 * 3600.0
    """Time limit for one run. A run that exceeds the limit is ended."""
    memory_limit: Size = Field(2 * 10**9, validate_default=False)
    """Memory limit for the processes of a run, with those that they start, such as a browser. A run that exceeds the limit is ended."""
    page_cpu_limit: Duration = 20.0
    """CPU time limit for parsing and extracting one page. A page that exceeds the limit is skipped for the rest of the pass."""
    downloads: DownloadsTable = DownloadsTable()
    """How files are downloaded, stored and kept."""
    archive: Archive = None
    """Whether requests and responses are archived as they were sent, as WARC files: true, "changed" for pages on which a change was found,
    or a table. See archive.md."""
    display: DisplayTable = DisplayTable()
    """How digests show the fields of the items."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for a spider that is written in Python, as `scrapy crawl -a` passes them."""
    jar: Literal["kept", "fresh"] = "kept"
    """For a spider that logs in itself: whether each pass goes on with the cookies of the pass before ("kept") or starts without cookies
    ("fresh")."""
    beat: Secret | HttpUrl | None = None
    """An https URL of an external monitor (dead man's switch), to which the start and the success or failure of each run are reported."""

    @model_validator(mode="before")
    @classmethod
    def _rendered_for_pictures(cls, given: Any) -> Any:
        """Have the pages rendered of which pictures are compared, with everything that one sees of them."""
        watch, render = (given.get("watch"), given.get("render")) if isinstance(given, dict) else (None, None)
        visual = watch.get("visual") if isinstance(watch, dict) else getattr(watch, "visual", None)
        if visual in (None, False) or given.get("spider") != "watch" or (render not in (None, "browser") and not isinstance(render, dict)):
            return given
        own = render if isinstance(render, dict) else {}
        return {**given, "render": {"block": SEEN_BLOCKED, **own}}

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
    def _spider_name(cls, value: str, info: ValidationInfo) -> str:
        if value in BUILT_IN_SPIDERS or re.fullmatch(r"([A-Za-z_][\w.-]*|[^:]+\.py):[A-Za-z_]\w*", value):
            return value
        if info.data.get("project") is not None and value and not CONTROL_CHARACTERS.search(value) and ":" not in value:
            return value
        raise PydanticCustomError("spider", "there is no built-in spider {found}{hint}; give one of {known}, or your own class as \"module:Class\"",
                                  {"found": repr(value), "known": ", ".join(BUILT_IN_SPIDERS), "hint": spider_hint(value)})

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
                raise PydanticCustomError("quiet", "{found} are not quiet hours; write a period such as \"22:00-06:00\"",
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
            raise PydanticCustomError("header", "the value contains a line break or control character; remove this character")
        return value

    @model_validator(mode="after")
    def _processes_share(self) -> SpiderTable:
        if self.processes in (1, "auto"):
            return self
        if not self.is_built_in:
            raise PydanticCustomError("processes", "`processes` works only with built-in spiders, because a spider in Python may keep "
                                      "state in memory, which processes do not share")
        if self.concurrency < int(self.processes):
            raise PydanticCustomError("processes", "concurrency = {concurrency} is too low for processes = {processes}: "
                                      "each process must be able to send at least one request at a time", {
                                          "concurrency": self.concurrency, "processes": self.processes})
        if self.throttle:
            raise PydanticCustomError("processes", "give either `throttle` or `processes`, not both: a process cannot measure how fast the "
                                      "site responds to the other processes")
        return self

    @model_validator(mode="after")
    def _has_work(self) -> SpiderTable:
        if self.project is not None and "spider" not in self.model_fields_set:
            raise PydanticCustomError("spider", "`project` needs `spider`: the name of one of its spiders, as `scrapy list` shows it")
        if self.jar == "fresh" and self.cookies is not None:
            raise PydanticCustomError("cookies", "give either `cookies` or jar = \"fresh\", which would remove the imported cookies")
        if self.is_built_in and not self.start:
            raise PydanticCustomError("start", "`start` is missing: give at least one URL")
        if self.auth is not None and not self.start:
            raise PydanticCustomError("auth", "`auth` needs `start`, because credentials are sent only to the origins of the start URLs")
        if self.items is not None and self._declares_items and not self.items.fields:
            raise PydanticCustomError("items", "`items.fields` is missing: name at least one field")
        if self._declares_items:
            known = self.items.all_fields if self.items is not None else {}
            for name in item_fields(self.downloads.path):
                if name not in known and name.partition(".")[0] not in known:
                    raise PydanticCustomError("path", "`downloads.path` contains {name}, but the items have no such field{hint}",
                                              {"name": "{item." + name + "}", "hint": nearest(name, known)})
        if self.pages is not None and self.pages.cursor is None and self.items is None:
            raise PydanticCustomError("items", "`pages` needs `items` or a cursor: without a cursor, a page without items "
                                      "shows that the previous page was the last one")
        if self.pages is not None and self.pages.where != "query" and self.pages.state is None and any(
                getattr(start, "form" if self.pages.where == "form" else "json_") is None for start in self.start):
            raise PydanticCustomError("start", "every entry of `start` needs `{where}`, because `pages` sets the page number there",
                                      {"where": self.pages.where})
        return self

    @property
    def is_built_in(self) -> bool:
        """Whether `spider` names a built-in spider, not a user's class."""
        return self.project is None and self.spider in BUILT_IN_SPIDERS

    @property
    def item_fields(self) -> tuple[str, ...] | None:
        """The names of the items' fields; None if they are unknown, for example because the spider is written in Python."""
        if not self.is_built_in:
            return None
        registered = BUILT_IN_SPIDERS[self.spider]
        if self.items is not None and self.items.all_fields and "items.fields" not in registered.ignores:
            return tuple(self.items.all_fields)
        return () if registered.declares_items else registered.fields

    @property
    def uses_browser(self) -> bool:
        """Whether the settings ask for a browser. A spider in Python may ask for one by itself."""
        return self.render is not None or any(start.render for start in self.start) or (self.login is not None and self.login.browser)

    @property
    def archives_all(self) -> bool:
        """Whether all pages are archived, also those without any item."""
        return self.archive is not None and self.archive.what == "all"

    @property
    def first_processes(self) -> int:
        """The number of processes that a run of this spider starts with."""
        return 1 if self.processes == "auto" else self.processes

    @property
    def most_followers(self) -> int:
        """The largest number of additional processes (followers) that can join a run of this spider."""
        return MOST_AUTO_PROCESSES - 1 if self.processes == "auto" and self.is_built_in else self.first_processes - 1

    @property
    def _declares_items(self) -> bool:
        return self.is_built_in and BUILT_IN_SPIDERS[self.spider].declares_items
