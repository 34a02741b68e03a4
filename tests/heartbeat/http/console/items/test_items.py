"""Tests of the pages of items."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from pipeline.store.console import sorted_items
from tests.heartbeat.http.console.world import page, press, stored_items


@pytest.mark.parametrize("run", ["asyncio"], indirect=True)
def test_items_are_sorted_by_a_field_and_by_their_last_change_and_an_incomplete_order_is_told(browser, world, monkeypatch):
    stored_items(world)

    def titles(query):
        return [link.text_content()[:5] for link in page(browser, f"/spiders/books/items?{query}").cssselect("tbody th > a")]

    assert titles("sort=-field:price") == ["Lamp ", "Chair"]
    assert titles("sort=field:price") == ["Chair", "Lamp "]
    assert titles("sort=-field:internal") == titles(""), "a hidden field is no order"
    assert titles("sort=-changed")[:2] == ["Lamp ", "Table"]
    assert titles("sort=-changed&state=gone") == ["Table"]
    monkeypatch.setattr(sorted_items, "_BATCH", 2)
    monkeypatch.setattr(sorted_items, "SEARCH_S", 0)
    assert "only the 2 items that were seen last" in page(browser, "/spiders/books/items?sort=field:price").text_content()
    for broken in ("[", "[0,1,\"\",1]", "[0,NaN,\"\",1]"):
        assert browser.get(f"{browser.base}/spiders/books/items?sort=field:price&after={quote(broken)}", timeout=10).status_code == 200


def test_items_are_searched_filtered_and_sorted_and_one_has_its_history_with_a_chart(browser, world):
    stored_items(world)

    def titles(query):
        return [link.text_content() for link in page(browser, f"/spiders/books/items?{query}").cssselect("tbody th > a")]

    assert [title[:5] for title in titles("sort=key")] == ["Lamp ", "Chair", "Table"]
    assert (titles("q=CHAIR"), titles("state=gone"), titles("q=nothing")) == (["Chair"], ["Table"], [])
    for broken in ("[", "[1]", "[true,1]", '["a"]', "[9999999999999999999999,1]"):
        assert len(titles(f"after={quote(broken)}")) == 3
    found = page(browser, "/spiders/books/items?sort=key")
    assert "Our price" in found.text_content()
    assert "internal" not in found.text_content()
    assert not found.xpath("//a[starts-with(@href, 'javascript')]")
    item = page(browser, found.cssselect("tbody th > a")[0].get("href"))
    assert item.cssselect("svg.chart path.line")
    assert "Our price: 12 → 11 (lowest 9.5, highest 12)" in item.text_content()
    assert [cell.text_content() for cell in item.cssselect("td.kind")] == ["changed", "changed", "new"]
    assert not item.xpath("//script|//a[starts-with(@href, 'javascript')]")
    assert browser.get(f"{browser.base}/spiders/idle/items/1", timeout=10).status_code == 404, "an item of another spider"


def test_an_item_is_forgotten_by_a_button(browser, world):
    stored_items(world)
    path = page(browser, "/spiders/books/items?q=chair").cssselect("tbody th > a")[0].get("href")
    assert press(browser, path, f"{path}/forget").headers["Location"] == "/spiders/books/items"
    assert browser.get(browser.base + path, timeout=10).status_code == 404
    assert browser.post(f"{browser.base}{path}/forget", timeout=10).status_code == 403, "without the proof"


def test_only_pictures_that_the_program_took_are_shown(browser, world):
    world.fill()
    key = f"screenshots/books/{'0' * 32}-page.png"
    world.store.files.write(key, b"\x89PNG")
    shown = browser.get(f"{browser.base}/pictures/{key}", timeout=10)
    assert (shown.status_code, shown.headers["Content-Type"], shown.headers["Content-Disposition"][:6]) == (200, "image/png", "inline")
    assert "sandbox" in shown.headers["Content-Security-Policy"]
    for other in ("downloads/books/0.pdf", "screenshots/books/../../pipeline.sqlite3", "heartbeat-token"):
        assert browser.get(f"{browser.base}/pictures/{other}", timeout=10).status_code == 404
