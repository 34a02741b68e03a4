"""The pages of a spider's items, and of one item with its history.

The button that forgets an item; pictures of watched pages.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any, cast
from urllib.parse import quote, urlencode

from aiohttp import web

from pipeline.errors import UsageError
from pipeline.heartbeat.http.console.item_fields import charts_of, columns_of, fields_of, link_of, shown_field, title_of
from pipeline.heartbeat.http.console.site import Site, act, number_of, or_404, redirect
from pipeline.heartbeat.http.item_exports import send_items
from pipeline.heartbeat.http.operations.service_actions import ExportFormat
from pipeline.heartbeat.http.request_threads import in_request_thread
from pipeline.heartbeat.http.stored_files import send_file
from pipeline.model import PICTURES
from pipeline.settings import DisplayTable
from pipeline.store.console import items as queries
from pipeline.store.console.lists import changes_of_item
from pipeline.store.crawl import items as stored

ROWS = 50
HISTORY = 200
"""Maximum number of changes of an item that its page shows."""
_SORTS = ("key", "-key", "seen", "-seen")
_STATES = {"": None, "present": True, "gone": False}
_NAMES = {present: name for name, present in _STATES.items()}


class ItemViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/spiders/{name}/items": self._items, "/spiders/{name}/items.{form:csv|xlsx|json}": self._export, r"/spiders/{name}/items/{id:\d{1,18}}": self._item,
                                      "/pictures/{key:.+}": self._picture})
        self._site.add_actions(router, {r"/spiders/{name}/items/{id:\d{1,18}}/forget": self._forget})

    def _display(self, name: str) -> DisplayTable:
        table = self._actions.settings.spiders.get(name)
        return table.display if table is not None else DisplayTable()

    async def _items(self, request: web.Request) -> web.Response:
        name, given = request.match_info["name"], request.query
        if name not in self._actions.settings.spiders:
            or_404(await asyncio.to_thread(self._actions.spider, name))
        wanted, sort = _wanted(request), given.get("sort", "-seen")
        text, state, sort = wanted.text, _NAMES[wanted.present], sort if sort in _SORTS else "-seen"
        found = await in_request_thread(partial(queries.page, self._actions.store, name, wanted, limit=ROWS, sort=cast("queries.Sort", sort),
                                                after=_position(given.get("after", ""), sort)))
        display = self._display(name)
        columns = columns_of([row.data for row in found.rows], display)
        rows = [(row, title_of(row.data, row.key), link_of(row.data, row.key),
                 [shown_field(column, row.data.get(column), display, name) for column in columns]) for row in found.rows]

        def url(form: str = "", **changed: str) -> str:
            values = {"q": text, "state": state, **({} if form else {"sort": "" if sort == "-seen" else sort}), **changed}
            query = urlencode({key: value for key, value in values.items() if value})
            return f"/spiders/{quote(name)}/items{f'.{form}' if form else ''}" + (f"?{query}" if query else "")

        return await self._site.html("items.html", now=await self._site.snapshot(), name=name, rows=rows, columns=columns,
                               labels=[shown_field(column, None, display, name).label for column in columns], text=text, state=state, sort=sort,
                               url=url, after=json.dumps(found.after) if found.after is not None else "", first="after" not in given)

    async def _export(self, request: web.Request) -> web.StreamResponse:
        """Send all items that the page shows with this search and state, as a file."""
        name, form, service = request.match_info["name"], cast("ExportFormat", request.match_info["form"]), self._actions.service
        if name not in self._actions.settings.spiders:
            or_404(await asyncio.to_thread(self._actions.spider, name))
        if service is None:
            raise web.HTTPServiceUnavailable
        return await send_items(request, name, form, service.export_items(name, form, _wanted(request)))

    async def _item(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        row = or_404(await in_request_thread(queries.one, self._actions.store, name, number_of(request)))
        newest = await in_request_thread(partial(changes_of_item, self._actions.store, name, row.key, limit=HISTORY))
        display = self._display(name)
        return await self._site.html("item.html", now=await self._site.snapshot(), name=name, item=row, title=title_of(row.data, row.key),
                               link=link_of(row.data, row.key), fields=fields_of(row.data, display, name), changes=newest,
                               charts=charts_of(newest[::-1], display), most=HISTORY)

    async def _forget(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        row = or_404(await in_request_thread(queries.one, self._actions.store, name, number_of(request)))
        if not await act(partial(stored.forget, self._actions.store, name, row.key)):
            raise UsageError("the item was forgotten already", where=name)
        return redirect(f"/spiders/{quote(name)}/items")

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        """Return a picture of a watched page, which the program took itself; other stored files are only saved, never shown."""
        key = request.match_info["key"]
        if not key.startswith(f"{PICTURES}/") or not key.endswith(".png"):
            raise web.HTTPNotFound
        return await send_file(or_404(await self._site.from_files(self._actions.stored_file, key)), request, shown_as="image/png")


def _wanted(request: web.Request) -> queries.ItemFilter:
    """Return the items that the search and the state in the query name. Unknown states count as not given."""
    return queries.ItemFilter(text=request.query.get("q", "").strip()[:100], present=_STATES.get(request.query.get("state", "")))


def _position(after: str, sort: str) -> tuple[Any, ...] | None:
    """Return the position after which a page begins; None for the first page. What is no position counts as not given."""
    try:
        found = json.loads(after) if after else None
    except (ValueError, RecursionError):
        return None
    kinds: list[type] = [str] if sort.endswith("key") else [int, int]
    if not isinstance(found, list) or len(found) != len(kinds) or not all(type(each) is kind for each, kind in zip(found, kinds, strict=True)):
        return None
    return tuple(found) if all(isinstance(each, str) or abs(each) < 2**63 for each in found) else None
