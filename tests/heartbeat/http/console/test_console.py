"""Tests of the pages and buttons that need the token."""

from __future__ import annotations

import json
import os
import re
import stat
from datetime import timedelta
from html import escape
from types import SimpleNamespace
from urllib.parse import quote

import pytest
import requests
from lxml import html
from sqlalchemy import insert, update

from pipeline.errors import HeartbeatError
from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.client import HeartbeatClient
from pipeline.heartbeat.http.console.spiders import changes as console_changes
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.http.operations.runs import log_tail
from pipeline.heartbeat.protocols.commands import COMMANDS
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.heartbeat.token import TOKEN_FILE, Token, load_or_create_token
from pipeline.model import (
    Download,
    DraftMessage,
    Item,
    MessageState,
    Outcome,
    Page,
    PageOutcome,
    Progress,
    Reject,
    Transfer,
)
from pipeline.schedule.upcoming import next_times
from pipeline.service import session_requests
from pipeline.service.on_request import RequestedActions
from pipeline.settings import DisplayTable, load
from pipeline.store import open_store
from pipeline.store.console import sorted_items
from pipeline.store.crawl.commit import commit_pages
from pipeline.store.database.schema import changes, download_files, downloads, messages, recipients
from pipeline.store.database.schema import items as items_table
from pipeline.store.database.schema import runs as run_table
from pipeline.store.mail import outbox
from pipeline.store.runs import paused_spiders, runs
from pipeline.store.runs.stop_requests import request_stop
from tests.heartbeat.conftest import NOW, STARTED
from tests.servers.program import eventually

SECRETS = {"BOOKS_PASSWORD": "hunter2-books", "BOOKS_COOKIE": "sid=c00kie-value", "MAIL_PASSWORD": "m@il&secret",
           "PROXY_PASSWORD": "pr0xy-password", "HEADER_KEY": "api-key-77", "BEAT_URL": "https://hc.example/uuid-123"}
SETTINGS = """
[heartbeat]
beat = { env = "BEAT_URL" }
[mail]
host = "smtp.example.com"
user = "me@example.com"
password = { env = "MAIL_PASSWORD" }
[proxies]
office = { url = "http://127.0.0.1:8118", user = "me", password = { env = "PROXY_PASSWORD" } }
pool = ["http://user:p00l-password@10.0.0.1:3128"]
[spiders.books]
schedule = "every 1h"
proxy = "office"
start = ["https://books.example/"]
items.fields.title = "h1"
headers = { X-Key = { env = "HEADER_KEY" } }
[spiders.books.login]
url = "https://books.example/login"
fields = { username = "me", password = { env = "BOOKS_PASSWORD" } }
check = "a"
[spiders.books.cookies]
header = { env = "BOOKS_COOKIE" }
[digests.books]
spiders = ["books"]
to = ["you@example.com"]
[spiders.idle]
start = ["https://idle.example/"]
items.fields.title = "h1"
"""
EVERY_SECRET = (*SECRETS.values(), "p00l-password")
LEAK = " ".join(EVERY_SECRET)
EVIL = "<script>alert(1)</script>\x1b[31m\u202e"
HTML = "<!doctype html><p style='color:red'>News</p><script>alert(1)</script><img src='https://t.example/'>"


