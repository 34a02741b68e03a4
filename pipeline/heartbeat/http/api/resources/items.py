"""The stored items of a spider: search, filter, history of one item, forget."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

from aiohttp import web
from pydantic import Field

from pipeline.heartbeat.http.api.paging import cursor_of, id_before, page_of, position_in
from pipeline.heartbeat.http.api.problem import ApiProblem
from pipeline.heartbeat.http.api.resources.runs import ChangeModel, change_model, check_known_spider
from pipeline.heartbeat.http.api.resources.types import Number, Text, Truth
from pipeline.heartbeat.http.api.route import (
    DEFAULT_LIMIT,
    MOST,
    Call,
    Input,
    Model,
    Page,
    PageQuery,
    Route,
    not_found,
)
from pipeline.heartbeat.http.item_exports import send_items
from pipeline.heartbeat.http.operations.service_actions import ExportFormat
from pipeline.model import Json
from pipeline.store.console import items as stored
from pipeline.store.console import lists
from pipeline.store.crawl import items as crawled


class Item(Model):
    """A stored item. present: whether the last pass found it on the site. pass_id: the last pass that saw it."""

    id: int
    spider: str
    key: str
    data: dict[str, Json]
    present: bool
    first_seen_at: datetime
    changed_at: datetime
    pass_id: int


class ForgottenItem(Model):
    """An item that was forgotten: the next run that finds it reports it as new."""

    spider: str
    key: str


class ItemQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    q: Text | None = Field(None, description="a text that any field contains, in any case")
    field: Text | None = Field(None, description="the name of a field that contains `value`")
    value: Text | None = Field(None, description="what the field contains, in any case")
    present: Truth | None = Field(None, description="only items on the site, or only items that are gone")
    sort: Literal["key", "-key", "seen", "-seen"] = "key"


class ExportQuery(Input):
    format: ExportFormat = Field(description="CSV and XLSX are tables with a column for each field; JSON is an array of items")
    q: Text | None = Field(None, description="a text that any field contains, in any case")
    field: Text | None = Field(None, description="the name of a field that contains `value`")
    value: Text | None = Field(None, description="what the field contains, in any case")
    present: Truth | None = Field(None, description="only items on the site, or only items that are gone")


class HistoryQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)


def routes() -> list[Route]:
    return [
        Route("GET", "/spiders/{name}/items", "Search the items of a spider. A page may have fewer items than `limit`, even none, although `next` "
              "leads to more.", list_items, Page[Item], ItemQuery, tag="items"),
        Route("GET", "/spiders/{name}/items/export", "Export all items of the spider that match, sorted by key, as one file.", export_items, None, ExportQuery,
              problems=("conflict", "not-possible", "unavailable"), tag="items"),
        Route("GET", "/spiders/{name}/items/{id}", "Get an item.", get_item, Item, tag="items"),
        Route("DELETE", "/spiders/{name}/items/{id}", "Forget an item, so that the next run that finds it reports it as new.", forget_item, ForgottenItem,
              action="forget", target="spider {name} item {id}", tag="items"),
        Route("GET", "/spiders/{name}/items/{id}/history", "List the changes of an item, the newest first.", list_history, Page[ChangeModel], HistoryQuery,
              tag="items"),
    ]


def list_items(call: Call) -> Page[Item]:
    check_known_spider(call)
    query = call.query
    kinds = (str,) if query.sort.endswith("key") else (int, int)
    found = stored.page(call.context.store, call.name, _wanted(call), limit=query.limit, sort=query.sort, after=position_in(query.after, *kinds))
    return Page(items=[_item(call, row) for row in found.rows], next=cursor_of(*found.after) if found.after is not None else None)


async def export_items(call: Call) -> web.StreamResponse:
    await asyncio.to_thread(check_known_spider, call)
    chunks = call.context.running_service.export_items(call.name, call.query.format, _wanted(call))
    return await send_items(call.request, call.name, call.query.format, chunks)


def get_item(call: Call) -> Item:
    return _item(call, _row(call))


def forget_item(call: Call) -> ForgottenItem:
    key = _row(call).key
    if not crawled.forget(call.context.store, call.name, key):
        raise not_found("the spider has no item with this id")
    return ForgottenItem(spider=call.name, key=key)


def list_history(call: Call) -> Page[ChangeModel]:
    found = lists.changes_of_item(call.context.store, call.name, _row(call).key, limit=call.query.limit + 1, before=id_before(call.query.after))
    return page_of(found, call.query.limit, change_model, lambda change: (change.id,))


def _wanted(call: Call) -> stored.ItemFilter:
    query = call.query
    if (query.field is None) != (query.value is None):
        raise ApiProblem("invalid-parameter", errors=[("field", "give `field` and `value` together")])
    return stored.ItemFilter(query.q or "", query.field or "", query.value or "", query.present)


def _row(call: Call) -> stored.ItemRow:
    found = stored.one(call.context.store, call.name, call.id)
    if found is None:
        raise not_found("the spider has no item with this id")
    return found


def _item(call: Call, row: stored.ItemRow) -> Item:
    return Item(id=row.id, spider=call.name, key=row.key, data=row.data, present=row.present, first_seen_at=row.first_seen_at,
                changed_at=row.changed_at, pass_id=row.pass_id)
