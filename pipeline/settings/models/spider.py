"""The tables of a spider: what it fetches, follows, extracts and downloads, and how it logs in."""

from __future__ import annotations

import re
from math import isfinite
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.path_template import PathTemplate, item_fields
from pipeline.settings.fields.scalars import (
    Duration,
    HttpUrl,
    Secret,
    Size,
    Table,
    duration_s,
    https_or_loopback,
    nearest,
)
from pipeline.settings.fields.schedule import Schedules
from pipeline.settings.models.extraction import (
    ItemsTable,
    PagesTable,
    Selector,
    WatchTable,
    check_css,
    check_extra,
    check_regexes,
)

SECRET_WORDS = re.compile(r"pass(word|wd|phrase)?$|secret|token$|api[_-]?key|pin$", re.IGNORECASE)
"""Names whose values are secrets, and so are never written in the file."""


Pairs = dict[str, Any] | tuple[tuple[str, Any], ...]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OURS = ("connection", "content-length", "host", "transfer-encoding")
_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization")


def _check_headers(headers: dict[str, str | Secret]) -> dict[str, str | Secret]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise PydanticCustomError("header", "{found} is no header's name; letters, digits and - only",
                                      {"found": repr(name)})
        if name.lower() in _OURS:
            raise PydanticCustomError("header", "the header {name} is set by the request itself; take it out", {"name": name})
        if isinstance(value, str) and (name.lower() in _SECRET_HEADERS or SECRET_WORDS.search(name)):
            raise PydanticCustomError("secret", "the value of {name} is a secret and is never written here; "
                                      "use { env = \"NAME\" } or { file = \"path\" }", {"name": name})
        if isinstance(value, str) and _CONTROL.search(value):
            raise PydanticCustomError("header", "the value of {name} has a line break or control character in it; take it out",
                                      {"name": name})
    return headers


def _check_statuses(value: tuple[int, ...]) -> tuple[int, ...]:
    for status in value:
        if not 100 <= status <= 599:
            raise PydanticCustomError("status", "{found} is no HTTP status; they are 100 to 599", {"found": status})
    return value


def _check_place(place: str) -> str:
    """A host, and a port if need be."""
    try:
        parts = urlsplit(f"//{place}")
        good = parts.port != 0 and bool(re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d+)?", place))
    except ValueError:
        good = False
    if not good:
        raise PydanticCustomError("host", "{found} is no host; write it as \"files.lan\" or \"files.lan:8090\"",
                                  {"found": repr(place)})
    return place


class RequestTable(Table):
    """A request as the course has them; params and form leave None-like (empty) values out and may repeat keys."""

    url: HttpUrl
    method: str | None = None
    params: Pairs | None = None
    form: Pairs | None = None
    json_: Any = Field(None, alias="json")
    body: str | None = None
    headers: dict[str, str | Secret] = Field(default_factory=dict)
    cookies: dict[str, str | Secret] = Field(default_factory=dict)
    encoding: str | None = None
    auth: AuthTable | None = None

    @field_validator("encoding")
    @classmethod
    def _codec(cls, value: str | None) -> str | None:
        return _known_codec(value)

    _headers = field_validator("headers")(_check_headers)

    @field_validator("method")
    @classmethod
    def _method(cls, value: str | None) -> str | None:
        if value is not None and not _TOKEN.fullmatch(value):
            raise PydanticCustomError("request", "{found} is no method, such as GET or POST", {"found": repr(value)})
        return value

    @field_validator("cookies")
    @classmethod
    def _cookies(cls, cookies: dict[str, str | Secret]) -> dict[str, str | Secret]:
        for name, value in cookies.items():
            if not _TOKEN.fullmatch(re.sub(r"[\[\]]", "", name)):
                raise PydanticCustomError("cookies", "{found} is no cookie's name", {"found": repr(name)})
            if isinstance(value, str) and re.search(r"[;\x00-\x1f\x7f]", value):
                raise PydanticCustomError("cookies", "the value of {name} has a ; or a control character in it", {"name": name})
        return cookies

    @model_validator(mode="after")
    def _one_body(self) -> RequestTable:
        given = [name for name, value in (("form", self.form), ("json", self.json_), ("body", self.body))
                 if value is not None]
        if len(given) > 1:
            raise PydanticCustomError("request", "give one of form, json, body (found {found})",
                                      {"found": ", ".join(given)})
        return self


