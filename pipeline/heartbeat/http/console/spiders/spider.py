"""The pages of one spider and of its session, with buttons to run, pause and clear the cookies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from aiohttp import web

from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.http.console.site import Site, act, end_in_form, or_404, redirect
from pipeline.heartbeat.http.operations import spiders
from pipeline.heartbeat.http.operations.service_actions import SessionState
from pipeline.heartbeat.http.operations.spider_details import spider_details
from pipeline.heartbeat.http.request_bodies import field_of
from pipeline.heartbeat.http.request_threads import in_request_thread
from pipeline.heartbeat.http.stored_files import in_file_thread
from pipeline.heartbeat.snapshot.schema import ReasonKind

FORM_S = 15.0
PAUSE_HOURS = {"1": "1 hour", "24": "1 day", "168": "7 days", "720": "30 days"}
"""How long a spider can be paused by the form, as the form says it."""
SLOTS = 5
_COMMAND_OF_MENDING = "`pipeline mend "


@dataclass(frozen=True)
class Reason:
    """Why a spider is not ok. path: of the page on which a person can mend it, "" if there is none. link: the text of the link."""

    text: str
    path: str = ""
    link: str = ""


class SpiderViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/spiders/{name}": self._spider, "/spiders/{name}/session": self._session})
        self._site.add_actions(router, {"/spiders/{name}/run": self._run_now, "/spiders/{name}/pause": self._pause, "/spiders/{name}/resume": self._resume,
                                        "/spiders/{name}/clear-cookies": self._clear_cookies})

    async def _spider(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = or_404(await in_file_thread(spider_details, self._actions.store, self._actions.settings, self._actions.mask, name, self._actions.clock()))
        snapshot, service = await self._site.snapshot(), self._actions.service
        table, pause = self._actions.settings.spiders.get(name), found.pause
        has_slots = table is not None and (pause is None or pause.until is not None)
        slots = await in_request_thread(partial(service.next_slots, name, SLOTS, paused_until=pause.until if pause else None)) \
            if service is not None and has_slots else []
        spider = snapshot["spiders"].get(name)
        return await self._site.html("spiders/spider.html", now=snapshot, spider=spider, page=found, pause_hours=PAUSE_HOURS, slots=slots, has_login=table is not None and table.login is not None,
                                     saved=self._site.saved_changes.get(request.query.get("saved", "")),
                                     reasons=[_reason(name, problem["kind"], text) for problem, text in zip(spider["problems"], spider["reasons"], strict=True)] if spider else [])

    async def _session(self, request: web.Request) -> web.Response:
        """Show how many cookies of which hosts the session has, never their values."""
        name, service = self._site.configured_spider(request), self._actions.service
        state, error = SessionState([], []), ""
        try:
            if service is None:
                raise UsageError("this process has no sessions; ask the service")
            state = await service.session_state(name)
        except PipelineError as problem:
            error = self._actions.mask(str(problem))
        snapshot = await self._site.snapshot()
        return await self._site.html("spiders/session.html", now=snapshot, spider=snapshot["spiders"].get(name), name=name, state=state, error=error,
                                     count=sum(host.count for host in state.hosts), cleared="cleared" in request.query)

    async def _run_now(self, request: web.Request) -> web.Response:
        run = await act(partial(spiders.run_now, self._actions.store, self._actions.settings, request.match_info["name"], now=self._actions.clock()),
                        self._actions.on_run)
        return redirect(f"/runs/{run.id}")

    async def _pause(self, request: web.Request) -> web.Response:
        """Pause the spider until the time in the form, for its number of hours, or until it is resumed."""
        name = request.match_info["name"]
        given = {field: await field_of(request, field, timeout_s=FORM_S) for field in ("hours", "until", "reason")}
        now = self._actions.clock()
        await act(partial(spiders.pause, self._actions.store, self._actions.settings, name, until=end_in_form(given, PAUSE_HOURS, now=now, zone=self._site.pages.zone), reason=given["reason"],
                          now=now), self._actions.on_plan)
        return redirect(f"/spiders/{quote(name)}")

    async def _resume(self, request: web.Request) -> web.Response:
        name = await self._site.known_spider(request)
        await act(partial(spiders.resume, self._actions.store, name), self._actions.on_plan)
        return redirect(f"/spiders/{quote(name)}")

    async def _clear_cookies(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if self._actions.service is None:
            raise UsageError("this process has no sessions; ask the service", where=name)
        await self._actions.service.clear_cookies(name)
        return redirect(f"/spiders/{quote(name)}/session?cleared")


def _reason(name: str, kind: ReasonKind, text: str) -> Reason:
    """Return why a spider is not ok, with the page that helps instead of the command that a status names."""
    if kind == "proposed":
        return Reason(text.partition(_COMMAND_OF_MENDING)[0].rstrip(" ;,:("), f"/spiders/{quote(name)}#new-rules", "Show the proposed rules")
    if kind == "suspect":
        return Reason(text, "#rules", "Show what the rules matched")
    if kind == "failed":
        return Reason(text, "#runs", "Show the runs")
    return Reason(text)
