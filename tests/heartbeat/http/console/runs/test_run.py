"""Tests of the pages of one run: figures, log, lists, live progress, and the button that stops it."""

from __future__ import annotations

import json

import requests
from lxml import html
from sqlalchemy import update

from pipeline.heartbeat.access import AccessPolicy
from pipeline.model import (
    Outcome,
    Progress,
)
from pipeline.store.database.schema import runs as run_table
from pipeline.store.runs import runs
from pipeline.store.runs.stop_requests import request_stop
from tests.heartbeat.conftest import NOW
from tests.heartbeat.http.console.world import (
    EVIL,
    LEAK,
    fetched_rows,
    lines_of,
    log_line,
    page,
    press,
    rows_of,
    write_log,
)


def test_the_whole_log_of_a_run_is_on_pages_with_levels_and_a_search(browser, world):
    run = world.run("long", 60)
    lines = [log_line(number, "error" if number % 250 == 0 else "info") for number in range(500)]
    write_log(world, run, "".join(lines[250:]) + log_line(500, "warning", f"{EVIL} {LEAK}") + "Killed").with_name(f"{run.id}.log.1").write_text(
        "".join(lines[:250]))
    found = page(browser, f"/runs/{run.id}/log")
    shown = lines_of(found)
    assert shown[0] == "2026-11-22"
    assert shown[-1] == "Killed"
    assert len(shown) == 201
    assert found.cssselect(".warning")[0].text_content().startswith("18:08:20 warning <script>alert(1)</script>\\u001b[31m\\u202e ****")
    earlier = page(browser, found.cssselect("a[rel=prev]")[0].get("href"))
    assert lines_of(earlier)[-1] == "18:05:01 line 301"
    first = page(browser, earlier.cssselect("a[rel=prev]")[0].get("href"))
    assert lines_of(first)[1:3] == ["18:00:00 error line 0", "18:00:01 line 1"]
    assert not first.cssselect("a[rel=prev]")
    assert lines_of(page(browser, f"/runs/{run.id}/log?level=error"))[1:] == ["18:00:00 error line 0", "18:04:10 error line 250", "Killed"]
    assert lines_of(page(browser, f"/runs/{run.id}/log?q=LINE+3&level=nonsense&before=x"))[1] == "18:00:03 line 3"
    assert "No line matches." in page(browser, f"/runs/{run.id}/log?q=nothing").text_content()
    assert "No log is stored." in page(browser, f"/runs/{world.run('none', 50).id}/log").text_content()


def test_the_page_of_a_run_says_how_many_pages_were_archived_and_how_many_were_not(browser, world):
    run = world.run("archived", 60, pages=5, archived_pages=3, archived_bytes=4_200_000, not_archived=2)
    found = page(browser, f"/runs/{run.id}")
    assert [found.cssselect(f"[data-figure={name}]")[0].text_content() for name in ("archived_pages", "archived", "not_archived")] == ["3", "4.2 MB", "2"]
    assert not page(browser, f"/runs/{world.run('plain', 30, pages=5).id}").cssselect("[data-figure=archived]")


def test_the_pages_rejected_items_downloads_and_changes_of_a_run_are_listed(browser, world, monkeypatch):
    run = fetched_rows(world)
    found = page(browser, f"/runs/{run.id}/pages")
    rows = rows_of(found)
    assert [row[1:4] for row in rows] == [["fetched", "200", "–"], ["forbidden", "–", "–"], ["failed", "500", "–"], ["rendered", "200", "44 ms"],
                                          ["not modified", "200", "43 ms"], ["fetched", "200", "42 ms"]]
    assert rows[3][4:7] == ["52.0 kB", "3", "3"]
    assert found.xpath("//a[@href='https://books.example/2']/@rel") == ["noreferrer"]
    assert "t0ken" not in html.tostring(found).decode()
    assert len(rows_of(page(browser, f"/runs/{run.id}/pages?show=failed"))) == 2
    assert [row[0] for row in rows_of(page(browser, f"/runs/{run.id}/pages?q=EXAMPLE/2&show=nonsense"))] == ["https://books.example/2"]
    assert "No page matches." in page(browser, f"/runs/{run.id}/pages?q=nothing").text_content()
    monkeypatch.setattr("pipeline.heartbeat.http.console.runs.lists.ROWS", 4)
    first = page(browser, f"/runs/{run.id}/pages?show=changed")
    assert not first.cssselect("a[rel=next]")
    more = page(browser, page(browser, f"/runs/{run.id}/pages").cssselect("a[rel=next]")[0].get("href"))
    assert [row[1] for row in rows_of(more)] == ["not modified", "fetched"]
    reject, = rows_of(page(browser, f"/runs/{run.id}/rejects"))
    assert reject[0].startswith("price: <script>")
    assert reject[1].endswith("****price: none")
    downloads = page(browser, f"/runs/{run.id}/downloads")
    assert [row[1] for row in rows_of(downloads)] == ["waiting", "waiting"]
    assert [bar.get("max") for bar in downloads.cssselect("progress")] == ["80000000", None]
    assert "30.0 MB of 80.0 MB, 2.5 MB per second, 20 s left" in " ".join(downloads.text_content().split())
    assert {row[1] for row in rows_of(page(browser, f"/runs/{run.id}/changes?show=new"))} == {"new"}
    assert "No change matches." in page(browser, f"/runs/{run.id}/changes?show=gone").text_content()