class AuthTable(Table):
    type: Literal["basic", "digest", "bearer"] = "basic"
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None

    @model_validator(mode="after")
    def _complete(self) -> AuthTable:
        if self.type == "bearer" and self.token is None:
            raise PydanticCustomError("auth", "bearer auth needs a token")
        if self.type != "bearer" and (self.user is None or self.password is None):
            raise PydanticCustomError("auth", "{type} auth needs user and password", {"type": self.type})
        if self.user is not None and ":" in self.user:  # RFC 7617, 2
            raise PydanticCustomError("auth", "a user's name has no colon")
        return self


RequestTable.model_rebuild()
Start = Annotated[RequestTable, BeforeValidator(lambda value: {"url": value} if isinstance(value, str) else value)]


def _known_codec(value: str | None) -> str | None:
    if value is not None:
        try:
            "".encode(value)
        except LookupError as error:
            raise PydanticCustomError("encoding", "no encoding named {found}", {"found": repr(value)}) from error
    return value


class LoginStepTable(Table):
    """One form to fill in."""

    fields: dict[str, str | Secret] = Field(default_factory=dict)
    totp: dict[str, Secret] = Field(default_factory=dict)
    """Fields that take a one-time code, with the secret it is made from (Base32 or an otpauth:// address)."""
    form: str | None = None
    """CSS of the form, where the page has several and the right one is not plain."""

    _form = field_validator("form")(check_css)

    @field_validator("fields", mode="after")
    @classmethod
    def _no_plain_passwords(cls, fields: dict[str, str | Secret]) -> dict[str, str | Secret]:
        for name, value in fields.items():
            if isinstance(value, str) and SECRET_WORDS.search(name):
                raise PydanticCustomError("secret", "{name} is a secret and is never written here; "
                                          "use { env = \"NAME\" } or { file = \"path\" }", {"name": name})
        return fields

    @property
    def sends(self) -> bool:
        """Whether there is a form to fill in."""
        return bool(self.fields or self.totp or self.form)

    @model_validator(mode="after")
    def _something_to_send(self) -> LoginStepTable:
        if not self.sends and not isinstance(self, LoginTable):
            raise PydanticCustomError("login", "no fields to fill in: give fields, totp, or form for one with a button only")
        return self


class ExpiredTable(Table):
    """How an answer shows that the login has expired. Selectors are tried on the pages of the spider's own hosts."""

    redirect: bool = True
    """A redirect to login.url."""
    status: tuple[int, ...] = ()
    """Statuses such as 401."""
    present: Selector | None = None
    """Something that only strangers see, such as the login form."""
    missing: Selector | None = None
    """Something that every page has for those logged in, such as the link to log out."""
    safe_to_replay: bool = False
    """Requests other than GET and HEAD, too, are sent again after the new login."""

    _statuses = field_validator("status")(_check_statuses)


def _json_field(value: object, name: str) -> object:
    """One value of `fields` in an API's login, references to secrets made such at any depth."""
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)) in ("env", "file"):
            return Secret.parse(value)
        return {key: _json_field(entry, str(key)) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_field(entry, name) for entry in value]
    if isinstance(value, str) and SECRET_WORDS.search(name):
        raise PydanticCustomError("secret", "{name} is a secret and is never written here; "
                                  "use { env = \"NAME\" } or { file = \"path\" }", {"name": name})
    if not isinstance(value, (str, bool, int, float, Secret)) or (isinstance(value, float) and not isfinite(value)):
        raise PydanticCustomError("login", "the value of {name} has no form in JSON; write it as a text or a number",
                                  {"name": name})
    return value


JsonField = Annotated[Any, WithJsonSchema({})]
"""A text, a secret, a number, true or false, a list or a table of those."""