class World:
    """A store with one of everything, its admin actions, and which callbacks the buttons called."""

    def __init__(self, folder):
        (folder / "settings.toml").write_text(SETTINGS)
        self.settings = load(folder / "settings.toml")
        self.store = open_store(folder / "var")
        self.woken = []
        self.now = NOW
        self.actions = OperationsContext(self.store, lambda: self.settings, lambda: self.now, on_run=lambda: self.woken.append("run"),
                         on_plan=lambda: self.woken.append("plan"), on_mail=lambda: self.woken.append("mail"))
        self.token = load_or_create_token(folder / "var")

    async def status(self):
        return build_snapshot(self.store, self.settings, DueTimes({"books": NOW + timedelta(hours=1)}, STARTED, NOW),
                              version="1.2.3", mask=self.actions.mask)

    def run(self, key, ago_s, outcome=Outcome.SUCCEEDED, error="", **figures):
        at = NOW - timedelta(seconds=ago_s)
        waiting = runs.claim_slot(self.store, "books", key, due_at=at, reason="schedule", now=at)
        run = runs.start_run(self.store, waiting.id, owner=self.store.owner, now=at, limit=9)
        if outcome is None:
            runs.report_progress(self.store, run, Progress(**figures), now=at)
            return run
        return runs.end_run(self.store, run, runs.Ending(outcome, error), Progress(**figures),
                            now=at + timedelta(seconds=12))

    def fill(self):
        for number in range(12):
            self.run(f"past {number}", 40000 - number * 3000, pages=5 + number, items=40 + number * 3 % 7, new=2,
                     downloads=3, download_bytes=4_200_000)
        first = self.run("first", 3600, pages=5, items=40, new=40, downloads=2, download_bytes=4_000_000)
        failed = self.run("second", 600, Outcome.FAILED, error=f"{EVIL} https://books.example/: {LEAK}")
        log = self.settings.data_dir / "logs" / "runs" / f"{failed.id}.log"
        log.parent.mkdir(parents=True)
        log.write_text("".join(f"10:00:{n % 60:02} fetched page {n}\n" for n in range(3000)) + f"{EVIL} {LEAK}\n")
        with self.store.write() as connection:
            connection.execute(insert(changes), [
                {"run_id": first.id, "spider": "books", "key": "https://books.example/1", "kind": "changed", "at": NOW,
                 "before": {"title": "A Light in the Attic", "price": 51.77},
                 "after": {"title": "A Light in the Attic", "price": 49.5, "note": LEAK}},
                {"run_id": first.id, "spider": "books", "key": EVIL, "kind": "new", "at": NOW, "before": {},
                 "after": {"title": EVIL, "price": 12}},
                {"run_id": first.id, "spider": "books", "key": "https://books.example/3", "kind": "gone", "at": NOW,
                 "before": {"title": "Soumission"}, "after": {}}])
            for number, name in enumerate(("catalogue.pdf", EVIL)):
                key = f"downloads/books/{number}.pdf"
                download = connection.execute(insert(downloads).values(
                    spider="books", url=f"https://books.example/{number}.pdf?k={SECRETS['HEADER_KEY']}", name=name,
                    pass_id=1, state="done", requested_at=NOW, done_at=NOW, file_key=key).returning(downloads.c.id))
                connection.execute(insert(download_files).values(
                    download_id=download.scalar_one(), run_id=first.id, spider="books", key=key, name=name,
                    url=f"https://books.example/{number}.pdf", size_bytes=2_000_000, sha256="0" * 64, fetched_at=NOW))
        self.sent = self.message("[books] 40 new", HTML)
        self.parked = self.message(f"[books] {EVIL}", HTML)
        with self.store.write() as connection:
            connection.execute(update(messages).where(messages.c.id == self.sent).values(state="sent", sent_at=NOW))
            connection.execute(update(messages).where(messages.c.id == self.parked).values(
                state="parked", last_error=f"535 {LEAK}"))
        return first, failed

    def message(self, subject, body):
        key = f"messages/{len(subject)}-{subject[:7].strip('[] ')}.eml"
        self.store.files.write(key, b"Subject: x\r\n\r\ntext")
        self.store.files.write(key.replace(".eml", ".html"), body.encode())
        return outbox.enqueue(self.store, DraftMessage(f"<{key}@x>", subject, "me@example.com", ("you@example.com",),
                                                       key, 20_000), now=NOW)


