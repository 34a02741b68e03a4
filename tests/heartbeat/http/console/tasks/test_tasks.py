"""Tasks of a user in a browser, one after the other at one service.

Run a spider, find the history of a price, download a file, pause a spider; preview and send a digest, retry a parked mail; see why a run
failed, stop a run; add a spider from a URL, mend one whose site has changed. And a mail that is shown can do nothing.
"""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from pipeline.heartbeat.token import load_or_create_token
from tests.cli.test_mend import NAMES, new, old
from tests.heartbeat.http.console.tasks.conftest import Desk, books
from tests.servers.pages import Answer, Asked
from tests.servers.program import eventually
from tests.servers.smtp import Fault

pytestmark = pytest.mark.needs("chromium")


def test_run_a_spider(desk: Desk) -> None:
    with desk.task("run a spider") as page:
        page.get_by_role("link", name="books", exact=True).click()
        page.get_by_role("button", name="Run now").click()
        page.locator("main", has_text="succeeded").wait_for()  # the page of a run updates itself
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


def test_preview_and_send_a_digest(desk: Desk) -> None:
    with desk.task("preview and send a digest") as page:
        page.get_by_role("link", name="Digests", exact=True).click()
        page.get_by_role("link", name="daily", exact=True).click()
        expect(page.locator("main")).to_contain_text("3 ended runs")
        page.get_by_role("link", name="Preview").click()
        expect(page.frame_locator("iframe").locator("body")).to_contain_text("Book 11")
        expect(page.locator("main")).to_contain_text("reader@example.com")
        page.get_by_role("link", name="Send now…").click()
        page.get_by_role("button", name="Send now").click()
        expect(page.locator("tbody tr")).to_contain_text("sent")
        expect(page.locator("tbody tr")).to_contain_text(".csv")
    assert [mail.recipients for mail in desk.smtp.received] == [("reader@example.com",)]
    desk.open("/digests/daily/send")
    expect(page.locator("main")).to_contain_text("There is nothing to report")
    expect(page.get_by_role("button", name="Send now")).to_have_count(0)


def test_retry_a_parked_mail(desk: Desk) -> None:
    desk.site.pages["/"] = books(7)
    desk.smtp.faults.append(Fault("RCPT", "550 5.1.1 no such user", times=1))
    headers = {"Authorization": f"Bearer {load_or_create_token(desk.program.data).reveal()}"}

    def post(path: str) -> int:
        return requests.post(f"{desk.url}/api/v1{path}", headers=headers, timeout=20).json().get("id", 0)

    run = post("/spiders/books/runs")
    eventually(lambda: desk.program.status()["spiders"]["books"]["recent"][0]["id"] == run)
    post("/digests/daily/messages")
    eventually(lambda: desk.program.status()["outbox"]["parked"])
    with desk.task("retry a parked mail") as page:
        page.get_by_role("link", name="Open the outbox").first.click()
        page.locator("table").first.locator("tbody a").first.click()
        expect(page.locator("main")).to_contain_text("The mail server does not know an address")
        page.get_by_role("button", name="Retry").click()
        page.wait_for_url("**/outbox*")  # a reload while the form is being sent can fail
        eventually(lambda: page.reload() and "No message is waiting" in page.locator("main").inner_text(), every_s=0.2)
    assert len(desk.smtp.received) == 2


def test_a_mail_that_is_shown_runs_no_script_and_reaches_nothing(desk: Desk) -> None:
    stored = next(iter(sorted((desk.program.data / "messages").glob("*.html"))))
    stored.write_text(f"<body>Hello<img src='{desk.site.url}/spy'><link rel=stylesheet href='{desk.site.url}/spy'><script>document.body.append(' script'); fetch('{desk.site.url}/spy')"
                      f"</script><a href='{desk.site.url}/spy' target=_top>go</a><meta http-equiv=refresh content='0;url={desk.site.url}/spy'>")
    desk.open("/messages/1")
    frame = desk.page.frame_locator("iframe")
    expect(frame.locator("body")).to_have_text("Hellogo")
    frame.get_by_text("go").click()
    desk.page.wait_for_load_state("networkidle")
    assert desk.page.url == f"{desk.url}/messages/1"
    assert [asked for asked in desk.site.asked if asked.path == "/spy"] == []


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
    asked, over = threading.Event(), threading.Event()

    def slow(asked_for: Asked) -> Answer:  # all pages together take a minute, so the stop comes before the last of them
        asked.set()
        over.wait(0.3)
        return Answer("<li><b>slow</b>")
    desk.site.pages["/slow"] = "".join(f"<a href=/slow/{number}>{number}</a>" for number in range(200))
    desk.site.pages |= {f"/slow/{number}": slow for number in range(200)}
    try:
        with desk.task("stop a run") as page:
            page.get_by_role("link", name="slow", exact=True).click()
            page.get_by_role("button", name="Run now").click()
            assert asked.wait(20), "the run has begun"
            expect(page.locator("[data-state]")).to_have_text("running")
            page.get_by_role("button", name="Stop").click()
            expect(page.locator("[data-state]")).to_have_text("stopped")
            expect(page.get_by_role("button", name="Run again")).to_be_visible()
    finally:
        over.set()


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
        button, problem = page.get_by_role("button", name="Save").bounding_box(), page.get_by_role("alert").bounding_box()
        assert button["height"] < 60, "no cell of a grid makes it as high as the problem beside it"
        assert button["y"] >= problem["y"] + problem["height"]
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
    desk.page.get_by_role("status", name="Reload").wait_for()  # opening another page while the form is being sent can end the request

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
        eventually(lambda: page.reload() and page.get_by_role("link", name="Look at the new rules").count(), every_s=0.3)  # the search follows the run
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
