"""Tests of the JSON API against a server with a real store."""

from __future__ import annotations

import json
import socket
from datetime import datetime, timedelta

import pytest
import requests
from sqlalchemy import insert, select, update

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.http.access import token_verifier
from pipeline.heartbeat.http.access.rate_limit import RateLimit
from pipeline.heartbeat.http.api.problem import TITLES
from pipeline.heartbeat.http.api.resources import all_routes
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.heartbeat.token import load_or_create_token
from pipeline.model import Download, DraftMessage, Item, Outcome, Page, Progress, Reject
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.access import api_tokens, audit_log
from pipeline.store.console import items as item_pages
from pipeline.store.crawl.commit import commit_pages
from pipeline.store.database.schema import download_files, downloads, items, messages
from pipeline.store.mail import digest_mutes, outbox
from pipeline.store.runs import paused_spiders, runs
from tests.heartbeat.conftest import NOW, STARTED

SECRET = 'api"key-77'
SETTINGS = """
[heartbeat]
api_rate = 0
[spiders.books]
schedule = "every 1h"
start = ["https://books.example/"]
items.fields.title = "h1"
headers = { X-Key = { env = "HEADER_KEY" } }
[spiders.films]
start = ["https://films.example/"]
items.fields.title = "h1"
[digests.daily]
spiders = ["books"]
to = ["me@example.com", "you@example.com"]
schedule = "daily at 07:00"
[mail]
host = "smtp.example.com"
from = "me@example.com"
"""


class World:
    """A store with one of everything, and the API of a server on it."""

    def __init__(self, folder, start, database=None, first=None):
        """database: of another World, `first`, if there are two."""
        (folder / "settings.toml").write_text(SETTINGS)
        self.settings = load(folder / "settings.toml")
        self.store = open_store(folder / "var", database)
        self.woken = []
        self.now = NOW
        self.actions = OperationsContext(self.store, lambda: self.settings, lambda: self.now, on_run=lambda: self.woken.append("run"),
                                    on_plan=lambda: self.woken.append("plan"), on_mail=lambda: self.woken.append("mail"))
        token = load_or_create_token(folder / "var")
        self.main = token.reveal()
        self.full = first.full if first else api_tokens.create(self.store, "ci", "full", now=NOW)
        self.read = first.read if first else api_tokens.create(self.store, "grafana", "read", now=NOW)
        self.address = start(source=self, actions=self.actions, access=AccessPolicy(token)).address
        self.base = "http://{}:{}/api/v1".format(*self.address)

    @property
    def cookie(self):
        """The cookie of a browser that has signed in."""
        entered = requests.post("http://{}:{}/enter".format(*self.address), data={"token": self.main}, timeout=10, allow_redirects=False)
        return dict(entered.cookies)

    async def status(self):
        return build_snapshot(self.store, self.settings, DueTimes({"books": NOW + timedelta(hours=1)}, STARTED, NOW), version="1.2.3", mask=self.actions.mask)

    def ask(self, method, path, token=None, **options):
        headers = {"Authorization": f"Bearer {token or self.full}"} | options.pop("headers", {})
        return requests.request(method, self.base + path, headers=headers, timeout=10, allow_redirects=False, **options)

    def get(self, path, **options):
        answer = self.ask("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def every(self, path, **params):
        """All entries of a list, two a page."""
        found, after = [], None
        for _ in range(30):
            page = self.get(path, params={"limit": 2} | params | ({"after": after} if after else {}))
            found += page["items"]
            if (after := page["next"]) is None:
                return found
        raise AssertionError("the list has no end")

    def run(self, spider, key, entries, ago_s=60):
        at = NOW - timedelta(seconds=ago_s)
        waiting = runs.claim_slot(self.store, spider, key, due_at=at, reason="schedule", now=at)
        run = runs.start_run(self.store, waiting.id, owner=self.store.owner, now=at, limit=9)
        commit_pages(self.store, run, [Page("https://books.example/", 200, at, items=[Item(name, data) for name, data in entries.items()])], now=at)
        return runs.end_run(self.store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), Progress(pages=1, items=len(entries)), now=at)

    def message(self, subject, state):
        key = f"messages/1-{subject}.eml"
        self.store.files.write(key, b"Subject: x\r\n\r\ntext")
        number = outbox.enqueue(self.store, DraftMessage(f"<{key}@x>", subject, "me@example.com", ("you@example.com",), key, 20), now=NOW)
        with self.store.write() as connection:
            connection.execute(update(messages).where(messages.c.id == number).values(state=state, last_error=f"535 {SECRET}"))
        return number

    def download(self, spider, name, content):
        key = f"downloads/{spider}/{name}"
        self.store.files.write(key, content)
        with self.store.write() as connection:
            number = connection.execute(insert(downloads).values(
                spider=spider, url=f"https://books.example/{name}", name=name, pass_id=1, state="done", requested_at=NOW, done_at=NOW,
                file_key=key).returning(downloads.c.id)).scalar_one()
            connection.execute(insert(download_files).values(download_id=number, spider=spider, key=key, name=name, url="https://x/", run_id=None,
                                                             size_bytes=len(content), sha256="0" * 64, fetched_at=NOW))
        return number


