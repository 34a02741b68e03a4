"""A store with one of everything behind the pages, and functions with which tests read and press them."""

from __future__ import annotations

import json
from datetime import timedelta

from lxml import html
from sqlalchemy import insert, update

from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.heartbeat.token import load_or_create_token
from pipeline.model import (
    Download,
    DraftMessage,
    Item,
    Outcome,
    Page,
    PageOutcome,
    Progress,
    Reject,
    Transfer,
)
from pipeline.settings import DisplayTable, load
from pipeline.store import open_store
from pipeline.store.crawl.commit import commit_pages
from pipeline.store.database.schema import changes, download_files, downloads, messages
from pipeline.store.mail import outbox
from pipeline.store.runs import runs
from tests.heartbeat.conftest import NOW, STARTED

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


def rows_of(found):
    return [[" ".join(cell.text_content().split()) for cell in row] for row in found.cssselect("tbody tr")]


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
