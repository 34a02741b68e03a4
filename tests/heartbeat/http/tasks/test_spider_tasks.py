"""Tasks of a user in a browser: run a spider, look at its items, pause it."""

from __future__ import annotations

import pytest

from tests.heartbeat.http.tasks.conftest import Desk
from tests.servers.program import eventually

pytestmark = pytest.mark.needs("chromium")


def test_run_a_spider(desk: Desk) -> None:
    with desk.task("run a spider") as page:
        page.get_by_role("link", name="books", exact=True).click()
        page.get_by_role("button", name="Run now").click()
        eventually(lambda: page.reload() and "succeeded" in page.locator("main").inner_text())
    assert page.url == f"{desk.url}/runs/3"
