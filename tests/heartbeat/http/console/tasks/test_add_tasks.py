"""Tasks of a user in a browser: add a spider from a URL, mend one whose site has changed."""

from __future__ import annotations

import pytest

from tests.cli.test_mend import NAMES, new, old
from tests.heartbeat.http.console.tasks.conftest import Desk
from tests.servers.program import eventually

pytestmark = pytest.mark.needs("chromium")


def films() -> str:
    rows = "".join(f'<li class=film><h3><a href="/films/{number}">Film {number}</a></h3><p class=price>£{number + 5}.00</p></li>' for number in range(10))
    return f"<html><title>Films</title><body><nav><a href=/>Home</a></nav><ul>{rows}</ul>"


def test_add_a_spider_from_a_url(desk: Desk) -> None:
    desk.site.pages["/films"] = films()
    with desk.task("add a spider from a URL") as page:
        page.get_by_role("link", name="Add a spider").click()
        page.get_by_label("URL of a page").fill(f"{desk.site.url}/films")
        page.get_by_label("Name of the spider").fill("films")
        page.get_by_role("button", name="Propose rules").click()
        assert "choose the session of books" in page.get_by_role("alert").inner_text()  # nobody reaches this machine through the service
        page.get_by_label("Fetch it with the session of").select_option("books")
        page.get_by_role("button", name="Propose rules").click()
        text = page.get_by_label("Settings (TOML)")
        good = text.input_value()
        text.fill(good.replace("[spiders.films]", "[spiders.films]\nspeed = 3"))
        page.get_by_role("button", name="Save").click()
        said = page.get_by_role("alert").inner_text()
        assert "line 2" in said
        assert "spiders.films.speed" in said
        assert "speed = 3" in text.input_value()
        text.fill(good)
        page.get_by_role("button", name="Try").click()
        assert "Film 9" in page.get_by_role("region", name="Items").inner_text()
        page.get_by_role("button", name="Save").click()
        notice = page.get_by_role("status", name="Saved")
        assert "settings.d/films.toml" in notice.inner_text()
        notice.get_by_role("button", name="Run now").click()
        page.locator("main", has_text="succeeded").wait_for()  # the page of a run updates itself
    assert "[spiders.films]" in (desk.program.folder / "settings.d" / "films.toml").read_text("utf-8")


LAMPS = """
[spiders.lamps]
start = "{url}/lamps"  # all lamps
robots = false
items.each = "li.lamp"
items.key = ["url"]
items.fields = {{ title = "h3 a", url = "h3 a::attr(href)", price = {{ css = ".price", type = "price" }} }}
"""


def test_mend_a_spider_whose_site_has_changed(desk: Desk) -> None:
    folder = desk.program.folder / "settings.d"
    folder.mkdir(exist_ok=True)
    (folder / "lamps.toml").write_text(LAMPS.format(url=desk.site.url))
    desk.open("/settings")
    desk.page.get_by_role("button", name="Reload").click()

    def run(outcome: str) -> None:
        desk.open("/spiders/lamps")
        desk.page.get_by_role("button", name="Run now").click()
        desk.page.locator("main", has_text=outcome).wait_for()  # the page of a run updates itself

    desk.site.pages["/lamps"] = old(NAMES)
    run("succeeded")
    desk.site.pages["/lamps"] = new(NAMES)
    run("suspect")
    with desk.task("mend a spider") as page:
        page.get_by_role("link", name="lamps", exact=True).click()
        page.wait_for_url("**/spiders/lamps")
        eventually(lambda: page.reload() and page.get_by_role("link", name="Look at the new rules").count())  # the search follows the run
        page.get_by_role("link", name="Look at the new rules").click()
        assert "tr" in page.get_by_role("region", name="Change of the settings file").locator("ins").all_inner_texts()[0]
        assert "Amber lamp" in page.get_by_role("region", name="Items before and after").inner_text()
        page.get_by_role("button", name="Apply these rules").click()
        notice = page.get_by_role("status", name="Saved")
        assert "The new rules were written to settings.d/lamps.toml" in notice.inner_text()
        notice.get_by_role("button", name="Run now").click()
        page.locator("main", has_text="succeeded").wait_for()  # the page of a run updates itself
    assert "suspect" not in desk.page.locator("main").inner_text()
    assert "# all lamps" in (folder / "lamps.toml").read_text("utf-8")
