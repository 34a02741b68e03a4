"""Tasks of a user in a browser: preview and send a digest, retry a parked mail; and a mail that is shown can do nothing."""

from __future__ import annotations

import pytest
import requests
from playwright.sync_api import expect

from pipeline.heartbeat.token import load_or_create_token
from tests.heartbeat.http.console.tasks.conftest import Desk, books
from tests.servers.program import eventually
from tests.servers.smtp import Fault

pytestmark = pytest.mark.needs("chromium")
SOON_MS = 20_000
"""How long a page may take to show what the service does meanwhile."""


def test_preview_and_send_a_digest(desk: Desk) -> None:
    with desk.task("preview and send a digest") as page:
        page.get_by_role("link", name="Digests", exact=True).click()
        page.get_by_role("link", name="daily", exact=True).click()
        expect(page.locator("main")).to_contain_text("2 ended runs")
        page.get_by_role("link", name="Preview").click()
        expect(page.frame_locator("iframe").locator("body")).to_contain_text("Book 11", timeout=SOON_MS)
        expect(page.locator("main")).to_contain_text("reader@example.com")
        page.get_by_role("link", name="Send now…").click()
        page.get_by_role("button", name="Send now").click()
        expect(page.locator("tbody tr")).to_contain_text("sent", timeout=SOON_MS)
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
        eventually(lambda: page.reload() and "No message is waiting" in page.locator("main").inner_text())
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