@pytest.fixture
def world(tmp_path_factory, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    world = World(tmp_path_factory.mktemp("planted"))  # tmp_path is searched for secrets, and here some are planted
    yield world
    world.store.close()


@pytest.fixture
def port(start, world):
    return start(source=world, actions=world.actions, access=AccessPolicy(world.token)).address[1]


@pytest.fixture
def browser(port, world):
    """A browser that has followed the link."""
    with requests.Session() as session:
        session.trust_env = False
        session.base = f"http://127.0.0.1:{port}"
        answer = session.get(f"{session.base}/", params={"token": world.token.reveal()}, timeout=10)
        assert answer.status_code == 200
        yield session


def page(browser, path):
    answer = browser.get(browser.base + path, timeout=60)
    assert answer.status_code == 200, answer.text
    return html.fromstring(answer.content)


def proof_of(browser):
    """The CSRF token of the browser's session, as a form has it."""
    return {"proof": next(form.fields["proof"] for form in page(browser, "/digests").forms if "proof" in form.fields)}


def press(browser, path, action, origin=None):
    """Post the form with this action as it is on the page."""
    form = next(form for form in page(browser, path).forms if form.action == action)
    return browser.post(browser.base + action, data=dict(form.form_values()), timeout=10, allow_redirects=False,
                        headers={"Origin": origin or browser.base})


# The token


def test_the_token_is_created_once_and_readable_by_its_owner_only(tmp_path):
    first = load_or_create_token(tmp_path)
    assert len(first.reveal()) >= 40
    assert load_or_create_token(tmp_path).reveal() == first.reveal()
    assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [TOKEN_FILE]
    assert first.reveal() not in repr(first)


def test_an_empty_token_file_is_refused(tmp_path):
    (tmp_path / TOKEN_FILE).write_text("\n")
    with pytest.raises(HeartbeatError, match="too short"):
        load_or_create_token(tmp_path)


def test_the_link_sets_a_cookie_that_scripts_and_other_sites_cannot_use_and_leaves_no_token_in_the_address(port, world):
    answer = requests.get(f"http://127.0.0.1:{port}/?token={world.token.reveal()}", timeout=10, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert world.token.reveal() not in cookie


@pytest.mark.parametrize("path", ["/spiders/books", "/runs/1", "/runs/1/events", "/digests", "/outbox", "/messages/1",
                                  "/messages/1/body"])
def test_pages_with_scraped_content_need_the_token(port, world, path):
    world.fill()
    for options in ({}, {"headers": {"Authorization": "Bearer wrong"}}, {"cookies": {world.token.cookie_name: "wrong"}}):
        answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=10, **options)
        assert answer.status_code == 403
        assert "pipeline url" in answer.text
    opened = requests.get(f"http://127.0.0.1:{port}{path}", timeout=10, stream=True,
                          headers={"Authorization": f"Bearer {world.token.reveal()}"})
    assert opened.status_code == 200
    opened.close()


def test_a_wrong_token_is_refused_and_the_right_one_can_be_entered(port, world):
    assert requests.get(f"http://127.0.0.1:{port}/?token=wrong", timeout=10).status_code == 403
    answer = requests.post(f"http://127.0.0.1:{port}/enter", data={"token": world.token.reveal()}, timeout=10,
                           allow_redirects=False)
    assert answer.status_code == 303


def test_status_health_and_metrics_need_no_token_on_this_machine(port):
    for path in ("/", "/healthz", "/livez", "/readyz", "/status.json", "/metrics"):
        assert requests.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code in (200, 503)


# The pages


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
    assert page(browser, "/spiders/books").cssselect("[data-log]")[0].text == '18:00:01 one\\u0007two\na\nb\n{"time": 5}\n[]\nprinted\n'
    assert log_tail(world.store, str, run.id + 1) == ()


def write_log(world, run, text):
    log = world.settings.data_dir / "logs" / "runs" / f"{run.id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    return log


def log_line(number, level="info", text=""):
    at = f"2026-11-22T{10 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}+00:00"
    return json.dumps({"time": at, "level": level, "message": text or f"line {number}"}) + "\n"


def lines_of(found):
    return [entry.text_content() for entry in found.cssselect("[data-log] li")]


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


def test_scraped_text_is_never_markup(browser, world):
    first, failed = world.fill()
    for path in ("/", "/spiders/books", f"/runs/{first.id}", f"/runs/{failed.id}", "/digests", "/outbox",
                 f"/messages/{world.parked}"):
        answer = browser.get(browser.base + path, timeout=10)
        assert not html.fromstring(answer.content).xpath("//script[not(@src)]"), path
        assert "\x1b" not in answer.text


def fetched_rows(world):
    """A run in progress that has fetched, rejected and downloaded something of each kind."""
    run = world.run("rows", 60, None)
    pages = [Page(f"https://books.example/{number}", 200, NOW, size_bytes=52_000, duration_s=0.042 + number / 1000, outcome=outcome,
                  items=tuple(Item(f"{number}-{each}", {"title": f"Book {number}"}) for each in range(3)))
             for number, outcome in enumerate((PageOutcome.FETCHED, PageOutcome.NOT_MODIFIED, PageOutcome.RENDERED))]
    failed = [Page(f"https://books.example/search?q={EVIL}&token=t0ken", 500, NOW, error=f"HTTP 500 {EVIL} {LEAK}", error_kind="FetchError"),
              Page("https://books.example/admin", 0, NOW, error="https://books.example/admin: robots.txt forbids this URL; set robots = false for this "
                   "spider if you have permission", outcome=PageOutcome.FORBIDDEN)]
    rejected = Page("https://books.example/9", 200, NOW, rejects=(Reject(f"price: {EVIL} is no number", {"title": f"{EVIL} {LEAK}", "price": "none"}),),
                    downloads=(Download("https://books.example/a.pdf"), Download("https://books.example/b.pdf")))
    commit_pages(world.store, run, [*pages, *failed, rejected], now=NOW)
    transfers = [Transfer(f"big {EVIL}.pdf", 30_000_000, 80_000_000, 2_500_000.0), Transfer("unknown.bin", 1000, None, 10.0)]
    runs.report_progress(world.store, run, Progress(pages=6, pages_failed=2, items=9, new=9, rejected=1, downloads_failed=1, waiting=3), transfers, now=NOW)
    return run


def rows_of(found):
    return [[" ".join(cell.text_content().split()) for cell in row] for row in found.cssselect("tbody tr")]


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


def test_a_digest_is_shown_as_it_was_sent_in_a_sandbox(browser, world):
    world.fill()
    assert "[books] 40 new" in page(browser, "/outbox?state=sent").text_content()
    frame, = page(browser, f"/messages/{world.sent}").cssselect("iframe")
    assert frame.get("sandbox") == ""
    body = browser.get(browser.base + frame.get("src"), timeout=10)
    assert body.text == HTML
    policy = body.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox;")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert body.headers["X-Frame-Options"] == "SAMEORIGIN"


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
        log.write_text(log_line(1) + log_line(2, text=EVIL) + "Killed")
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


def stored_items(world):
    """Two passes: three items, of which one changes its price twice and one is gone."""
    display = {"display": DisplayTable(labels={"price": "Our price"}, hide=("internal",))}
    world.settings.spiders["books"] = world.settings.spiders["books"].model_copy(update=display)
    for number, price in enumerate((12, 9.5, 11)):
        waiting = runs.claim_slot(world.store, "books", f"stored {number}", due_at=NOW, reason="schedule", now=NOW)
        run = runs.start_run(world.store, waiting.id, owner=world.store.owner, now=NOW, limit=9)
        found = [Item("a", {"title": f"Lamp {EVIL}", "price": price, "url": "https://books.example/a", "internal": "x"}),
                 Item("b", {"title": "Chair", "price": 3, "url": "javascript:alert(1)"}), *([Item("c", {"title": "Table"})] if not number else [])]
        at = NOW + timedelta(days=number)
        commit_pages(world.store, run, [Page("https://books.example/", 200, at, items=found)], now=at)
        runs.end_run(world.store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), Progress(), now=at)


