"""Tests of the export of items from the pages and the API, by processes of the real command."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import threading
import zipfile
from types import SimpleNamespace

import pytest
from lxml import html
from sqlalchemy import update

from pipeline.cli.item_export import Wanted, export_items
from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.http import item_exports
from pipeline.mail.formats import xlsx_format
from pipeline.service.item_export import ItemExports
from pipeline.settings.masking import Mask
from pipeline.store.console.items import ItemFilter
from pipeline.store.database.schema import items
from tests.heartbeat.http.console.conftest import browser, port, world
from tests.heartbeat.http.console.world import EVERY_SECRET, LEAK, stored_items

__all__ = ["browser", "port", "world"]  # fixtures
ALL = ItemFilter()


@pytest.fixture
def export(world):
    """Exports items of the spider "books", as the service does."""
    stored_items(world)
    with world.store.write() as connection:
        connection.execute(update(items).where(items.c.key == "b").values(data={"title": f"=1+1 {LEAK}", "price": 3, "added later": "y"}))
    exports = ItemExports()

    def export(form, wanted=ALL, spider="books"):
        return exports.export(world.settings.file, spider, form, wanted, mask=Mask.of(world.settings))

    world.actions.service = SimpleNamespace(export_items=lambda spider, form, wanted: export(form, wanted, spider))
    return export


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)  # the loop of the service: its subprocesses write to sockets
def test_the_pages_and_the_api_export_the_items_that_match_as_csv_json_and_xlsx(browser, world, export):
    links = [link.get("href") for link in _page(browser, "/spiders/books/items?q=lamp&state=present").cssselect("a[download]")]
    assert links == [f"/spiders/books/items.{form}?q=lamp&state=present" for form in ("csv", "xlsx", "json")]
    answer = browser.get(browser.base + links[0], timeout=30)
    assert "books-items.csv" in answer.headers["Content-Disposition"]
    row, = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["key"], row["on the site"], row["price"], row["changed (UTC)"]) == ("a", "true", "11", "2026-11-24 15:16:41")
    api = {"headers": {"Authorization": f"Bearer {world.token.reveal()}"}, "timeout": 30}
    found = browser.get(f"{browser.base}/api/v1/spiders/books/items/export?format=json&field=title&value=T&present=false", **api).json()
    assert [(item["key"], item["present"], item["data"]) for item in found] == [("c", False, {"title": "Table"})]
    whole = browser.get(f"{browser.base}/spiders/books/items.csv", timeout=30).text
    assert [row["title"][:5] for row in csv.DictReader(io.StringIO(whole))] == ["Lamp ", "'=1+1", "Table"], "a formula is neutralised"
    assert "added later" in whole.splitlines()[0], "a field that only one item has is a column, too"
    assert not any(secret in whole for secret in EVERY_SECRET)
    assert browser.head(f"{browser.base}/spiders/books/items.xlsx", timeout=30).status_code == 200
    with zipfile.ZipFile(io.BytesIO(browser.get(f"{browser.base}/spiders/books/items.xlsx", timeout=30).content)) as archive:
        assert "<f>" not in archive.read("xl/worksheets/sheet1.xml").decode()
    refused = browser.get(f"{browser.base}/api/v1/spiders/books/items/export?format=pdf", **api)
    assert (refused.status_code, refused.json()["errors"][0]["name"]) == (400, "format")
    assert browser.get(f"{browser.base}/spiders/nobody/items.csv", timeout=10).status_code == 404


def _page(browser, path):
    return html.fromstring(browser.get(browser.base + path, timeout=10).content)


def test_a_third_export_is_refused_a_left_one_ends_its_process_and_an_error_is_told(export):
    async def scenario():
        async with contextlib.aclosing(export("csv")) as one, contextlib.aclosing(export("json")) as two:
            assert (await anext(one)).startswith(b'"key"')
            await anext(two)
            with pytest.raises(UsageError, match="2 exports are in progress"):
                await anext(export("csv"))
        async with contextlib.aclosing(export("json")) as again:  # those two have made room
            assert b'"key": "a"' in b"".join([chunk async for chunk in again])
        with pytest.raises(PipelineError, match="no spider named '--all'"):
            await anext(export("csv", spider="--all"))

    asyncio.run(scenario())


def test_an_export_ends_when_its_client_stands_still(browser, world, monkeypatch):
    ended = threading.Event()

    async def endless(spider, form, wanted):
        try:
            while True:
                yield bytes(2**20)
        finally:
            ended.set()

    world.actions.service = SimpleNamespace(export_items=endless)
    monkeypatch.setattr(item_exports, "CHUNK_S", 0.3)
    with browser.get(f"{browser.base}/spiders/books/items.csv", stream=True, timeout=30):  # the body is not read
        assert ended.wait(30)


def test_a_sheet_that_cannot_contain_all_items_is_refused(world, export, monkeypatch, tmp_path):

    monkeypatch.setattr(xlsx_format, "MAX_ROWS", 3)
    with pytest.raises(UsageError, match="only the first 2 rows"):
        export_items(world.store, Wanted("books", ItemFilter()), "xlsx", tmp_path / "items.xlsx")
