"""The page of one spider, and its buttons: run now, pause and resume."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from aiohttp import web

from pipeline.errors import UsageError
from pipeline.heartbeat.http.console.site import Site, act, or_404, redirect
from pipeline.heartbeat.http.operations import spiders
from pipeline.heartbeat.http.request_bodies import field_of
from pipeline.heartbeat.http.stored_files import in_file_thread

FORM_S = 15.0
PAUSE_HOURS = {"1": "1 hour", "24": "1 day", "168": "7 days", "720": "30 days"}
"""How long a spider can be paused by the form, as the form says it."""


class SpiderViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/spiders/{name}": self._spider})
        self._site.add_actions(router, {"/spiders/{name}/run": self._run_now, "/spiders/{name}/pause": self._pause,
                                        "/spiders/{name}/resume": self._resume})

    async def _spider(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = or_404(await in_file_thread(self._actions.spider, name))
        snapshot = await self._site.snapshot()
        return await self._site.html("spider.html", now=snapshot, spider=snapshot["spiders"].get(name), page=found, pause_hours=PAUSE_HOURS,
                                     saved=self._site.saved_changes.get(request.query.get("saved", "")))

    async def _run_now(self, request: web.Request) -> web.Response:
        run = await act(partial(self._actions.run_now, request.match_info["name"]), self._actions.on_run)
        return redirect(f"/runs/{run.id}")

    async def _pause(self, request: web.Request) -> web.Response:
        """Pause the spider for the number of hours in the form, or until it is resumed."""
        name = request.match_info["name"]
        hours, reason = [await field_of(request, field, timeout_s=FORM_S) for field in ("hours", "reason")]
        now = self._actions.clock()
        if hours and hours not in PAUSE_HOURS:
            raise UsageError(f"{hours!r} is not one of the offered numbers of hours", where=name)
        await act(partial(spiders.pause, self._actions.store, self._actions.settings, name, until=now + timedelta(hours=int(hours)) if hours else None,
                          reason=reason, now=now), self._actions.on_plan)
        return redirect(f"/spiders/{name}")

    async def _resume(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await act(partial(self._actions.resume, name), self._actions.on_plan)
        return redirect(f"/spiders/{name}")