@pytest.mark.parametrize("run", ["asyncio"], indirect=True)
def test_items_are_sorted_by_a_field_and_by_their_last_change_and_an_incomplete_order_is_told(browser, world, monkeypatch):
    stored_items(world)

    def titles(query):
        return [link.text_content()[:5] for link in page(browser, f"/spiders/books/items?{query}").cssselect("tbody th > a")]

    assert titles("sort=-field:price") == ["Lamp ", "Chair"]
    assert titles("sort=field:price") == ["Chair", "Lamp "]
    assert titles("sort=-field:internal") == titles(""), "a hidden field is no order"
    assert titles("sort=-changed")[:2] == ["Lamp ", "Table"]
    assert titles("sort=-changed&state=gone") == ["Table"]
    monkeypatch.setattr(sorted_items, "_BATCH", 2)
    monkeypatch.setattr(sorted_items, "SEARCH_S", 0)
    assert "only the 2 items that were seen last" in page(browser, "/spiders/books/items?sort=field:price").text_content()
    for broken in ("[", "[0,1,\"\",1]", "[0,NaN,\"\",1]"):
        assert browser.get(f"{browser.base}/spiders/books/items?sort=field:price&after={quote(broken)}", timeout=10).status_code == 200


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


def test_items_are_searched_filtered_and_sorted_and_one_has_its_history_with_a_chart(browser, world):
    stored_items(world)

    def titles(query):
        return [link.text_content() for link in page(browser, f"/spiders/books/items?{query}").cssselect("tbody th > a")]

    assert [title[:5] for title in titles("sort=key")] == ["Lamp ", "Chair", "Table"]
    assert (titles("q=CHAIR"), titles("state=gone"), titles("q=nothing")) == (["Chair"], ["Table"], [])
    for broken in ("[", "[1]", "[true,1]", '["a"]', "[9999999999999999999999,1]"):
        assert len(titles(f"after={quote(broken)}")) == 3
    found = page(browser, "/spiders/books/items?sort=key")
    assert "Our price" in found.text_content()
    assert "internal" not in found.text_content()
    assert not found.xpath("//a[starts-with(@href, 'javascript')]")
    item = page(browser, found.cssselect("tbody th > a")[0].get("href"))
    assert item.cssselect("svg.chart path.line")
    assert "Our price: 12 → 11 (lowest 9.5, highest 12)" in item.text_content()
    assert [cell.text_content() for cell in item.cssselect("td.kind")] == ["changed", "changed", "new"]
    assert not item.xpath("//script|//a[starts-with(@href, 'javascript')]")
    assert browser.get(f"{browser.base}/spiders/idle/items/1", timeout=10).status_code == 404, "an item of another spider"


