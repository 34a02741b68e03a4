"""Tasks of a user in a browser: see why a run failed, stop a run."""

from __future__ import annotations

import threading

import pytest
from playwright.sync_api import expect

from tests.heartbeat.http.console.tasks.conftest import Desk
from tests.servers.pages import Answer, Asked

pytestmark = pytest.mark.needs("chromium")


def test_see_why_a_run_failed(desk: Desk) -> None:
    desk.site.pages["/broken"] = Answer("<p>not for you", status=403)
    assert desk.program.run("run", "broken").returncode != 0
    with desk.task("see why a run failed") as page:
        row = page.locator("tr", has=page.get_by_role("link", name="broken", exact=True))
        row.get_by_role("link", name="See why").click()
        expect(page.get_by_role("heading", name="What is wrong")).to_be_visible()
        expect(page.locator("#main")).to_contain_text("HTTP 403")
        page.get_by_role("link", name="Failed pages: 1").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody tr")).to_contain_text(f"{desk.site.url}/broken")
        page.get_by_role("link", name="Log", exact=True).click()
        expect(page.locator("[data-log]")).to_contain_text("403")


def test_stop_a_run(desk: Desk) -> None:
    asked, release = threading.Event(), threading.Event()

    def slow(asked_for: Asked) -> Answer:
        asked.set()
        release.wait(20)
        return Answer("<li><b>slow</b>")
    desk.site.pages["/slow"] = "".join(f"<a href=/slow/{number}>{number}</a>" for number in range(40))
    desk.site.pages |= {f"/slow/{number}": slow for number in range(40)}
    try:
        with desk.task("stop a run") as page:
            page.get_by_role("link", name="slow", exact=True).click()
            page.get_by_role("button", name="Run now").click()
            assert asked.wait(20), "the run has begun"
            expect(page.locator("[data-state]")).to_have_text("running")
            page.get_by_role("button", name="Stop").click()
            release.set()
            expect(page.locator("[data-state]")).to_have_text("stopped")
            expect(page.get_by_role("button", name="Run again")).to_be_visible()
    finally:
        release.set()