class LoginTable(LoginStepTable):
    url: HttpUrl | None = None
    """The page with the form. Without it and `fields`, imported cookies are the login."""
    fields: dict[str, JsonField] = Field(default_factory=dict)
    """Of a form texts and secrets; of an API whatever JSON has."""
    check: Selector
    check_url: HttpUrl | None = None
    """Where `check` is looked at; by default the page that the login led to, for cookies alone the first start."""
    origins: tuple[HttpUrl, ...] = ()
    """Origins beside that of url, such as "https://accounts.example", that passwords and the token may be sent to."""
    steps: tuple[LoginStepTable, ...] = ()
    """Forms on the pages after the first: a password, a one-time code."""
    json_: bool = Field(False, alias="json")
    """The fields are posted to url as JSON: an API, where there is no form. They may be numbers, true, false, lists, tables."""
    token: Selector | None = None
    """Where the answer to the login has a token; it is sent as `token_header` to the login's own site."""
    token_header: str = "Authorization: Bearer {token}"  # noqa: S105  a template
    expired: ExpiredTable = ExpiredTable()

    @field_validator("fields", mode="before")
    @classmethod
    def _json_fields(cls, fields: object) -> object:
        return {name: _json_field(value, str(name)) for name, value in fields.items()} if isinstance(fields, dict) else fields

    @field_validator("token_header")
    @classmethod
    def _header_line(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9-]+: [\x20-\x7e]*\{token\}[\x20-\x7e]*", value):
            raise PydanticCustomError("auth", "{found} is no header; write it as \"Authorization: Bearer {place}\"",
                                      {"found": repr(value), "place": "{token}"})
        return value

    @model_validator(mode="after")
    def _of_a_piece(self) -> LoginTable:
        for name, value in self.fields.items():
            if not self.json_ and not isinstance(value, (str, Secret)):
                raise PydanticCustomError("login", "the value of fields.{name} is no text: forms send texts; for an API, "
                                          "which takes numbers and tables, add json = true", {"name": name})
        if self.sends and self.url is None:
            raise PydanticCustomError("login", "url is missing: the page with the form (without fields, cookies alone are the login)")
        if not self.sends and (self.steps or self.token is not None or self.json_ or self.url is not None):
            raise PydanticCustomError("login", "no fields to fill in: give fields, totp, or form for one with a button only; "
                                      "for imported cookies alone give neither url, steps, json nor token")
        if self.json_ and (self.steps or self.totp or self.form):
            raise PydanticCustomError("login", "json = true posts the fields to an API: steps, totp and form are for forms")
        if self.token is None and "token_header" in self.model_fields_set:
            raise PydanticCustomError("login", "token_header needs token: where the answer has it")
        return self


class CookiesTable(Table):
    file: str | None = None
    header: Secret | None = None
    url: HttpUrl | None = None
    """For `header`: the site the cookies belong to; the first start by default."""

    @model_validator(mode="after")
    def _one(self) -> CookiesTable:
        if (self.file is None) == (self.header is None):
            raise PydanticCustomError("cookies", "give either file or header")
        return self


class BannedTable(Table):
    """How an answer shows that the proxy is banned: it rests, and the request goes through the pool's next one."""

    status: tuple[int, ...] = ()
    present: Selector | None = None

    _statuses = field_validator("status")(_check_statuses)


class DownloadsTable(Table):
    path: PathTemplate = "{name}"
    """Where a file lands in downloads/SPIDER, such as "{year}/{item.category}/{name}"; also {stem}, {ext}, {date},
    {month}, {day}, {host}. Each part is made a safe name."""
    link_duplicates: bool = False
    """A file whose content this spider has already is a hard link to it: the disk holds it once."""
    max_size: Size = Field(2 * 10**9, validate_default=False)
    workers: int = Field(4, ge=1, le=64)
    timeout: Duration = 60.0
    """How long a server may stay silent."""
    attempts: int = Field(4, ge=1, le=100)
    per_host: int | None = Field(None, ge=1, le=64)
    """At most so many at a time from one host."""
    max_total: Size | None = Field(None, validate_default=False)
    """Bytes of all files of one pass."""
    rate: Size | None = Field(None, validate_default=False)
    """Bytes a second, all files together."""
    versions: int = Field(0, ge=0)
    """So many are kept of a file that changes; 0: all."""
    keep_for: Duration | None = None
    """Files are deleted when the site has not had them for so long."""
    quota: Size | None = Field(None, validate_default=False)
    """The oldest files are deleted when this spider's take more; those that a digest has yet to send stay."""


def _catch_up(value: object) -> object:
    return None if value is True else 0.0 if value is False else duration_s(value)


CatchUp = Annotated[float | None, BeforeValidator(_catch_up), WithJsonSchema({"type": ["boolean", "string"]})]