def test_an_item_is_forgotten_by_a_button(browser, world):
    stored_items(world)
    path = page(browser, "/spiders/books/items?q=chair").cssselect("tbody th > a")[0].get("href")
    assert press(browser, path, f"{path}/forget").headers["Location"] == "/spiders/books/items"
    assert browser.get(browser.base + path, timeout=10).status_code == 404
    assert browser.post(f"{browser.base}{path}/forget", timeout=10).status_code == 403, "without the proof"


def test_a_spider_is_paused_for_a_time_with_a_reason(browser, world):
    form = next(form for form in page(browser, "/spiders/idle").forms if form.action == "/spiders/idle/pause")
    data = dict(form.form_values()) | {"hours": "168", "reason": "a new\nsite"}
    assert browser.post(f"{browser.base}/spiders/idle/pause", data=data, headers={"Origin": browser.base}, timeout=10, allow_redirects=False).status_code == 303
    with world.store.read() as connection:
        pause = paused_spiders.pauses(connection, now=NOW)["idle"]
    assert (pause.until, pause.reason) == (NOW + timedelta(days=7), "a new site")
    assert browser.post(f"{browser.base}/spiders/idle/pause", data=data | {"hours": "9e9"}, headers={"Origin": browser.base}, timeout=10).status_code == 409


def test_only_pictures_that_the_program_took_are_shown(browser, world):
    world.fill()
    key = f"screenshots/books/{'0' * 32}-page.png"
    world.store.files.write(key, b"\x89PNG")
    shown = browser.get(f"{browser.base}/pictures/{key}", timeout=10)
    assert (shown.status_code, shown.headers["Content-Type"], shown.headers["Content-Disposition"][:6]) == (200, "image/png", "inline")
    assert "sandbox" in shown.headers["Content-Security-Policy"]
    for other in ("downloads/books/0.pdf", "screenshots/books/../../pipeline.sqlite3", "heartbeat-token"):
        assert browser.get(f"{browser.base}/pictures/{other}", timeout=10).status_code == 404


def test_the_pages_are_in_the_language_of_the_settings(browser, world):
    world.fill()
    table = world.settings.pipeline.model_copy(update={"language": "zh"})
    world.settings = world.settings.model_copy(update={"pipeline": table})
    found = page(browser, "/")
    assert found.get("lang") == "zh"
    assert "最近一次运行失败" in found.text_content()


def test_missing_pages_are_404(browser):
    for path in ("/spiders/none", "/runs/99", "/runs/99/events", "/runs/x", "/messages/99", "/messages/99/body",
                 "/spiders/..%2f..%2fetc", "/runs/-1", "/runs/" + "9" * 40):
        assert browser.get(browser.base + path, timeout=10).status_code == 404, path


def test_a_spider_removed_from_the_settings_still_has_its_page(browser, world):
    world.fill()
    world.settings = world.settings.model_copy(update={"spiders": {}})
    assert "no longer in the settings" in page(browser, "/spiders/books").text_content()


# The buttons


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


def test_a_parked_message_is_retried(browser, world):
    world.fill()
    press(browser, "/outbox", f"/messages/{world.parked}/retry")
    assert outbox.get(world.store, world.parked)[0].state is MessageState.WAITING
    assert world.woken == ["mail"]
    again = browser.post(f"{browser.base}/messages/{world.sent}/retry", data=proof_of(browser), timeout=10)
    assert again.status_code == 409


