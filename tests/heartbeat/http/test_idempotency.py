"""Tests of POST requests with an Idempotency-Key.

On SQLite and on a PostgreSQL database that two servers share.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pipeline.heartbeat.http.api.idempotency import LONGEST
from pipeline.store.access import api_requests, audit_log
from pipeline.store.database.schema import api_requests as table
from pipeline.store.runs import runs
from tests.heartbeat.conftest import NOW
from tests.heartbeat.http.test_api import World, problem
from tests.servers.loop import loop_thread

RUN = "/spiders/books/runs"


@pytest.fixture
def run():
    with loop_thread(asyncio.new_event_loop) as run:
        yield run


@pytest.fixture
def world(tmp_path_factory, start, monkeypatch):
    monkeypatch.setenv("HEADER_KEY", "x")
    world = World(tmp_path_factory.mktemp("planted"), start)
    yield world
    world.store.close()


def post(world, path, key, **options):
    return world.ask("POST", path, headers={"Idempotency-Key": key}, **options)


def stored(world):
    with world.store.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar()


def test_the_same_request_with_the_same_key_gets_the_first_response_and_is_performed_once(world):
    first, second = post(world, RUN, "a"), post(world, RUN, '"a"')
    assert (first.status_code, second.status_code) == (201, 201)
    assert (first.content, first.headers["Location"]) == (second.content, second.headers["Location"])
    assert ("Idempotency-Replayed" in first.headers, second.headers["Idempotency-Replayed"]) == (False, "true")
    assert len(runs.history(world.store, "books")) == 1
    assert world.woken == ["run"]
    assert [entry.outcome for entry in audit_log.entries(world.store, limit=9)] == ["done", "done before: the response was sent again"]
    world.now += timedelta(seconds=1)
    assert post(world, RUN, "a", token=world.main).status_code == 200, "a key belongs to a token"


def test_a_key_is_refused_for_another_request(world):
    assert post(world, "/check", "a", json={"toml": "x"}).status_code == 503
    assert post(world, RUN, "a").status_code == 201, "what was not performed leaves the key free"
    for path, options in ((RUN.replace("books", "films"), {}), ("/outbox/retry", {}), ("/check", {"json": {"toml": "y"}})):
        assert problem(post(world, path, "a", **options)) == "key-reused"
    assert problem(post(world, "/outbox/99/retry", "b")) == "not-found"
    assert problem(post(world, "/outbox/98/retry", "b")) == "key-reused"
    assert problem(post(world, "/outbox/99/retry", "b")) == "not-found"


@pytest.mark.parametrize("key", ["", '""', "é".encode(), "a\tb", "x" * 256])
def test_a_key_that_is_none_is_refused(world, key):
    assert problem(post(world, RUN, key)) == "invalid-parameter"
    assert stored(world) == 0
    assert runs.history(world.store, "books") == []


def test_while_the_first_request_is_performed_or_after_it_was_interrupted_nothing_is_done(world):
    post(world, RUN, "a")
    with world.store.write() as connection:
        connection.execute(table.update().values(status=None))
    answer = post(world, RUN, "a")
    assert (problem(answer), answer.status_code, answer.headers["Retry-After"]) == ("in-progress", 409, "1")
    world.now = NOW + LONGEST + timedelta(seconds=1)
    assert problem(post(world, RUN, "a")) == "interrupted"
    world.now = NOW + api_requests.KEPT_FOR
    assert post(world, RUN, "a").status_code == 200, "the run of yesterday still waits"
    assert stored(world) == 1


def test_old_requests_and_those_beyond_a_number_are_deleted(world, monkeypatch):
    monkeypatch.setattr(api_requests, "MOST_OF_TOKEN", 3)
    monkeypatch.setattr(api_requests, "_CHECK_EVERY", 1)
    for number in range(6):
        assert post(world, "/outbox/retry", str(number)).status_code == 200
    assert stored(world) == 3
    assert post(world, "/outbox/retry", "5").headers["Idempotency-Replayed"] == "true"
    assert api_requests.delete_old(world.store, now=NOW + timedelta(hours=23)) == 0
    assert api_requests.delete_old(world.store, now=NOW + api_requests.KEPT_FOR) == 3


@pytest.mark.needs("postgres")
def test_two_servers_on_one_postgresql_database_perform_a_request_once_between_them(tmp_path_factory, start, postgres, migrated, monkeypatch):
    """Also a sample of the API on PostgreSQL: lists, a search, an action, the audit log."""
    monkeypatch.setenv("HEADER_KEY", "x")
    url = postgres.new_database(migrated)
    nodes = [World(tmp_path_factory.mktemp("node"), start, url)]
    nodes.append(World(tmp_path_factory.mktemp("node"), start, url, nodes[0]))
    try:
        nodes[0].run("books", "1", {f"k{number}": {"title": f"T {number}"} for number in range(5)})
        assert [item["key"] for item in nodes[1].every("/spiders/books/items", q="t 3")] == ["k3"]
        assert [change["kind"] for change in nodes[1].every("/spiders/books/changes")] == ["new"] * 5
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: post(nodes[number % 2], RUN, "a"), range(8)))
        assert len(runs.history(nodes[0].store, "books")) == 2
        assert sum(answer.status_code == 201 and "Idempotency-Replayed" not in answer.headers for answer in answers) == 1
        assert {problem(answer) for answer in answers if answer.status_code != 201} <= {"in-progress"}
        assert nodes[1].ask("PUT", "/spiders/books/pause", json={"reason": "ok"}).json()["pause"]["reason"] == "ok"
        assert audit_log.entries(nodes[0].store, limit=1)[0].action == "pause"
    finally:
        for node in nodes:
            node.store.close()