class RetryTable(Table):
    """A run that failed is tried again, where that can help: not for a wrong password, nor for a mistake in a rule."""

    times: int = Field(0, ge=0, le=7)
    """How often, for one slot."""
    wait: Duration = 60.0
    """Before the first time; then twice as long each time."""
    max_wait: Duration = 3600.0
    outcomes: tuple[Literal["failed", "timed_out", "killed"], ...] = ("failed", "timed_out", "killed")


class SpiderTable(Table):
    spider: str = "crawl"
    tags: tuple[str, ...] = ()
    """Words by which digests and their groups choose spiders."""
    schedule: Schedules = ()
    """When it runs: one or several of cron, "every 30m", "daily at 07:00", or tables with a zone, jitter and days."""
    after: tuple[str, ...] = ()
    """Spiders: it runs once for each pass of theirs that succeeded."""
    catch_up: CatchUp = None
    """Whether a slot that was missed while no service ran is run late: true, false, or for how long after its time."""
    overlap: Literal["skip", "queue", "kill"] = "skip"
    """What becomes of a slot while the spider is at work: dropped, run when it is done, or run in its place."""
    retry: RetryTable = RetryTable()
    start: tuple[Start, ...] = ()
    follow: tuple[Selector, ...] = ()
    download: tuple[Selector, ...] = ()
    hosts: tuple[Annotated[str, AfterValidator(_check_place)], ...] = ()
    """Hosts (with their port, if any) that links are followed to, beside those of `start`."""
    allow: tuple[str, ...] = ()
    """Regular expressions: only links that match one of them are followed."""
    deny: tuple[str, ...] = ()
    """Regular expressions: links that match one of them are never followed."""
    drop_params: tuple[str, ...] = ()
    """Parameters of the query and the path left out of links, beside those for tracking (utm_…, gclid, fbclid …)."""
    pages: PagesTable | None = None
    """Numbered pages: by page, offset or cursor, in the URL, a form or JSON."""
    items: ItemsTable | None = None
    watch: WatchTable = WatchTable()
    """For `spider = "watch"`: which part of a page, and what in it is noise."""
    login: LoginTable | None = None
    auth: AuthTable | None = None
    """HTTP authentication of pages, files, robots.txt and the login, at the origins (scheme, host, port) of `start` only."""
    cookies: CookiesTable | None = None
    login_cookies: tuple[str, ...] = ()
    """Names of the cookies that carry the login, of whose end alerts warn; by default those that came with it."""
    proxy: str | None = None
    """A name in [proxies], or "environment" for http_proxy, https_proxy and no_proxy."""
    banned: BannedTable = BannedTable()
    max_pages: int = Field(0, ge=0)
    """Of one pass. 0: no limit; a run that meets it is not complete."""
    max_depth: int = Field(0, ge=0)
    """Links away from a start. 0: no limit; what is further away does not belong to the site as this spider sees it."""
    max_time: Duration | None = None
    """No page is begun after this; the run then ends well, but is not complete."""
    concurrency: int = Field(4, ge=1, le=256)
    processes: int = Field(1, ge=1, le=16)
    """Processes that fetch one pass together, each with its share of `concurrency`; for the built-in spiders."""
    delay: Duration = 0.0
    """Between two requests to one host, those of other spiders with a delay included."""
    throttle: bool = False
    """Scrapy's AutoThrottle: as many requests at a time as the site answers quickly, from one up to concurrency."""
    patience: Duration = 600.0
    """The longest Retry-After or Crawl-delay that is waited for; a page told to come back later fails for this run."""
    quiet: tuple[str, ...] = ()
    """Hours without requests, such as "22:00-06:00", in the pipeline's time zone; a run then checkpoints and stops."""
    revalidate: bool = True
    """Pages with an ETag or a date are kept (in data_dir/cache), and asked for only if they changed."""
    page_cache: Size = Field(10**9, ge=10**6, validate_default=False)
    """How much disk the kept pages of this spider take, compressed; those used longest ago go first."""
    robots: bool = True
    encoding: str | None = None
    pdf: bool = False
    """PDFs are read as pages of their text: a section#page-N for each, a p for each line. Needs the extra `pdf`."""
    headers: dict[str, str | Secret] = Field(default_factory=dict)
    """Sent to the origins (scheme, host, port) of start and login, and of headers_for; to no other."""
    headers_for: tuple[HttpUrl, ...] = ()
    """Further origins, such as "https://cdn.example", that get headers and the bodies of requests."""
    user_agent: str | None = None
    ca_file: str | None = None
    """Certificates to trust beside the system's, for a site with its own authority."""
    insecure_tls: bool | tuple[str, ...] = False
    """Hosts of which TLS is not verified; true: those of start and login. Say why in a comment."""
    timeout: Duration = 60.0
    """Of one request, in all."""
    retries: int = Field(2, ge=0, le=20)
    max_page_size: Size = Field(32 * 10**6, validate_default=False)
    time_limit: Duration = 6 * 3600.0
    memory_limit: Size = Field(2 * 10**9, validate_default=False)
    page_cpu_limit: Duration = 20.0
    """CPU time that one page may take to be parsed and read; a page that takes more is set aside."""
    downloads: DownloadsTable = DownloadsTable()
    args: dict[str, Any] = Field(default_factory=dict)
    """Handed to a Python spider as keyword arguments."""
    beat: Secret | HttpUrl | None = None
    """A dead-man's switch (Healthchecks-style, https): told of each run's start, success, or failure with its reason."""

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
        return _known_codec(value)

    @field_validator("insecure_tls")
    @classmethod
    def _bare_hosts(cls, value: bool | tuple[str, ...]) -> bool | tuple[str, ...]:
        for host in value if isinstance(value, tuple) else ():
            if not re.fullmatch(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]", host):
                raise PydanticCustomError("host", "{found} is no host; write its name alone, such as \"files.lan\"",
                                          {"found": repr(host)})
        return value

    @field_validator("quiet")
    @classmethod
    def _spans(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for span in value:
            if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", span) or span[:5] == span[6:]:
                raise PydanticCustomError("quiet", "{found} are no hours; write them as \"22:00-06:00\"",
                                          {"found": repr(span)})
        return value

    @field_validator("pdf")
    @classmethod
    def _pdf_reader(cls, value: bool) -> bool:
        if value:
            check_extra("pypdfium2", "pdf")
        return value

    _patterns = field_validator("allow", "deny")(check_regexes)
    _own_headers = field_validator("headers")(_check_headers)

    @field_validator("user_agent")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and _CONTROL.search(value):
            raise PydanticCustomError("header", "has a line break or control character in it; take it out")
        return value

    @model_validator(mode="after")
    def _processes_share(self) -> SpiderTable:
        if self.processes == 1:
            return self
        if self.spider not in BUILT_IN_SPIDERS:
            raise PydanticCustomError("processes", "processes is for the built-in spiders: a Python spider may keep in its "
                                      "own memory what the other processes would lack")
        if self.concurrency < self.processes:
            raise PydanticCustomError("processes", "concurrency = {concurrency} is too little for processes = {processes}: "
                                      "each needs a request of its own", {
                                          "concurrency": self.concurrency, "processes": self.processes})
        if self.throttle:
            raise PydanticCustomError("processes", "give throttle or processes, not both: one process cannot see how the "
                                      "site answers the others")
        return self

    @model_validator(mode="after")
    def _has_work(self) -> SpiderTable:
        if self.spider in BUILT_IN_SPIDERS and not self.start:
            raise PydanticCustomError("start", "start is missing: give at least one URL")
        if self.auth is not None and not self.start:
            raise PydanticCustomError("auth", "auth needs start: it is sent to the origins of its URLs, and nowhere else")
        if self.items is not None and self.spider == "crawl" and not self.items.fields:
            raise PydanticCustomError("items", "items.fields is missing: name at least one field")
        if self.spider == "crawl":
            known = self.items.all_fields if self.items is not None else {}
            for name in item_fields(self.downloads.path):
                if name not in known and name.partition(".")[0] not in known:
                    raise PydanticCustomError("path", "downloads.path names {name}, which is no field of its items{hint}",
                                              {"name": "{item." + name + "}", "hint": nearest(name, known)})
        if self.pages is not None and self.pages.cursor is None and self.items is None:
            raise PydanticCustomError("items", "pages needs items (the first page without any is the last) or a cursor")
        if self.pages is not None and self.pages.where != "query" and self.pages.state is None and any(
                getattr(start, "form" if self.pages.where == "form" else "json_") is None for start in self.start):
            raise PydanticCustomError("start", "every start needs {where} = …, for pages to put its number in",
                                      {"where": self.pages.where})
        return self


BUILT_IN_SPIDERS = ("crawl", "feed", "sitemap", "watch")