@pytest.fixture
def world(tmp_path_factory, start, monkeypatch):
    monkeypatch.setattr(token_verifier, "FRESH_S", 0.0)
    monkeypatch.setenv("HEADER_KEY", SECRET)
    world = World(tmp_path_factory.mktemp("planted"), start)
    yield world
    world.store.close()


@pytest.fixture
def run():
    """One event loop is enough here: test_app.py runs on both."""
    import asyncio

    from tests.servers.loop import loop_thread
    with loop_thread(asyncio.new_event_loop) as run:
        yield run


def problem(answer):
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    found = answer.json()
    assert found["status"] == answer.status_code
    return found["type"].removeprefix("docs/api.md#")


def test_spiders_runs_and_changes_are_listed_in_pages(world):
    for number in range(5):
        world.run("books", f"run {number}", {"a": {"title": "A", "price": number}, f"b{number}": {"title": SECRET}}, ago_s=600 - number)
    assert [spider["name"] for spider in world.every("/spiders")] == ["books", "films"]
    assert world.get("/spiders/books")["last_run"] == 5
    assert [run["id"] for run in world.every("/runs", spider="books")] == [5, 4, 3, 2, 1]
    assert world.get("/runs", params={"state": "waiting"})["items"] == []
    changes = world.every("/spiders/books/changes")
    assert len(changes) == len({change["id"] for change in changes}) == 14
    assert [change["id"] for change in changes] == sorted((change["id"] for change in changes), reverse=True)
    assert {change["kind"] for change in world.every("/runs/5/changes", kind="changed")} == {"changed"}
    changed = world.get("/runs/5/changes", params={"kind": "changed"})["items"][0]
    assert (changed["fields"], changed["before"]["price"], changed["after"]["price"]) == (["price"], 3, 4)
    assert datetime.fromisoformat(changed["at"]).utcoffset() is not None


def test_items_are_searched_filtered_sorted_and_forgotten(world, monkeypatch):
    entries = {f"k{n:03}": {"title": f"Title {n} {'long ' * 200 if n % 2 else ''}", "price": n % 3, "tags": [{"name": f"Étage {n}"}]} for n in range(25)}
    first = world.run("books", "1", entries)
    assert [item["key"] for item in world.every("/spiders/books/items")] == sorted(entries)
    assert [item["key"] for item in world.every("/spiders/books/items", sort="-key")] == sorted(entries, reverse=True)
    assert {item["key"] for item in world.every("/spiders/books/items", sort="-seen")} == set(entries)
    assert [item["key"] for item in world.every("/spiders/books/items", q="étage 7")] == ["k007"]
    assert len(world.every("/spiders/books/items", field="price", value="1")) == 8
    assert problem(world.ask("GET", "/spiders/books/items?field=price")) == "invalid-parameter"
    assert world.every("/spiders/books/items", present="false") == []
    monkeypatch.setattr(item_pages, "SEARCH_S", -1.0)
    monkeypatch.setattr(item_pages, "_BATCH", 3)
    assert [item["key"] for item in world.every("/spiders/books/items", q="title 24")] == ["k024"]
    item = world.get("/spiders/books/items", params={"limit": 1})["items"][0]
    assert world.get(f"/spiders/books/items/{item['id']}")["data"]["tags"] == [{"name": "Étage 0"}]
    assert [change["run"] for change in world.every(f"/spiders/books/items/{item['id']}/history")] == [first.id]
    assert world.ask("DELETE", f"/spiders/books/items/{item['id']}").json() == {"spider": "books", "key": "k000"}
    assert world.ask("DELETE", f"/spiders/books/items/{item['id']}").status_code == 404


