"""Tests of API tokens on the pages, and of the audit log."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import requests

from pipeline.errors import UsageError
from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.http.access import token_verifier
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.token import load_or_create_token
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.access import api_tokens, audit_log
from pipeline.store.maintenance import retention
from pipeline.store.runs import paused_spiders
from tests.heartbeat.conftest import NOW, Service

SETTINGS = """
[spiders.books]
start = ["https://books.example/"]
items.fields.title = "h1"
"""


class World:
    def __init__(self, folder, start):
        (folder / "settings.toml").write_text(SETTINGS)
        settings = load(folder / "settings.toml")
        self.store = open_store(folder / "var")
        self.main = load_or_create_token(folder / "var").reveal()
        actions = OperationsContext(self.store, lambda: settings, lambda: NOW)
        self.base = "http://{}:{}".format(*start(source=Service(), actions=actions, access=AccessPolicy(load_or_create_token(folder / "var"))).address)

    def ask(self, method, path, token, **options):
        return requests.request(method, self.base + path, headers={"Authorization": f"Bearer {token}"}, timeout=10, allow_redirects=False, **options)

    def audited(self):
        return [(entry.who, entry.action, entry.target, entry.outcome) for entry in audit_log.entries(self.store, limit=50)]


@pytest.fixture
def world(tmp_path, start, monkeypatch):
    monkeypatch.setattr(token_verifier, "FRESH_S", 0.0)
    world = World(tmp_path, start)
    yield world
    world.store.close()


def test_an_api_token_opens_the_pages_until_it_is_revoked(world):
    assert world.ask("GET", "/spiders/books", f"plt_{'x' * 43}").status_code == 403
    token = api_tokens.create(world.store, "ci", "full", now=NOW)
    assert world.ask("GET", "/spiders/books", token).status_code == 200
    assert world.ask("POST", "/spiders/books/pause", token).status_code == 303
    assert paused_spiders.paused_spiders(world.store, now=NOW) == {"books"}
    stored, = api_tokens.list_tokens(world.store)
    assert stored.last_used_at == NOW
    assert token not in repr(stored)
    assert api_tokens.revoke(world.store, "ci", now=NOW)
    assert world.ask("GET", "/spiders/books", token).status_code == 403
    assert world.ask("POST", "/spiders/books/resume", token).status_code == 403
    assert paused_spiders.paused_spiders(world.store, now=NOW) == {"books"}


def test_a_read_only_token_reads_and_does_not_act(world):
    token = api_tokens.create(world.store, "grafana", "read", now=NOW)
    assert world.ask("GET", "/spiders/books", token).status_code == 200
    for path in ("/spiders/books/run", "/spiders/books/pause", "/spiders/books/resume", "/runs/1/stop", "/messages/1/retry", "/messages/1/seen"):
        refused = world.ask("POST", path, token)
        assert (refused.status_code, "may only read" in refused.text) == (403, True), path
    assert not paused_spiders.paused_spiders(world.store, now=NOW)
    assert world.audited()[1] == ("grafana", "pause", "spider books", "refused: the token is read-only")


def test_each_action_is_audited_with_who_from_where_and_its_outcome(world, caplog):
    with caplog.at_level("INFO", "pipeline.audit"):
        world.ask("POST", "/spiders/books/pause", world.main)
        world.ask("POST", "/spiders/no%1b[31mne/pause", world.main)
        world.ask("POST", "/runs/77/stop", world.main)
        requests.post(f"{world.base}/spiders/books/pause", timeout=10)
    done, unknown, ended = world.audited()
    assert done == ("main", "pause", "spider books", "done")
    assert unknown[2] == "spider no\\x1b[31mne"
    assert unknown[3].startswith("failed: error: settings.toml: spiders: no spider named")
    assert ended == ("main", "stop", "run 77", "failed: error: runs: run 77 has ended, or does not exist")
    assert {entry.source for entry in audit_log.entries(world.store, limit=9)} == {"127.0.0.1"}
    assert "main (127.0.0.1): pause spider books: done" in caplog.text


def test_the_name_of_a_token_is_used_once(world):
    api_tokens.create(world.store, "ci", "full", now=NOW)
    api_tokens.revoke(world.store, "ci", now=NOW)
    for name in ("ci", "main", "", "a b", "../x", "x" * 65):
        with pytest.raises(UsageError):
            api_tokens.create(world.store, name, "full", now=NOW)
    assert not api_tokens.revoke(world.store, "ci", now=NOW)


def test_audit_entries_are_deleted_after_a_year(world):
    entry = audit_log.AuditEntry(NOW - timedelta(days=366), "ci", "127.0.0.1", "pause", "spider books")
    audit_log.write(world.store, entry)
    audit_log.write(world.store, replace(entry, at=NOW - timedelta(days=364), who="kept"))
    retention.prune(world.store, retention.RetentionRules(), now=NOW)
    assert [found.who for found in audit_log.entries(world.store, limit=9)] == ["kept"]
