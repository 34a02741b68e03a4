"""Tests of the pages of one spider and their buttons."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
import requests
from sqlalchemy import insert, update

from pipeline.heartbeat.http.console.spiders import changes as console_changes
from pipeline.heartbeat.http.operations.runs import log_tail
from pipeline.heartbeat.token import load_or_create_token
from pipeline.model import (
    Outcome,
    Page,
    Progress,
)
from pipeline.schedule.upcoming import next_times
from pipeline.service import session_requests
from pipeline.service.on_request import RequestedActions
from pipeline.store import open_store
from pipeline.store.crawl.commit import commit_pages
from pipeline.store.database.schema import download_files, downloads
from pipeline.store.database.schema import items as items_table
from pipeline.store.runs import paused_spiders, runs
from tests.heartbeat.conftest import NOW
from tests.heartbeat.http.console.world import EVIL, page, press, proof_of, stored_items, write_log
from tests.servers.program import eventually


def test_a_spider_shows_its_runs_changes_downloads_and_log(browser, world):
    world.fill()
    found = page(browser, "/spiders/books")
    text = found.text_content()
    for wanted in ("51.77", "49.5", "catalogue.pdf", "2.0 MB", "failed", "fetched page 2999", "every 1h"):
        assert wanted in text
    assert "fetched page 1\n" not in text, "only the end of the log"
    assert [h.text for h in found.cssselect("h2")] == ["Runs", "Changes", "Downloads", "Log of the last run"]
    assert page(browser, "/spiders/idle").text_content().count("None yet.") == 4


def test_a_spider_and_a_run_show_what_each_rule_matched_and_usually_matches(browser, world):
    first = Page("https://books.example/", 200, NOW, counts={"items.each": (20, 0), "items.fields.price": (20, 20)})
    second = Page("https://books.example/", 200, NOW, counts={"items.each": (20, 0), "items.fields.price": (1, 20), EVIL: (0, 0)})
    for number, each in enumerate((first, second)):
        waiting = runs.claim_slot(world.store, "books", f"counted {number}", due_at=NOW, reason="schedule", now=NOW)
        run = runs.start_run(world.store, waiting.id, owner=world.store.owner, now=NOW, limit=9)
        commit_pages(world.store, run, [each], now=NOW)
        runs.end_run(world.store, run, runs.Ending(Outcome.SUCCEEDED), Progress(), now=NOW + timedelta(seconds=number))
    for path in ("/spiders/books", f"/runs/{run.id}"):
        rows = [[cell.text_content() for cell in row] for row in page(browser, path).cssselect("section[aria-labelledby=rules] tbody tr")]
        assert rows[:2] == [["items.each", "1", "1", "20", "–", "100%", "100%"], ["items.fields.price", "1", "1", "1", "20", "5%", "100%"]]
        assert "\x1b" not in rows[2][0]
    spider = page(browser, "/spiders/idle")
    assert not spider.cssselect("section[aria-labelledby=rules]")


def test_the_end_of_a_log_has_the_time_in_the_zone_of_the_pages_and_the_traceback(browser, world):
    run = world.run("one", 60)
    write_log(world, run, json.dumps({"time": "2026-11-22T10:00:01.5+00:00", "message": "one\x07two", "traceback": "a\nb"})
              + '\n{"time": 5}\n[]\nprinted')
    assert page(browser, "/spiders/books").cssselect("pre.log")[0].text == '18:00:01 one\\u0007two\na\nb\n{"time": 5}\n[]\nprinted\n'
    assert log_tail(world.store, str, run.id + 1) == ()


@pytest.mark.parametrize("run", ["asyncio"], indirect=True)
def test_changes_and_downloads_are_listed_page_by_page_and_lead_to_items_and_files(browser, world, monkeypatch):
    stored_items(world)
    world.fill()
    monkeypatch.setattr(console_changes, "ROWS", 2)
    kinds, path = [], "/spiders/books/changes"
    while path:
        found = page(browser, path)
        kinds += [cell.text_content() for cell in found.cssselect("td.kind")]
        path = next((link.get("href") for link in found.cssselect("a[rel=next]")), "")
    assert sorted(kinds) == ["changed"] * 3 + ["gone"] * 2 + ["new"] * 4
    item = page(browser, "/spiders/books/changes?kind=new").cssselect("tbody td a[href*='/item?key=']")[-1].get("href")
    assert browser.get(browser.base + item, timeout=10, allow_redirects=False).status_code in (200, 303)
    assert "no item with this key" in page(browser, "/spiders/books/item?key=nobody").text_content()
    files = {"picture.png": b"\x89PNG\r\n\x1a\n" + b"0" * 20, "fake.png": b"<svg onload=alert(1)>", "page.html": b"<script>alert(1)</script>", "notes.txt": b"<b>x"}
    with world.store.write() as connection:
        for number, (name, content) in enumerate(files.items(), 10):
            world.store.files.write(f"downloads/books/{name}", content)
            made = connection.execute(insert(downloads).values(spider="books", url=f"https://books.example/{name}", name=name, pass_id=1, state="done", requested_at=NOW,
                                                               done_at=NOW, file_key=f"downloads/books/{name}").returning(downloads.c.id)).scalar_one()
            connection.execute(insert(download_files).values(download_id=made, run_id=1, spider="books", key=f"downloads/books/{name}", name=name,
                                                             url=f"https://books.example/{name}", size_bytes=len(content), sha256=f"{number}" * 32, fetched_at=NOW))
    monkeypatch.setattr(console_changes, "ROWS", 50)
    shown = page(browser, "/spiders/books/downloads")
    assert {link.get("href") for link in shown.cssselect("a[href^='/shown/']")} == {f"/shown/downloads/books/{name}" for name in ("picture.png", "fake.png", "notes.txt")}
    with world.store.write() as connection:
        connection.execute(update(items_table).where(items_table.c.key == "b").values(data={"title": "Chair", "image": "https://books.example/picture.png", "price": 3}))
    table = page(browser, "/spiders/books/items?sort=key")
    assert [image.get("src") for image in table.cssselect("img.thumb")] == ["/shown/downloads/books/picture.png"]
    assert [head.text_content() for head in table.cssselect("thead th")] == ["Picture", "Item", "Our price", "Changed"]
    types = {name: browser.get(f"{browser.base}/shown/downloads/books/{name}", timeout=10) for name in files}
    assert {name: answer.headers["Content-Type"] for name, answer in types.items() if answer.status_code == 200} == {
        "picture.png": "image/png", "notes.txt": "text/plain; charset=utf-8"}
    assert "sandbox" in types["notes.txt"].headers["Content-Security-Policy"]
    assert types["fake.png"].status_code == types["page.html"].status_code == 404


@pytest.mark.parametrize("run", ["asyncio"], indirect=True)
def test_a_spider_is_paused_until_a_time_and_its_cookies_are_counted_and_cleared(browser, world):
    jar = world.settings.data_dir / "jars" / "books.txt"
    jar.parent.mkdir(mode=0o700)
    jar.write_text("# Netscape HTTP Cookie File\n.books.example\tTRUE\t/\tFALSE\t4102444800\ttaste\tsecret-value-1\n"
                   "books.example\tFALSE\t/\tFALSE\t0\tsession\tsecret-value-2\n")
    proof = proof_of(browser)
    command = RequestedActions._command
    world.actions.service = SimpleNamespace(
        next_slots=lambda name, count, paused_until: next_times(world.store, world.settings, name, count, now=paused_until or NOW),
        session_state=lambda name: session_requests.session_state(command, world.settings, name),
        clear_cookies=lambda name: session_requests.clear_cookies(command, world.settings, name))
    own = page(browser, "/spiders/books")
    assert len(own.cssselect(".slots li")) == 5
    for until, status in (("2026-12-24T08:00", 303), ("2020-01-01 00:00", 409), ("tomorrow", 409)):
        paused = browser.post(f"{browser.base}/spiders/books/pause", data={**proof, "until": until, "reason": "holidays"}, timeout=60,
                              headers={"Origin": browser.base}, allow_redirects=False)
        assert paused.status_code == status, paused.text
    assert ": holidays" in page(browser, "/spiders/books").text_content()
    with world.store.read() as connection:
        assert paused_spiders.pauses(connection, now=NOW)["books"].until.isoformat() == "2026-12-24T00:00:00+00:00", "the time is one of the pages' zone"
    shown = page(browser, "/spiders/books/session")
    assert re.search(r"books\.example\s*3", " ".join(cell.text_content() for cell in shown.cssselect("tbody tr > *"))), "two, and the one of the settings"
    assert "secret-value" not in shown.text_content()
    assert "c00kie" not in shown.text_content()
    run = world.run("live", 5, None)
    refused = browser.post(f"{browser.base}/spiders/books/clear-cookies", data=proof, timeout=60, headers={"Origin": browser.base})
    assert (refused.status_code, f"run {run.id} is in progress" in refused.text) == (409, True)
    runs.end_run(world.store, run, runs.Ending(Outcome.SUCCEEDED), Progress(), now=NOW)
    cleared = browser.post(f"{browser.base}/spiders/books/clear-cookies", data=proof, timeout=60, headers={"Origin": browser.base}, allow_redirects=False)
    assert cleared.headers["Location"] == "/spiders/books/session?cleared"
    assert "secret-value" not in jar.read_text()


def test_a_spider_is_paused_for_a_time_with_a_reason(browser, world):
    form = next(form for form in page(browser, "/spiders/idle").forms if form.action == "/spiders/idle/pause")
    data = dict(form.form_values()) | {"hours": "168", "reason": "a new\nsite"}
    assert browser.post(f"{browser.base}/spiders/idle/pause", data=data, headers={"Origin": browser.base}, timeout=10, allow_redirects=False).status_code == 303
    with world.store.read() as connection:
        pause = paused_spiders.pauses(connection, now=NOW)["idle"]
    assert (pause.until, pause.reason) == (NOW + timedelta(days=7), "a new site")
    assert browser.post(f"{browser.base}/spiders/idle/pause", data=data | {"hours": "9e9"}, headers={"Origin": browser.base}, timeout=10).status_code == 409


def test_a_spider_removed_from_the_settings_still_has_its_page(browser, world):
    world.fill()
    world.settings = world.settings.model_copy(update={"spiders": {}})
    assert "no longer in the settings" in page(browser, "/spiders/books").text_content()


def test_run_now_creates_one_waiting_run_and_wakes_the_service(browser, world):
    answer = press(browser, "/spiders/books", "/spiders/books/run")
    waiting, = runs.waiting_runs(world.store)
    assert (waiting.spider, waiting.reason) == ("books", "manual")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/runs/{waiting.id}")
    assert world.woken == ["run"]
    world.now += timedelta(seconds=1)
    assert press(browser, "/spiders/books", "/spiders/books/run").headers["Location"] == f"/runs/{waiting.id}"
    runs.start_run(world.store, waiting.id, owner=world.store.owner, now=world.now, limit=9)
    world.now += timedelta(seconds=1)
    skipped = press(browser, "/spiders/books", "/spiders/books/run").headers["Location"]
    assert "is still running" in page(browser, skipped).text_content()


def test_pause_and_resume_are_kept_in_the_store(browser, world):
    press(browser, "/spiders/books", "/spiders/books/pause")
    assert paused_spiders.paused_spiders(world.store, now=NOW) == {"books"}
    spider = browser.get(f"{browser.base}/status.json", timeout=10).json()["spiders"]["books"]
    assert (spider["paused"], spider["next_due"], spider["late"]) == (True, None, False)
    press(browser, "/spiders/books", "/spiders/books/resume")
    assert paused_spiders.paused_spiders(world.store, now=NOW) == set()
    assert world.woken == ["plan", "plan"]


def test_a_paused_spider_is_not_scheduled_until_it_is_resumed(program):
    program.write("""
        [spiders.books]
        schedule = "every 1h"
        start = ["http://127.0.0.1:9/"]
        items.fields.title = "h1"
        """)
    store = open_store(program.data)
    paused_spiders.pause(store, "books", now=NOW)
    program.serve()
    assert program.status()["spiders"]["books"]["paused"]
    assert runs.history(store, "books") == []
    token = load_or_create_token(program.data).reveal()
    assert requests.post(f"http://127.0.0.1:{program.port}/spiders/books/resume", timeout=10, allow_redirects=False,
                         headers={"Authorization": f"Bearer {token}"}).status_code == 303
    assert eventually(lambda: runs.history(store, "books"))[0].reason in ("schedule", "catch-up")
    store.close()
    assert program.stop() == 0
