"""Tests of the pages with axe-core in Chromium.

No serious finding at the width of a phone and of a desk, in light and dark.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from pipeline.heartbeat.access import AccessPolicy
from tests.heartbeat.conftest import NOW
from tests.heartbeat.http.console.test_archive import archive_of_three_days, at
from tests.heartbeat.http.console.world import fetched_rows, log_line, stored_items, write_log

AXE = Path(__file__).parents[3] / "applications" / "node_modules" / "axe-core" / "axe.min.js"
RUN = """axe.run(document, {iframes: false, resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})
    .then((found) => ({passes: found.passes.length, violations: found.violations}))"""
LOOKS = [(360, "light"), (1280, "dark")]


@pytest.mark.needs("chromium", "axe-core")
@pytest.mark.parametrize("run", ["asyncio"], indirect=True)
def test_axe_finds_nothing_serious_on_any_page_and_no_page_is_wider_than_the_window(start, world):
    stored_items(world)
    _, failed = world.fill()
    live = fetched_rows(world)
    write_log(world, live, log_line(1) + log_line(2, "warning") + log_line(3, "error"))
    archive_of_three_days(world)
    port = start(source=world, actions=world.actions, access=AccessPolicy(world.token)).address[1]
    paths = ("/digests/books", "/spiders/books", "/spiders/idle", "/spiders/books/items", "/spiders/books/items/1", "/spiders/books/changes", "/spiders/books/downloads",
             "/spiders/books/session", "/spiders/books/item?key=nothing", f"/runs/{failed.id}", f"/runs/{live.id}",
             *(f"/runs/{live.id}/{name}" for name in ("log", "pages", "rejects", "downloads", "changes")), "/digests", "/digests/books/send", "/digests/books/left-out", "/settings",
             f"/messages/{world.sent}", f"/messages/{world.parked}", f"/messages/{world.parked}/drop", "/outbox", "/outbox/retry",
             "/archive/books", *(at(view=view, at=NOW.isoformat()) for view in ("", "/compare")),
             "/new-spider", "/spiders/books/edit", "/spiders/books/mend")
    found, wide = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell") or shutil.which("chromium"), args=["--no-sandbox"] if os.getuid() == 0 else [])
        for width, scheme in LOOKS:
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page.goto(f"http://127.0.0.1:{port}/outbox")
            for path in ("", f"/?token={world.token.reveal()}", *(paths if width == 360 else paths[1:2])):  # "": the page that asks for the token
                if path:
                    page.goto(f"http://127.0.0.1:{port}{path}")
                page.evaluate(AXE.read_text("utf-8"))
                result = page.evaluate(RUN)
                assert result["passes"] > 5, "axe has examined the page"
                found += [(path, width, scheme, each["id"], each["nodes"][0]["html"][:200]) for each in result["violations"]
                          if each["impact"] in ("serious", "critical")]
                wide += [path] if page.evaluate("document.documentElement.scrollWidth") > width else []
            page.close()
        browser.close()
    assert found == []
    assert wide == []