def test_a_run_leads_to_what_is_wrong_and_to_its_neighbours(browser, world):
    run = fetched_rows(world)
    failed = runs.end_run(world.store, run, runs.Ending(Outcome.FAILED, f"the login failed {EVIL}; `pipeline login books` shows what the site says", "LoginError"),
                          Progress(pages=6, pages_failed=2, rejected=1), now=NOW)
    after = world.run("after", 10)
    found = page(browser, f"/runs/{failed.id}")
    wrong = found.cssselect("section[aria-labelledby=problems]")[0]
    stopped = world.run("stopped", 5, Outcome.STOPPED, error="stopped on request")
    assert [heading.text for heading in page(browser, f"/runs/{stopped.id}").cssselect("#problems")] == ["Notes"]
    assert wrong.cssselect("h2")[0].text == "What is wrong"
    links = [(link.text_content(), link.get("href")) for link in wrong.cssselect("a")]
    assert links == [("pipeline login books", "/spiders/books#session"), ("Look at the login of the spider", "/spiders/books#session"),
                     ("Failed pages: 2", f"/runs/{run.id}/pages?show=failed"), ("Rejected items: 1", f"/runs/{run.id}/rejects"),
                     ("See the warnings and errors in the log", f"/runs/{run.id}/log?level=warning")]
    for _, path in links:
        assert browser.get(browser.base + path, timeout=10).status_code == 200
    assert [form.action for form in found.forms] == ["/sign-out", "/spiders/books/run"]
    with world.store.write() as connection:
        connection.execute(update(run_table).where(run_table.c.id == run.id).values(outcome="succeeded", suspect=True, error="", error_kind=""))
    suspect = page(browser, f"/runs/{failed.id}").cssselect("section[aria-labelledby=problems] li")[0]
    assert [link.get("href") for link in suspect.cssselect("a")] == ["#rules", "/spiders/books/mend"]
    assert browser.get(f"{browser.base}/spiders/books/mend", timeout=10).status_code == 200
    assert [link.get("href") for link in found.cssselect("a[rel=next]")] == [f"/runs/{after.id}"]
    assert [link.get("href") for link in page(browser, f"/runs/{after.id}").cssselect("a[rel=prev]")] == [f"/runs/{run.id}"]


def test_a_running_run_is_shown_live_also_without_scripts(browser, world):
    run = world.run("live", 5, None, pages=3, items=9, waiting=4)
    found = page(browser, f"/runs/{run.id}")
    assert found.cssselect("noscript meta[http-equiv=refresh]")
    assert found.cssselect("script[src='/live.js']")
    log = write_log(world, run, log_line(1) + log_line(2)[:20])
    after = len(log_line(1))
    with browser.get(f"{browser.base}/runs/{run.id}/events?after={after}", stream=True, timeout=10) as events:
        assert events.headers["Content-Type"] == "text/event-stream"
        lines = (line for line in events.iter_lines(decode_unicode=True) if line)
        assert next(lines) == "event: progress"
        told = json.loads(next(lines).removeprefix("data: "))
        assert (told["state"], told["figures"]["pages"]) == ("running", 3)
        with log.open("a") as more:  # as a run does: a file that is written anew is empty for a moment
            more.write((log_line(1) + log_line(2, text=EVIL) + "Killed").removeprefix(log_line(1) + log_line(2)[:20]))
        assert [next(line for line in lines if line != ":") for _ in range(2)] == [f"id: {len(log_line(1) + log_line(2, text=EVIL))}", "event: log"]
        assert "<script>" not in next(lines)
        request_stop(world.store, run_id=run.id, now=NOW)
        assert next(json.loads(line.removeprefix("data: "))["state"] for line in lines if line.startswith("data:")) == "stopping…"
        runs.end_run(world.store, run, runs.Ending(Outcome.SUCCEEDED), Progress(pages=8), now=NOW)
        rest = list(lines)
        progress, new, _ = (json.loads(line.removeprefix("data: ")) for line in rest if line.startswith("data:"))
        assert progress["figures"]["pages"] == 8
        assert "Killed" in new["html"]
        assert rest[-2] == "event: end"
    assert not page(browser, f"/runs/{run.id}").cssselect("script")


def test_a_stop_ends_live_event_streams(start, world, run):
    live = world.run("live", 5, None)
    heartbeat = start(source=world, actions=world.actions, access=AccessPolicy(world.token))
    with requests.get(f"http://127.0.0.1:{heartbeat.address[1]}/runs/{live.id}/events", stream=True, timeout=10,
                      headers={"Authorization": f"Bearer {world.token.reveal()}"}) as events:
        lines = events.iter_lines()
        assert next(lines)
        run(heartbeat.stop())


def test_stop_asks_for_the_end_of_a_run_and_the_page_of_an_ended_run_has_no_such_button(browser, world):
    run = runs.claim_slot(world.store, "books", "now", due_at=world.now, reason="manual", now=world.now)
    runs.start_run(world.store, run.id, owner=world.store.owner, now=world.now, limit=9)
    answer = press(browser, f"/runs/{run.id}", f"/runs/{run.id}/stop")
    assert answer.headers["Location"] == f"/runs/{run.id}"
    assert runs.get_run(world.store, run.id).stop_requested_at == world.now
    assert not [form for form in page(browser, f"/runs/{run.id}").forms if form.action.endswith("/stop")]
    waiting = runs.claim_slot(world.store, "books", "later", due_at=world.now, reason="manual", now=world.now, overlap="queue")
    press(browser, f"/runs/{waiting.id}", f"/runs/{waiting.id}/stop")
    assert runs.get_run(world.store, waiting.id).outcome is Outcome.STOPPED
