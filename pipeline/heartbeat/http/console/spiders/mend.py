"""The page of a spider's proposed new rules: look for them, and write them to the settings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.http.access.audit import AUDITED, Audited
from pipeline.heartbeat.http.console.saved_changes import SavedChange
from pipeline.heartbeat.http.console.site import Site, redirect
from pipeline.heartbeat.http.console.spiders.sample_table import SampleTable
from pipeline.heartbeat.http.operations.mending import MendingReport, stored_proposal
from pipeline.heartbeat.http.operations.service_actions import ServiceActions
from pipeline.heartbeat.http.request_bodies import field_of

FORM_S = 15.0


@dataclass(frozen=True)
class MendPage:
    """found: the search that is shown; None if there was none. message: why something failed."""

    name: str
    found: MendingReport | None
    message: str = ""

    @property
    def sample(self) -> SampleTable:
        return SampleTable.of(list(self.found.rows) if self.found is not None else [])


class MendViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/spiders/{name}/mend": self._page_of_spider})
        self._site.add_actions(router, {"/spiders/{name}/mend": self._search, "/spiders/{name}/apply": self._apply})

    @property
    def _service(self) -> ServiceActions:
        return self._site.running_service("this process changes no settings")

    async def _page_of_spider(self, request: web.Request) -> web.Response:
        return await self._stored(self._site.configured_spider(request))

    async def _stored(self, name: str, message: str = "", status: int = 200) -> web.Response:
        """Return the page with the search that the service has made after the last suspect run."""
        found = await asyncio.to_thread(partial(stored_proposal, self._actions.store, self._actions.mask, name))
        return await self._page(MendPage(name, found, message), status)

    async def _search(self, request: web.Request) -> web.Response:
        name = self._site.configured_spider(request)
        request[AUDITED] = Audited(target=f"spider {name}")
        try:
            found = await self._service.mend_spider(name)
        except PipelineError as error:
            request[AUDITED] = Audited(target=f"spider {name}", outcome=f"failed: {error}")
            return await self._stored(name, str(error), 409 if isinstance(error, UsageError) else 422)
        return await self._page(MendPage(name, found))

    async def _apply(self, request: web.Request) -> web.Response:
        name = self._site.configured_spider(request)
        request[AUDITED] = Audited(target=f"new rules of spider {name}")
        try:
            saved = await self._service.apply_rules(name, await field_of(request, "id", timeout_s=FORM_S))
        except PipelineError as error:
            request[AUDITED] = Audited(target=f"new rules of spider {name}", outcome=f"failed: {error}")
            return await self._stored(name, str(error), 409)
        if saved.problems:
            return await self._stored(name, "; ".join(("The rules were written, but the settings were not reloaded", *saved.problems)), 409)
        number = self._site.saved_changes.add(SavedChange.of(saved, "mended", self._actions.settings.folder))
        return redirect(f"/spiders/{name}?saved={number}")

    async def _page(self, page: MendPage, status: int = 200) -> web.Response:
        return await self._site.html("spiders/mend.html", status=status, page=page)
