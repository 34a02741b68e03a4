"""Tests of the overview."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from pipeline.store.runs import paused_spiders
from tests.heartbeat.conftest import NOW
from tests.heartbeat.http.console.world import EVIL, page


def test_the_overview_is_searched_filtered_and_sorted_without_scripts(browser, world):
    world.fill()
    spiders = world.settings.spiders
    tagged = spiders["idle"].model_copy(update={"tags": ("shop", EVIL)})
    world.settings = world.settings.model_copy(update={"spiders": {"books": spiders["books"], "idle": tagged, "calm": spiders["idle"]}})
    paused_spiders.pause(world.store, "calm", now=NOW, reason="a new site <b>soon</b>")

    def names(query):
        return [row.get("data-spider") for row in page(browser, f"/?{query}").cssselect("table.overview tbody tr")]

    assert names("") == ["books", "calm", "idle"], "trouble first"
    assert names("sort=name") == ["books", "calm", "idle"]
    assert names("sort=last&page=9") == ["books", "calm", "idle"]
    assert (names("q=SHO"), names("tag=shop"), names("state=paused"), names("q=nothing")) == (["idle"], ["idle"], ["calm"], [])
    assert names(f"tag={quote(EVIL)}") == ["idle"]
    row, = page(browser, "/?state=paused").cssselect("table.overview tbody tr")
    assert "Paused until somebody resumes it: a new site <b>soon</b>" in row.text_content()
    failed = page(browser, "/?q=books").cssselect("tr .problem a")[0]
    assert failed.get("href").startswith("/runs/"), "a link to the page that shows why, not the name of a command"
    assert "The last run failed" in failed.getparent().text_content()


def test_the_overview_sends_the_rows_that_change_to_the_browsers_that_show_it(browser, world):
    number = re.search(r"/events\?since=(\d+)", browser.get(f"{browser.base}/", timeout=10).text)[1]
    paused_spiders.pause(world.store, "idle", now=NOW, reason=EVIL)
    with browser.get(f"{browser.base}/events", params={"since": number}, stream=True, timeout=10) as events:
        assert events.headers["Content-Type"] == "text/event-stream"
        told = next(line for line in events.iter_lines(decode_unicode=True) if line.startswith("data:"))
    rows = json.loads(told.removeprefix("data: "))["rows"]
    assert list(rows) == ["idle"], "only the row that changed"
    assert "<script" not in rows["idle"]
    assert 'data-state="paused"' in rows["idle"]
