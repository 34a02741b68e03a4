"""The page of the settings: each value, where it comes from, and a button that reloads the files."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web

from pipeline.errors import SettingsError
from pipeline.heartbeat.http.console.site import Site
from pipeline.settings.in_effect import DEFAULT, Value, values_in_effect
from pipeline.settings.restart import ReloadReport

MOST_ROWS = 1000


class SettingsViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/settings": self._settings})
        self._site.add_actions(router, {"/settings/reload": self._reload})

    async def _settings(self, request: web.Request) -> web.Response:
        return await self._page(request.query.get("q", ""), defaults="defaults" in request.query)

    async def _reload(self, request: web.Request) -> web.Response:
        if self._actions.service is None:
            raise web.HTTPNotFound
        return await self._page("", defaults=False, report=await self._actions.service.reload())

    async def _page(self, search: str, *, defaults: bool, report: ReloadReport | None = None) -> web.Response:
        """Return the page. search: show only the keys and values that contain this text. report: what a reload has just done."""
        found: list[Value] = []
        problems: list[str] = []
        try:
            found = await asyncio.to_thread(values_in_effect, self._actions.settings)
        except SettingsError as error:
            problems = error.lines()
        mask, wanted = self._actions.mask, search.strip().lower()
        shown = [replace(value, text=mask(value.text)) for value in found if defaults or value.source != DEFAULT]
        shown = [value for value in shown if wanted in f"{value.key} = {value.text}".lower()]  # the masked text: a search must not find secrets
        return await self._site.html("settings.html", values=shown[:MOST_ROWS], left_out=max(0, len(shown) - MOST_ROWS),
                                     search=search, defaults=defaults, report=report, problems=problems, may_reload=self._actions.service is not None)