def test_a_refused_address_is_marked_as_seen(browser, world):
    world.fill()
    with world.store.write() as connection:
        connection.execute(insert(recipients).values(message_id=world.sent, address="gone@<b>.example", state="refused", code=550, answer=LEAK))
    press(browser, "/outbox", f"/messages/{world.sent}/seen")
    again = browser.post(f"{browser.base}/messages/{world.sent}/seen", data=proof_of(browser), timeout=10)
    assert again.status_code == 409


def test_another_site_cannot_press_a_button(browser, world, port):
    action = f"{browser.base}/spiders/books/pause"
    proof = proof_of(browser)
    for data, headers in (({}, {}), ({"proof": "0"}, {}), (proof, {"Origin": "http://evil.example"}),
                          (proof, {"Origin": "null"}), (proof, {"Origin": f"http://127.0.0.1:{port + 1}"}),
                          (proof, {"Sec-Fetch-Site": "same-site"}), (proof, {"Sec-Fetch-Site": "cross-site"})):
        assert browser.post(action, data=data, headers=headers, timeout=10).status_code == 403
    assert requests.post(action, data=proof, timeout=10).status_code == 403, "no cookie"
    assert browser.get(action, timeout=10).status_code == 405
    assert not paused_spiders.paused_spiders(world.store, now=NOW)


def test_a_script_with_the_token_needs_no_form(port, world):
    answer = requests.post(f"http://127.0.0.1:{port}/spiders/idle/run", timeout=10, allow_redirects=False,
                           headers={"Authorization": f"Bearer {world.token.reveal()}"})
    assert answer.status_code == 303
    unknown = requests.post(f"http://127.0.0.1:{port}/spiders/none/run", timeout=10,
                            headers={"Authorization": f"Bearer {world.token.reveal()}"})
    assert (unknown.status_code, unknown.text) == (409, "error: settings.toml: spiders: no spider named 'none'\n")


# Secrets


def test_no_configured_secret_is_in_any_answer(start, world):
    """Of any page there is, of any line and datagram; and of what is refused."""
    first, failed = world.fill()
    world.run("live", 5, None, pages=3)
    leaking = world.message("[books] as it was sent", f"<p>{escape(LEAK)}</p>")
    heartbeat = start(source=world, actions=world.actions, access=AccessPolicy(world.token), udp=True)
    places = {"name": ["books", "idle", "nobody"], "id": [first.id, failed.id, world.sent, world.parked, leaking, 999]}
    routes = {resource.canonical for resource in heartbeat.http_app.resources()}
    paths = {re.sub("{.*}", str(value), route) for route in routes
             for value in next((places[name] for name in places if f"{{{name}}}" in route), [""])}
    assert len(paths) > 40
    paths -= {"/events"}  # it does not end; its rows are those of the overview
    bearer = {"Authorization": f"Bearer {world.token.reveal()}"}
    answers = []
    with requests.Session() as session:
        session.trust_env = False
        for path in sorted(paths):
            for method, headers in (("GET", bearer), ("GET", {}), ("GET", {"Host": f"{LEAK.split()[0]}.example"}), ("POST", bearer)):
                if method == "POST" and path.endswith("/events"):
                    continue
                with session.request(method, f"http://127.0.0.1:{heartbeat.address[1]}{path}", headers=headers, timeout=30,
                                     stream=True, allow_redirects=False) as found:
                    answers.append(f"{found.headers} {found.text}")
    client = HeartbeatClient(*heartbeat.address)
    lines = [*(name for name in COMMANDS if name != "quit"), "spider books", "spider nobody", "token x"]
    answers += [client.ask(line) for line in lines]
    answers += [client.ask_datagram(line) for line in ("health", "spiders", "runs")]
    assert sum("****" in answer for answer in answers) > 8, "something was there to be masked"
    for answer in answers:
        for secret in (*EVERY_SECRET, world.token.reveal()):
            assert secret not in answer
            assert escape(secret) not in answer
            assert quote(secret, safe="") not in answer


def test_files_of_data_dir_are_not_served(browser, world):
    world.fill()
    for path in ("/var/heartbeat-token", "/heartbeat-token", "/logs/runs/1.log", "/templates/base.html",
                 "/messages/../heartbeat-token", "/downloads/books/0.pdf"):
        assert browser.get(browser.base + path, timeout=10).status_code == 404


def test_two_services_on_one_host_do_not_accept_each_others_cookies():
    assert Token("a" * 40).cookie_name != Token("b" * 40).cookie_name
