"""The pages that add a spider from a URL and edit the table of a spider: suggest, try, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from pipeline.errors import FetchError, PipelineError, UsageError
from pipeline.heartbeat.http.access.audit import AUDITED, Audited
from pipeline.heartbeat.http.console.saved_changes import SavedChange
from pipeline.heartbeat.http.console.site import Site, redirect
from pipeline.heartbeat.http.console.spiders.sample_table import SampleTable
from pipeline.heartbeat.http.operations.service_actions import ServiceActions
from pipeline.heartbeat.http.operations.spider_drafts import (
    DraftProblem,
    InvalidDraftError,
    NotWritableError,
    SpiderSource,
)
from pipeline.heartbeat.http.request_bodies import field_of
from pipeline.settings.drafts import is_known
from pipeline.settings.files import shown_path
from pipeline.text import shown_url
from pipeline.urls import is_http

FORM_S = 30.0
NEW = "/new-spider"
"""The path of the form for a new spider. No name of a spider leads to it, so that a spider may have any name."""
SCHEDULE = "daily at 07:00"
_FIELDS = ("url", "name", "schedule", "session", "render")


@dataclass(frozen=True)
class DraftPage:
    """What the page of a draft shows. spider: whose table is edited; "" for a new one. url: the page to try. message: why something failed.

    chosen, proposals: the proposal in the text and the other ones, each with "toml", "found", "sample", "reasons" and "notes". tried: the result of a try. copy_to: the file to
    which the text must be copied, because the service cannot write it.
    """

    spider: str = ""
    toml: str = ""
    url: str = ""
    version: str = ""
    source: SpiderSource | None = None
    message: str = ""
    copy_to: str = ""
    problems: tuple[DraftProblem, ...] = ()
    seen: tuple[str, ...] = ()
    chosen: Mapping[str, Any] | None = None
    proposals: tuple[Mapping[str, Any], ...] = ()
    tried: Mapping[str, Any] | None = None

    def line(self, number: int | None) -> str:
        """Return a line of the text, from 1, which a problem shows; "" if there is none."""
        lines = self.toml.splitlines()
        return lines[number - 1].strip()[:160] if number is not None and number <= len(lines) else ""

    @property
    def is_valid(self) -> bool:
        return all(problem.warning for problem in self.problems)


@dataclass(frozen=True)
class NewForm:
    """What somebody typed into the form for a new spider."""

    url: str = ""
    name: str = ""
    schedule: str = SCHEDULE
    session: str = ""
    render: str = ""
    sessions: Sequence[str] = field(default_factory=tuple)
    message: str = ""


class DraftViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {NEW: self._new, "/spiders/{name}/edit": self._edit})
        self._site.add_actions(router, {f"{NEW}/suggest": self._suggest, f"{NEW}/draft": self._draft, f"{NEW}/try": self._try, f"{NEW}/save": self._save,
                                        "/spiders/{name}/try": self._try, "/spiders/{name}/save": self._save})

    @property
    def _service(self) -> ServiceActions:
        return self._site.running_service("this process adds no spiders")

    # A new spider

    async def _new(self, request: web.Request) -> web.Response:
        return await self._form(NewForm(url=request.query.get("url", "")[:2000]))

    async def _form(self, form: NewForm, status: int = 200) -> web.Response:
        return await self._site.html("spiders/new_spider.html", status=status, form=replace(form, sessions=sorted(self._actions.settings.spiders)))

    async def _suggest(self, request: web.Request) -> web.Response:
        url, name, schedule, session, render = [(await field_of(request, each, timeout_s=FORM_S)).strip() for each in _FIELDS]
        form = NewForm(url, name, schedule, session, render)
        target = "a URL"  # a mistyped one may have a password where no code expects it
        try:
            _check_url(url)
            target = shown_url(url)
            request[AUDITED] = Audited(target=target)
            found = await self._service.suggest(url, render=bool(render), spider=session or None, name=name, schedule=schedule or SCHEDULE)
        except PipelineError as error:
            request[AUDITED] = Audited(target=target, outcome=f"failed: {error}")
            return await self._form(replace(form, message=f"{error}{self._hint(url, error)}"), 422)
        described = [{"toml": each["toml"], "found": each, "sample": SampleTable.of(each["rows"], each["count"]), "reasons": each["reasons"],
                      "notes": each["notes"]} for each in found["proposals"]]
        seen = tuple(filter(None, (found["session"], *found["seen"])))
        toml = described[0]["toml"] if described else found["watch"]
        report = await self._service.check_spider(toml)
        return await self._page(DraftPage(toml=toml, url=url, problems=report.problems, seen=seen, chosen=described[0] if described else None,
                                          proposals=tuple(described[1:])))

    def _hint(self, url: str, error: PipelineError) -> str:
        """Return which session fetches a page with a private address; "" if none may."""
        spiders = self._actions.settings.spiders
        able = [name for name, table in spiders.items() if is_known([url], {name: table})] if isinstance(error, FetchError) and "private" in error.what else []
        return f"; choose the session of {', '.join(able[:3])}, whose settings name this host" if able else ""

    async def _draft(self, request: web.Request) -> web.Response:
        """Show another proposal in the text area."""
        page = await self._submitted(request)
        request[AUDITED] = Audited(target="a draft")
        return await self._page(replace(page, problems=(await self._service.check_spider(page.toml)).problems))

    # The text of a draft

    async def _edit(self, request: web.Request) -> web.Response:
        name = self._site.configured_spider(request)
        source = await self._source(name)
        start = self._actions.settings.spiders[name].start
        return await self._page(DraftPage(spider=name, toml=source.text or "", version=source.version, source=source, url=start[0].url if start else ""))

    async def _source(self, name: str) -> SpiderSource:
        """Return where the table of a spider is; without a service, nothing can be edited."""
        if self._actions.service is None:
            return SpiderSource(Path(self._actions.settings.file).name, None, why_not="this process edits no settings; open the pages of `pipeline serve`")
        return await self._actions.service.spider_source(name)

    async def _try(self, request: web.Request) -> web.Response:
        page = await self._submitted(request)
        request[AUDITED] = Audited(target=_target(page))
        try:
            if page.url:
                _check_url(page.url)
            found = await self._service.try_spider(page.toml, page.url, spider=page.spider)
        except PipelineError as error:
            return await self._failed(request, page, error)
        remarks = [text for text in (found.get(name) for name in ("session", "obstacle", "left_out", "picture")) if text]
        return await self._page(replace(page, problems=found["warnings"], tried={**found, "sample": _sample(found), "remarks": remarks}))

    async def _save(self, request: web.Request) -> web.Response:
        page = await self._submitted(request)
        try:
            saved = await self._service.save_spider(page.toml, spider=page.spider, version=page.version)
        except PipelineError as error:
            return await self._failed(request, page, error)
        request[AUDITED] = Audited(target=f"spider {saved.name}")
        if saved.problems or saved.name not in self._actions.settings.spiders:
            request[AUDITED] = Audited(target=f"spider {saved.name}", outcome="done, but the settings were not reloaded")
            return await self._page(replace(page, message="; ".join((f"The text was saved in {saved.file}, but the settings were not reloaded", *saved.problems))), 409)
        number = self._site.saved_changes.add(SavedChange.of(saved, "edited" if page.spider else "added", self._actions.settings.folder))
        return redirect(f"/spiders/{saved.name}?saved={number}")

    async def _submitted(self, request: web.Request) -> DraftPage:
        toml, url, version = [await field_of(request, each, timeout_s=FORM_S) for each in ("toml", "url", "version")]
        spider = self._site.configured_spider(request) if "name" in request.match_info else ""
        return DraftPage(spider=spider, toml=toml.replace("\r\n", "\n"), url=url.strip(), version=version)

    async def _failed(self, request: web.Request, page: DraftPage, error: PipelineError) -> web.Response:
        """Return the page of a draft with what was wrong. The text stays in the form."""
        request[AUDITED] = Audited(target=_target(page), outcome=f"failed: {error}")
        if isinstance(error, InvalidDraftError):
            return await self._page(replace(page, problems=error.report.problems), 422)
        copy_to = str(self._actions.settings.folder / shown_path(self._actions.settings.folder, error.file)) if isinstance(error, NotWritableError) else ""
        return await self._page(replace(page, message=str(error), copy_to=copy_to), 409 if isinstance(error, UsageError) else 422)

    async def _page(self, page: DraftPage, status: int = 200) -> web.Response:
        if page.spider and page.source is None:
            page = replace(page, source=await self._source(page.spider))
        return await self._site.html("spiders/draft.html", status=status, page=page, base=f"/spiders/{page.spider}" if page.spider else NEW)


def _target(page: DraftPage) -> str:
    return f"spider {page.spider}" if page.spider else "a new spider"


def _sample(found: Mapping[str, Any]) -> SampleTable:
    return SampleTable.of([item for item in found["items"] if isinstance(item, dict)], found["counts"]["items"])


def _check_url(url: str) -> None:
    """Raise UsageError if a text is not an http(s) URL."""
    if not is_http(url):
        raise UsageError("this is not an http(s) URL", where="URL", fix="write the whole URL, such as https://site.example/list")
