"""Tasks of a user in a browser: run a spider, find the history of a price, download a file, pause a spider for a week."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.heartbeat.http.console.tasks.conftest import Desk
from tests.servers.program import eventually

pytestmark = pytest.mark.needs("chromium")


def test_run_a_spider(desk: Desk) -> None:
    with desk.task("run a spider") as page:
        page.get_by_role("link", name="books", exact=True).click()
        page.get_by_role("button", name="Run now").click()
        page.wait_for_url("**/runs/*")  # a reload while the form is being sent can fail
        eventually(lambda: page.reload() and "succeeded" in page.locator("main").inner_text())
    assert page.url == f"{desk.url}/runs/3"


def test_find_the_history_of_a_price(desk: Desk) -> None:
    with desk.task("find the history of a price") as page:
        page.get_by_role("link", name="books", exact=True).click()
        page.get_by_role("link", name="Items", exact=True).click()
        page.get_by_label("Search").fill("book 7")
        page.get_by_label("Sort by").select_option("price, descending")
        page.get_by_role("button", name="Show").click()
        page.get_by_role("link", name="Book 7").click()
        expect(page.get_by_role("img", name="price over time")).to_be_visible()
    expect(page.locator("figcaption")).to_contain_text("7.50 € → 10.50 €")
    change = page.get_by_role("row").filter(has_text="changed").inner_text()
    assert "7.50 €" in change
    assert "10.50 €" in change
    assert "+40%" in change, "the difference is shown as in digests"
    with page.expect_download() as saved:
        desk.open("/spiders/books/items?q=book+7")
        page.get_by_role("link", name="CSV", exact=True).click()
    assert len(Path(saved.value.path()).read_text("utf-8").splitlines()) == 2, "a row of names and one item"
    desk.open("/spiders/books/changes?kind=changed")
    page.get_by_role("link", name="Book 7").click()
    expect(page).to_have_url(re.compile("/spiders/books/items/"))


def test_download_a_file(desk: Desk) -> None:
    with desk.task("download a file") as page, page.expect_download() as saved:
        page.get_by_role("link", name="books", exact=True).click()
        page.get_by_role("link", name="Downloads", exact=True).click()
        page.get_by_role("link", name="Download list.pdf").click()
    assert Path(saved.value.path()).read_bytes().startswith(b"%PDF")
    assert saved.value.suggested_filename == "list.pdf"


def test_pause_a_spider_for_a_week(desk: Desk) -> None:
    with desk.task("pause a spider for a week") as page:
        page.get_by_role("link", name="books", exact=True).click()
        page.locator("summary", has_text="Pause").click()
        page.get_by_label("For how long").select_option("7 days")
        page.get_by_label("Reason").fill("the shop is closed")
        page.get_by_role("button", name="Pause", exact=True).click()
        expect(page.get_by_text("the shop is closed")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("books paused")
    assert datetime.fromisoformat(str(page.locator(".slots time").first.get_attribute("datetime"))) > datetime.now(UTC) + timedelta(days=6.9)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("heading", level=1)).not_to_contain_text("paused")
    expect(page.locator("summary", has_text="Pause")).to_be_visible()
    page.get_by_role("link", name="Session", exact=True).click()
    expect(page.get_by_text("The session has no cookies.")).to_be_visible()