def test_a_list_of_very_long_keys_is_read_to_its_end(world):
    keys = [f"{number}{'🎈' * 999}" for number in range(5)]
    world.run("books", "1", {key: {"title": "A"} for key in keys})
    assert [item["key"] for item in world.every("/spiders/books/items")] == keys


def test_an_id_of_another_spider_is_not_found(world):
    world.run("books", "1", {"a": {"title": "A"}})
    item = world.get("/spiders/books/items")["items"][0]["id"]
    download = world.download("books", "a.pdf", b"%PDF")
    for path in (f"items/{item}", f"items/{item}/history", f"downloads/{download}", f"downloads/{download}/content"):
        assert world.ask("GET", f"/spiders/books/{path}").status_code == 200
        assert problem(world.ask("GET", f"/spiders/films/{path}")) == "not-found"
    assert problem(world.ask("DELETE", f"/spiders/films/items/{item}")) == "not-found"
    with world.store.read() as connection:
        assert connection.execute(select(items.c.id)).scalars().all() == [item]


def test_a_file_is_sent_whole_or_in_part_as_an_attachment(world):
    number = world.download("books", "catalogue 1.pdf", b"0123456789")
    assert world.get("/spiders/books/downloads")["items"][0]["has_content"]
    whole = world.ask("GET", f"/spiders/books/downloads/{number}/content")
    assert (whole.content, whole.headers["Content-Disposition"]) == (b"0123456789", "attachment; filename*=UTF-8''catalogue%201.pdf")
    part = world.ask("GET", f"/spiders/books/downloads/{number}/content", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    with world.store.write() as connection:
        connection.execute(update(downloads).values(file_key=""))
    assert world.ask("GET", f"/spiders/books/downloads/{number}/content").status_code == 404


def test_a_run_is_started_and_stopped(world):
    started = world.ask("POST", "/spiders/books/runs")
    assert (started.status_code, started.json()["state"]) == (201, "waiting")
    number = started.json()["id"]
    assert started.headers["Location"] == f"/api/v1/runs/{number}"
    world.now += timedelta(seconds=1)
    again = world.ask("POST", "/spiders/books/runs")
    assert again.status_code == 200
    assert again.json()["id"] == number
    assert world.woken == ["run", "run"]
    stopped = world.ask("POST", f"/runs/{number}/stop")
    assert (stopped.status_code, stopped.json()["outcome"]) == (202, "stopped")
    assert problem(world.ask("POST", f"/runs/{number}/stop")) == "conflict"
    world.now += timedelta(seconds=1)
    runs.start_run(world.store, runs.claim_slot(world.store, "books", "x", due_at=NOW, reason="schedule", now=NOW).id, owner=world.store.owner, now=NOW, limit=9)
    assert problem(world.ask("POST", "/spiders/books/runs")) == "conflict"


def test_the_log_of_a_run_is_filtered_and_masked(world):
    run = world.run("books", "1", {})
    log = world.settings.data_dir / "logs" / "runs" / f"{run.id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"time": NOW.isoformat(), "level": level, "message": f"{level} {number} {SECRET}"} for number in range(3) for level in ("debug", "error")]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [line["text"] for line in world.get(f"/runs/{run.id}/log", params={"level": "error", "limit": 2})["lines"]] == ["error 1 ****", "error 2 ****"]
    assert len(world.get(f"/runs/{run.id}/log", params={"q": "DEBUG 1"})["lines"]) == 1
    last = world.get(f"/runs/{run.id}/log", params={"limit": 4})
    assert last["end"] == log.stat().st_size
    first = world.get(f"/runs/{run.id}/log", params={"before": last["begin"]})
    assert ([line["text"][:7] for line in first["lines"]], first["begin"], first["end"]) == (["debug 0", "error 0"], 0, last["begin"])
    first = world.get(f"/runs/{run.id}/log", params={"after": 0, "limit": 2})
    rest = world.get(f"/runs/{run.id}/log", params={"after": first["end"]})
    assert [*first["lines"], *rest["lines"]] == world.get(f"/runs/{run.id}/log")["lines"]
    assert world.get(f"/runs/{run.id}/log", params={"after": rest["end"]})["lines"] == []
    assert problem(world.ask("GET", f"/runs/{run.id}/log?after=1&before=2")) == "invalid-parameter"


def test_the_pages_the_rejected_items_and_the_downloads_of_a_run_are_listed(world):
    claimed = runs.claim_slot(world.store, "books", "rows", due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(world.store, claimed.id, owner=world.store.owner, now=NOW, limit=9)
    pages = [Page(f"https://books.example/{number}?token=x", 200, NOW, items=(Item(f"{number}", {"title": "A"}),), duration_s=0.25) for number in range(3)]
    failed = Page("https://books.example/9", 500, NOW, error=f"HTTP 500 {SECRET}", transient=True, rejects=(Reject("price: no number", {"title": "B"}),),
                  downloads=(Download("https://books.example/a.pdf"),))
    commit_pages(world.store, run, [*pages, failed], now=NOW)
    first = world.get(f"/runs/{run.id}/pages", params={"limit": 1})
    assert {name: first["items"][0][name] for name in ("status", "outcome", "error", "duration_ms")} == {
        "status": 500, "outcome": "failed", "error": "HTTP 500 ****", "duration_ms": None}
    rest = world.get(f"/runs/{run.id}/pages", params={"after": first["next"]})
    assert [(row["changes"], row["duration_ms"], "token=x" in row["url"]) for row in rest["items"]] == [(1, 250, False)] * 3
    assert [row["status"] for row in world.get(f"/runs/{run.id}/pages", params={"show": "failed"})["items"]] == [500]
    assert [row["url"][22:23] for row in world.get(f"/runs/{run.id}/pages", params={"q": "/1?"})["items"]] == ["1"]
    assert [(row["reason"], row["data"]) for row in world.get(f"/runs/{run.id}/rejects")["items"]] == [("price: no number", {"title": "B"})]
    assert [(row["url"], row["state"]) for row in world.get(f"/runs/{run.id}/downloads")["items"]] == [("https://books.example/a.pdf", "waiting")]
    assert problem(world.ask("GET", "/runs/999/pages")) == "not-found"


def test_a_spider_is_paused_until_a_time_and_resumed(world):
    until = NOW + timedelta(days=7)
    paused = world.ask("PUT", "/spiders/books/pause", json={"until": until.isoformat(), "reason": "on\nholiday"}).json()["pause"]
    assert (datetime.fromisoformat(paused["until"]), paused["reason"]) == (until, "on holiday")
    assert world.get("/spiders/books")["pause_reason"] == "on holiday"
    assert problem(world.ask("PUT", "/spiders/books/pause", json={"until": NOW.isoformat()})) == "conflict"
    assert world.ask("PUT", "/spiders/books/pause").json()["pause"]["until"] is None
    assert world.ask("DELETE", "/spiders/books/pause").json() == {"spider": "books", "pause": None}
    assert world.ask("DELETE", "/spiders/books/pause").status_code == 200
    assert not paused_spiders.paused_spiders(world.store, now=NOW)
    assert problem(world.ask("PUT", "/spiders/none/pause")) == "not-found"
    assert world.woken == ["plan"] * 4


def test_messages_are_listed_retried_and_dropped(world):
    parked, other, sent = (world.message(name, state) for name, state in (("a", "parked"), ("b", "parked"), ("c", "sent")))
    assert [message["id"] for message in world.get("/outbox")["items"]] == [other, parked]
    assert world.get("/outbox", params={"state": "sent"})["items"][0]["id"] == sent
    assert world.get(f"/outbox/{parked}")["last_error"] == "535 ****"
    assert world.ask("POST", f"/outbox/{parked}/retry").json()["state"] == "waiting"
    assert world.ask("POST", f"/outbox/{parked}/drop").json()["state"] == "dropped"
    assert problem(world.ask("POST", f"/outbox/{parked}/drop")) == "conflict"
    assert problem(world.ask("POST", f"/outbox/{other}/rebuild")) == "conflict"
    assert problem(world.ask("POST", "/outbox/99/retry")) == "not-found"
    assert world.ask("POST", "/outbox/retry").json() == {"messages": [other]}


def test_digests_are_listed_and_muted(world):
    world.run("books", "1", {"a": {"title": "A"}})
    digest, = world.get("/digests")["items"]
    assert (digest["name"], digest["recipients"], digest["unreported_runs"], digest["last_sent_at"]) == ("daily", 2, 1, None)
    until = (NOW + timedelta(days=1)).isoformat()
    muted = world.ask("PUT", "/digests/daily/mute", json={"until": until})
    assert muted.status_code == 200, muted.text
    assert set(digest_mutes.muted_until(world.store, now=NOW)) == {"daily"}
    assert world.ask("DELETE", "/digests/daily/mute").json()["muted_until"] is None
    assert problem(world.ask("GET", "/digests/daily/preview")) == "unavailable"
    assert problem(world.ask("POST", "/digests/none/messages")) == "not-found"


@pytest.mark.parametrize("route", [route for route in all_routes() if route.method != "GET"], ids=lambda route: f"{route.method} {route.path}")
def test_a_read_only_token_changes_nothing(world, route):
    path = route.path.replace("{name}", "books").replace("{id}", "1")
    assert problem(world.ask(route.method, path, world.read)) == "read-only"
    assert problem(requests.request(route.method, world.base + path, timeout=10)) == "unauthorized"
    entry, = audit_log.entries(world.store, limit=9)
    assert (entry.who, entry.action, entry.outcome) == ("grafana", route.action, "refused: the token is read-only")
    assert route.action
    assert route.target


def test_only_a_valid_token_in_the_header_is_accepted(world):
    for options in ({}, {"headers": {"Authorization": "Bearer wrong"}}, {"headers": {"Authorization": f"Basic {world.full}"}}, {"cookies": world.cookie},
                    {"params": {"token": world.main}}):
        answer = requests.get(f"{world.base}/spiders", timeout=10, **options)
        assert problem(answer) == "unauthorized"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for token in (world.main, world.full, world.read):
        assert world.ask("GET", "/spiders", token).status_code == 200
    api_tokens.revoke(world.store, "grafana", now=NOW)
    assert problem(world.ask("GET", "/spiders", world.read)) == "unauthorized"


@pytest.mark.parametrize(("path", "kind", "told"), [
    ("/runs?limit=501", "invalid-parameter", "limit"), ("/runs?limit=0", "invalid-parameter", "limit"), ("/runs?limit=1.0", "invalid-parameter", "limit"),
    ("/runs?limit=%2B5", "invalid-parameter", "limit"), ("/runs?limit=5&limit=6", "duplicate-parameter", "once"),
    ("/runs?lmit=5", "unknown-parameter", "did you mean 'limit'"), ("/runs?outcome=won", "invalid-parameter", "outcome"),
    ("/runs?after=x", "invalid-parameter", "cursor"), ("/runs?after=WyJhIl0", "invalid-parameter", "cursor"), ("/runs?after=WzFlMzA4XQ", "invalid-parameter", "cursor"),
    ("/runs?spider=%ff", "invalid-parameter", "UTF-8"), ("/spiders/books/items?present=yes", "invalid-parameter", "present"),
    ("/runs/x", "not-found", ""), ("/runs/" + "9" * 40, "not-found", ""), ("/runs/99", "not-found", ""), ("/nothing", "not-found", ""),
    ("/spiders/..%2f..%2fetc%2fpasswd", "not-found", ""), ("/spiders/%00/items", "not-found", ""), ("/spiders/a%0d%0ab/items", "not-found", ""),
    ("/digests/..%2fx/preview", "not-found", ""), ("/../../etc/passwd", "not-found", "")])
def test_a_wrong_request_gets_problem_details(world, path, kind, told):
    with requests.Session() as session:
        request = requests.Request("GET", world.base, headers={"Authorization": f"Bearer {world.full}"}).prepare()
        request.url = world.base + path  # as it is, without normalization
        answer = session.send(request, timeout=10)
    assert problem(answer) == kind
    assert told in answer.text


@pytest.mark.parametrize(("options", "kind"), [
    ({"data": "{}", "headers": {"Content-Type": "text/plain"}}, "unsupported-media-type"), ({"data": {"until": "x"}}, "unsupported-media-type"),
    ({"data": "{}", "headers": {"Content-Type": "application/json; charset=utf-16"}}, "unsupported-media-type"),
    ({"data": "{}", "headers": {"Content-Type": "application/json", "Content-Encoding": "gzip"}}, "unsupported-media-type"),
    ({"data": '{"reason": "a", "reason": "b"}'}, "invalid-body"), ({"data": '{"reason": NaN}'}, "invalid-body"), ({"data": "[" * 100_000}, "invalid-body"),
    ({"data": '{"reason": "\\ud800"}'}, "invalid-body"), ({"data": b'{"reason": "\xff"}'}, "invalid-body"), ({"json": {"reason": 5}}, "invalid-body"),
    ({"json": {"until": 5}}, "invalid-body"), ({"json": {"until": "2026-12-01T00:00:00"}}, "invalid-body"), ({"json": {"reasn": "x"}}, "invalid-body"),
    ({"json": []}, "invalid-body"), ({"json": {"reason": "x" * 301}}, "invalid-body"), ({"data": b"x" * 300_000}, "body-too-large"),
    ({"data": iter([b"[" + b"1," * 150_000])}, "body-too-large")])
def test_a_wrong_body_is_refused_and_changes_nothing(world, options, kind):
    headers = {"Content-Type": "application/json"} | options.pop("headers", {})
    if isinstance(options.get("data"), dict):
        headers = {}
    assert problem(world.ask("PUT", "/spiders/books/pause", headers=headers, **options)) == kind
    assert not paused_spiders.paused_spiders(world.store, now=NOW)
    assert problem(world.ask("POST", "/spiders/books/runs", json={})) == "unexpected-body"


def test_other_methods_are_refused_with_those_that_are_allowed(world):
    answer = world.ask("PATCH", "/runs/1")
    assert (problem(answer), answer.headers["Allow"]) == ("method-not-allowed", "GET,HEAD")
    assert "Access-Control-Allow-Origin" not in world.ask("OPTIONS", "/runs", headers={"Origin": "http://evil.example"}).headers


def test_two_requests_cannot_hide_in_one(world):
    """Request smuggling (RFC 9112, 11.2): a length that is said twice, or in two ways, is refused, and what follows is not read."""
    hidden = f"DELETE /api/v1/spiders/books/pause HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.full}\r\n\r\n"
    paused_spiders.pause(world.store, "books", now=NOW)
    for lengths in ("Content-Length: 2\r\nContent-Length: 90\r\n", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
                    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "Transfer-Encoding : chunked\r\nContent-Length: 2\r\n"):
        with socket.create_connection(world.address, 10) as sock:
            sock.sendall(f"POST /api/v1/runs/1/stop HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {world.read}\r\n{lengths}\r\n0\r\n\r\n{hidden}".encode())
            received = b""
            while data := sock.recv(65536):
                received += data
        assert b"HTTP/1.1 200" not in received, lengths
        assert paused_spiders.paused_spiders(world.store, now=NOW) == {"books"}, lengths


def test_an_unchanged_resource_is_not_sent_again(world):
    first = world.ask("GET", "/runs")
    again = world.ask("GET", "/runs", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    world.run("books", "1", {})
    assert world.ask("GET", "/runs", headers={"If-None-Match": first.headers["ETag"]}).status_code == 200
    head = world.ask("HEAD", "/runs")
    assert (head.status_code, head.content) == (200, b"")


def test_each_token_has_its_own_limit_of_requests(world):
    world.settings = world.settings.model_copy(update={"heartbeat": world.settings.heartbeat.model_copy(update={"api_rate": 0.34})})
    assert world.ask("GET", "/runs").headers["RateLimit"] == '"token";r=0;t=0'
    refused = world.ask("GET", "/runs")
    assert problem(refused) == "too-many-requests"
    assert int(refused.headers["Retry-After"]) >= 1
    assert world.ask("GET", "/runs", world.read).status_code == 200


def test_the_bucket_of_a_token_is_refilled_with_time():
    now = 0.0
    limit = RateLimit(lambda: 2.0, lambda: now)
    assert [limit.take("ci").allowed for _ in range(7)] == [True] * 6 + [False]
    now = 0.5
    assert (limit.take("ci").allowed, limit.take("ci").wait_s) == (True, 1)


def test_every_kind_of_problem_is_described(world):
    from pathlib import Path
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")
    for kind in TITLES:
        assert f"| <a id=\"{kind}\"></a>`{kind}` | {TITLES[kind][0]} |" in page, kind
    for route in all_routes():
        assert f"`{route.method} {route.path}`" in page, route
