"""The pages of a spider's items, and of one item with its history.

The button that forgets an item; pictures of watched pages.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any, cast, get_args
from urllib.parse import quote

from aiohttp import web

from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.http.console.items.charts import charts_of
from pipeline.heartbeat.http.console.render.list_url import ListUrl
from pipeline.heartbeat.http.console.render.shown_items import ShownItems
from pipeline.heartbeat.http.console.site import Site, act, number_in, number_of, or_404, redirect
from pipeline.heartbeat.http.item_exports import send_items
from pipeline.heartbeat.http.operations.files import stored_pictures
from pipeline.heartbeat.http.operations.service_actions import ExportFormat
from pipeline.heartbeat.http.request_threads import in_request_thread
from pipeline.heartbeat.http.stored_files import send_file, stored_file
from pipeline.model import PICTURES
from pipeline.store import Store
from pipeline.store.console import items as queries
from pipeline.store.console.all_items import id_of
from pipeline.store.console.lists import changes_of_item
from pipeline.store.console.sorted_items import SortedPage, by_change, by_field
from pipeline.store.crawl import items as stored
from pipeline.store.crawl.items import field_names

ROWS = 50
HISTORY = 100
"""Maximum number of changes of an item on one page; charts show those of the first page."""
DEFAULT_SORT, CHANGED = "-seen", "-changed"
SORTS = {DEFAULT_SORT: "seen last", CHANGED: "changed last", "seen": "seen first", "key": "key, A to Z", "-key": "key, Z to A"}
"""The orders that every spider has, as the form says them. There is an order for each field, too."""
FIELD = "field:"
_STATES = {"": None, "present": True, "gone": False}
_NAMES = {present: name for name, present in _STATES.items()}


class ItemViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {
            "/spiders/{name}/items": self._items, "/spiders/{name}/items.{form:csv|xlsx|json}": self._export, "/spiders/{name}/item": self._item_of_key,
            r"/spiders/{name}/items/{id:\d{1,18}}": self._item, "/pictures/{key:.+}": self._picture})
        self._site.add_actions(router, {r"/spiders/{name}/items/{id:\d{1,18}}/forget": self._forget})

    async def _items(self, request: web.Request) -> web.Response:
        name, given = await self._site.known_spider(request), request.query
        wanted, sort = _wanted(request), given.get("sort", DEFAULT_SORT)[:200]
        shown = self._site.display()
        offered = await in_request_thread(_offered, self._actions.store, shown, name)
        sort = sort if sort in SORTS or sort.lstrip("-").removeprefix(FIELD) in offered else DEFAULT_SORT
        found = await in_request_thread(_page, self._actions.store, name, wanted, sort, given.get("after", ""))
        columns = await in_request_thread(shown.columns, name, found.rows)
        rows = await in_request_thread(shown.items, name, found.rows, columns, partial(stored_pictures, self._actions.store))
        path, filters = f"/spiders/{quote(name)}/items", {"q": wanted.text, "state": _NAMES[wanted.present]}
        return await self._site.html(
            "items/items.html", name=name, rows=rows, labels=[shown.label(name, column) for column in columns],
            fields=[(field, shown.label(name, field)) for field in offered], text=wanted.text, state=_NAMES[wanted.present], sort=sort, orders=SORTS,
            url=ListUrl(path, **filters, sort="" if sort == DEFAULT_SORT else sort),
            page=found, after=json.dumps(found.after) if found.after is not None else "", first="after" not in given,
            exports={form: ListUrl(f"{path}.{form}", **filters)() for form in get_args(ExportFormat)} if self._actions.service is not None else {})

    async def _export(self, request: web.Request) -> web.StreamResponse:
        """Send all items that the page shows with this search and state, as a file."""
        name, form, service = await self._site.known_spider(request), cast("ExportFormat", request.match_info["form"]), self._actions.service
        if service is None:
            raise web.HTTPServiceUnavailable
        try:
            return await send_items(request, name, form, service.export_items(name, form, _wanted(request)))
        except PipelineError as error:
            return await self._site.problem(error, path=f"/spiders/{name}/items/{form}")

    async def _item_of_key(self, request: web.Request) -> web.Response:
        """Lead from the key of an item, which changes name, to its page."""
        name, key = request.match_info["name"], request.query.get("key", "")
        number = await in_request_thread(id_of, self._actions.store, name, key)
        if number is None:
            await self._site.known_spider(request)
            return await self._site.html("items/item_forgotten.html", name=name)
        return redirect(f"/spiders/{quote(name)}/items/{number}")

    async def _item(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        row = or_404(await in_request_thread(queries.one, self._actions.store, name, number_of(request)))
        before = request.query.get("after", "")
        found = await in_request_thread(partial(changes_of_item, self._actions.store, name, row.key, limit=HISTORY + 1,
                                                before=number_in(before)))
        shown = self._site.display()
        title, link, fields = await in_request_thread(shown.item, name, row)
        charts = await in_request_thread(charts_of, found[::-1], shown.display_of(name), partial(shown.label, name)) if not before else []
        return await self._site.html("items/item.html", name=name, item=row, title=title, link=link, fields=fields,
                                     changes=found[:HISTORY], charts=charts, after=found[HISTORY - 1].id if len(found) > HISTORY else "",
                                     first=not before,
                                     url=ListUrl(f"/spiders/{quote(name)}/items/{row.id}"))

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
        return await send_file(or_404(await self._site.from_files(partial(stored_file, self._actions.store), key)), request, shown_as="image/png")


def _wanted(request: web.Request) -> queries.ItemFilter:
    """Return the items that the search and the state in the query name. Unknown states count as not given."""
    return queries.ItemFilter(text=request.query.get("q", "").strip()[:100], present=_STATES.get(request.query.get("state", "")))


def _offered(store: Store, shown: ShownItems, name: str) -> list[str]:
    """Return the fields by which items can be sorted: those of the items that were seen last, unless the settings hide them."""
    hidden = shown.display_of(name).hide
    return [field for field in field_names(store, name, sample=ROWS) if field not in hidden]


def _page(store: Store, name: str, wanted: queries.ItemFilter, sort: str, after: str) -> SortedPage:
    """Return a page of items in one of SORTS, or by a field."""
    if sort == CHANGED:
        return by_change(store, name, wanted, limit=ROWS, after=cast("Any", _position(after, int, int)))
    field = sort.lstrip("-")
    if field.startswith(FIELD):
        return by_field(store, name, wanted, field.removeprefix(FIELD), limit=ROWS, descending=sort.startswith("-"),
                        after=cast("Any", _position(after, int, float, str, int)))
    kinds = (str,) if sort.endswith("key") else (int, int)
    found = queries.page(store, name, wanted, limit=ROWS, sort=cast("queries.Sort", sort), after=_position(after, *kinds))
    return SortedPage(found.rows, found.after, 0, complete=True)


def _position(after: str, *kinds: type) -> tuple[Any, ...] | None:
    """Return the position after which a page begins; None for the first page. What is no position counts as not given."""
    try:
        found = json.loads(after) if after else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or len(found) != len(kinds) or not all(type(each) is kind for each, kind in zip(found, kinds, strict=True)):
        return None
    return tuple(found) if all(not isinstance(each, int) or abs(each) < 2**63 for each in found) else None
