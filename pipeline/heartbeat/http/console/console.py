"""Composes the pages for people: the views of each page on one site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from pipeline.heartbeat.http.access.authorizer import Authorizer
from pipeline.heartbeat.http.console.archive import ArchiveViews
from pipeline.heartbeat.http.console.files import FileViews
from pipeline.heartbeat.http.console.items.items import ItemViews
from pipeline.heartbeat.http.console.mail.digests import DigestViews
from pipeline.heartbeat.http.console.mail.left_out import LeftOutViews
from pipeline.heartbeat.http.console.mail.messages import MessageViews
from pipeline.heartbeat.http.console.mail.outbox import OutboxViews
from pipeline.heartbeat.http.console.mail.previews import PreviewViews
from pipeline.heartbeat.http.console.overview.overview import OverviewViews
from pipeline.heartbeat.http.console.render.renderer import PageRenderer
from pipeline.heartbeat.http.console.runs.lists import RunListViews
from pipeline.heartbeat.http.console.runs.run import RunViews
from pipeline.heartbeat.http.console.settings import SettingsViews
from pipeline.heartbeat.http.console.site import Site
from pipeline.heartbeat.http.console.spiders.changes import ChangeViews
from pipeline.heartbeat.http.console.spiders.drafts import DraftViews
from pipeline.heartbeat.http.console.spiders.mend import MendViews
from pipeline.heartbeat.http.console.spiders.spider import SpiderViews
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.snapshot.schema import Snapshot


class Console:
    """All pages. actions: see HttpApp; None means that there is only the overview, without links."""

    def __init__(self, actions: OperationsContext | None, authorizer: Authorizer, pages: PageRenderer, snapshot: Callable[[], Awaitable[Snapshot]]) -> None:
        self._site = Site(actions, authorizer, pages, snapshot) if actions is not None else None
        self._overview = OverviewViews(self._site, authorizer, pages, snapshot)

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._overview.add_to(router)
        if self._site is not None:
            for views in (SpiderViews, ChangeViews, DraftViews, MendViews, ItemViews, RunViews, RunListViews, DigestViews, LeftOutViews, PreviewViews,
                          MessageViews, OutboxViews, SettingsViews, FileViews, ArchiveViews):
                views(self._site).add_to(router)

    async def stop(self) -> None:
        """End the live streams, so that the server can stop immediately."""
        await self._overview.live.stop()
        if self._site is not None:
            self._site.stopping.set()
