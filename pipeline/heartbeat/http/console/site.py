"""What the views of all pages share.

The renderer, authorization of their routes, and the texts of errors of actions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Mapping
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import TypeVar

from aiohttp import web

from pipeline.errors import PipelineError, StoreError, UsageError
from pipeline.heartbeat.http.access.authorizer import FAILURE, Authorizer, Handler
from pipeline.heartbeat.http.console.render.renderer import PageRenderer
from pipeline.heartbeat.http.console.render.shown_items import ShownItems
from pipeline.heartbeat.http.console.saved_changes import SavedChanges
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.http.operations.service_actions import ServiceActions
from pipeline.heartbeat.http.operations.spiders import is_known
from pipeline.heartbeat.http.request_threads import in_request_thread
from pipeline.heartbeat.http.stored_files import in_file_thread
from pipeline.heartbeat.snapshot.schema import Snapshot

_T = TypeVar("_T")
_Key = TypeVar("_Key", str, int)


class Site:
    """What the views of all pages need. Threads read the store, so the event loop never waits for the store."""

    def __init__(self, actions: OperationsContext, authorizer: Authorizer, pages: PageRenderer, snapshot: Callable[[], Awaitable[Snapshot]]) -> None:
        self.actions = actions
        self.authorizer = authorizer
        self.pages = pages
        self.snapshot = snapshot
        self.stopping = asyncio.Event()
        self.saved_changes = SavedChanges()

    def running_service(self, refused: str) -> ServiceActions:
        """Return what the service does for pages. Raises UsageError with `refused` if this process has no such parts."""
        if self.actions.service is None:
            raise UsageError(refused, fix="open the pages of `pipeline serve`")
        return self.actions.service

    def add_pages(self, router: web.UrlDispatcher, pages: dict[str, Handler]) -> None:
        for path, handler in pages.items():
            router.add_get(path, self.authorizer.for_pages(handler))

    def add_actions(self, router: web.UrlDispatcher, actions: dict[str, Handler]) -> None:
        for path, handler in actions.items():
            router.add_post(path, self.authorizer.for_actions(self._with_error_text(handler)))

    def _with_error_text(self, handler: Handler) -> Handler:
        """Wrap `handler` so that whoever pressed a button sees the text of a PipelineError: browsers as a page, scripts as a line."""
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except PipelineError as error:
                caller = self.authorizer.caller_of(request)
                if caller is None or caller.by_header:
                    return web.Response(status=_status_of(error), text=f"error: {error}\n")
                return await self.problem(error, path=request.path)
        return answer

    async def problem(self, error: PipelineError, *, path: str) -> web.Response:
        """Return the page of an error that a person can act on. path: of the action; the page leads back to the nearest one above it."""
        response = await self._rendered("problem.html", _status_of(error), error=str(error), back=await self.authorizer.page_above(path))
        response[FAILURE] = f"error: {error}"
        return response

    async def html(self, template: str, *, status: int = 200, now: Snapshot | None = None, **facts: object) -> web.Response:
        """Return a page with the variables in `facts`. now: the snapshot that its header shows; None means the current one."""
        return await self._rendered(template, status, now=now if now is not None else await self.snapshot(), **facts)

    async def _rendered(self, template: str, status: int, **facts: object) -> web.Response:
        """Return a page. A thread renders it, because a large page takes tens of milliseconds, in which the event loop answers others."""
        authorizer = self.authorizer
        page = await in_request_thread(partial(self.pages.render, template, mask=self.actions.mask, authorized=True, may_act=authorizer.may_act, display=self.display(),
                                               csrf_token=authorizer.csrf_token, feed_key=authorizer.feed_key, **facts))
        return web.Response(status=status, text=page, content_type="text/html")

    async def known_spider(self, request: web.Request) -> str:
        """Return the spider that the path names; 404 if the settings have none of this name and no run of one is stored."""
        name = request.match_info["name"]
        if not await in_request_thread(is_known, self.actions.store, self.actions.settings, name):
            raise web.HTTPNotFound
        return name

    def configured_spider(self, request: web.Request) -> str:
        """Return the spider that the path names; 404 if the settings have none of this name."""
        name = request.match_info["name"]
        if name not in self.actions.settings.spiders:
            raise web.HTTPNotFound
        return name

    def display(self) -> ShownItems:
        """Return what shows items and changes, with the settings, the secrets and the language of now."""
        return ShownItems(self.actions.settings, self.actions.mask, self.pages.texts.language, self.pages.zone)

    async def from_files(self, read: Callable[[_Key], _T], key: _Key) -> _T:
        """Return what `read` returns. If the object store does not answer, the response is 503."""
        try:
            return await in_file_thread(read, key)
        except StoreError as error:
            raise web.HTTPServiceUnavailable(text=f"{self.actions.mask(str(error))}\n") from error


async def act(action: Callable[[], _T], wake: Callable[[], None] = lambda: None) -> _T:
    """Perform an action in a thread, then call `wake`, which wakes the part of the service that goes on with it."""
    found = await asyncio.to_thread(action)
    wake()
    return found


def _status_of(error: PipelineError) -> int:
    return 409 if isinstance(error, UsageError) else 503


def number_of(request: web.Request) -> int:
    return int(request.match_info["id"])


def number_in(text: str) -> int | None:
    """Return the number that a parameter contains, such as an id; None for what is none, and for one that no database has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def numbers_in(text: str) -> tuple[int, int] | None:
    """Return the two numbers of a position such as "7-12"; None for what is no position."""
    first, _, second = text.partition("-")
    numbers = number_in(first), number_in(second)
    return (numbers[0], numbers[1]) if numbers[0] is not None and numbers[1] is not None else None


def end_in_form(given: Mapping[str, str], offered: Container[str], *, now: datetime, zone: tzinfo) -> datetime | None:
    """Return when something ends: at the time in the field `until`, else after as many hours as the field `hours` says; None if both are empty.

    offered: the numbers of hours that the form offers. zone: the time zone of a time without one. Raises UsageError.
    """
    hours, until = given["hours"], given["until"].strip()
    if until:
        try:
            found = datetime.fromisoformat(until)
        except ValueError as error:
            raise UsageError(f"{until!r} is not a time", where="until", fix="write a time such as 2026-12-24 08:00") from error
        return found if found.tzinfo is not None else found.replace(tzinfo=zone)
    if hours and hours not in offered:
        raise UsageError(f"{hours!r} is not one of the offered numbers of hours", where="hours")
    return now + timedelta(hours=int(hours)) if hours else None


def or_404(found: _T | None) -> _T:
    if found is None:
        raise web.HTTPNotFound
    return found


def redirect(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})
