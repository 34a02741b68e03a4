"""Tests of several services and workers on one PostgreSQL.

One leader, its successor, and nodes that come and go.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from tests.servers.pages import PageSite
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.program import Program, eventually

pytestmark = pytest.mark.needs("postgres")

SETTINGS = """
[pipeline]
database = {{ env = "DATABASE" }}
keep_free = "1MB"
[heartbeat]
port = {port}
[cluster]
node = "{name}"
"""
SPIDER = """
[spiders.s]
start = "{url}/s"
schedule = "every 4s"
robots = false
[spiders.s.items]
key = ["x"]
[spiders.s.items.fields]
x = "p"
"""


class Cluster:
    """Programs with a folder and a port each, on one database."""

    def __init__(self, folder: Path, site: PageSite, database: str) -> None:
        self.database = database
        self._folder = folder
        self._site = site
        self._programs: list[Program] = []

    def add(self, name: str, *arguments: str, has_spider: bool = True) -> Program:
        folder = self._folder / name
        folder.mkdir()
        added = Program(folder, free_port())
        added.environment["DATABASE"] = self.database
        self.write(added, has_spider=has_spider)
        self._programs.append(added)
        added.serve(*arguments)
        return added

    def write(self, program: Program, *, has_spider: bool = True) -> None:
        text = SETTINGS.format(port=program.port, name=program.folder.name) + (SPIDER.format(url=self._site.url) if has_spider else "")
        (program.folder / "settings.toml").write_text(text)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(statement.encode()).fetchall()

    def succeeded(self) -> int:
        return int(self.rows("SELECT count(*) FROM runs WHERE outcome = 'succeeded'")[0][0])

    def goes_on(self) -> None:
        before = self.succeeded()
        eventually(lambda: self.succeeded() > before, within_s=60, every_s=0.2)

    def close(self) -> None:
        for each in self._programs:
            each.close()


@pytest.fixture
def cluster(tmp_path: Path, site: PageSite, postgres: Postgres) -> Iterator[Cluster]:
    site.pages = {"/s": "<p>one</p>"}
    opened = Cluster(tmp_path, site, postgres.new_database())
    yield opened
    opened.close()


def leaders(program: Program) -> list[str]:
    return [node["name"] for node in program.status()["nodes"] if node["leader"] and node["state"] == "alive"]


def nodes_of(program: Program) -> dict[str, str]:
    return {node["name"]: node["state"] for node in program.status()["nodes"]}


def test_a_worker_performs_the_runs_while_leaders_freeze_and_die(cluster: Cluster) -> None:
    first = cluster.add("first", "serve", "--no-worker")
    worker = cluster.add("worker", "worker", "--concurrency", "1", has_spider=False)
    eventually(lambda: "was left to another node" in worker.log(), within_s=60, every_s=0.2)  # its settings are old
    assert cluster.rows("SELECT count(*) FROM runs WHERE outcome = 'failed'") == [(0,)]
    cluster.write(worker)
    os.kill(worker.pid, signal.SIGHUP)
    cluster.goes_on()

    second = cluster.add("second", "serve", "--no-worker")
    assert leaders(second) == ["first"]
    os.kill(first.pid, signal.SIGSTOP)
    eventually(lambda: leaders(second) == ["second"], within_s=30, every_s=0.5)
    os.kill(first.pid, signal.SIGCONT)
    eventually(lambda: nodes_of(second)["first"] == "alive" and leaders(first) == ["second"], within_s=30, every_s=0.5)
    assert "is no longer the leader" in first.log()
    cluster.goes_on()

    second.kill()
    eventually(lambda: leaders(first) == ["first"], within_s=30, every_s=0.5)
    cluster.goes_on()
    listed = json.loads(worker.run("nodes", "--json").stdout)
    assert {(node["name"], tuple(node["roles"]), node["concurrency"]) for node in listed} >= {
        ("first", ("scheduler", "outbox"), 0), ("worker", ("worker",), 1)}
    assert worker.stop() == 0
    assert "worker" not in nodes_of(first)
    assert first.stop() == 0
    assert set(Counter(cluster.rows("SELECT spider, key FROM slots")).values()) == {1}
    assert set(Counter(cluster.rows("SELECT slot_id FROM passes")).values()) == {1}
    assert cluster.rows("SELECT kind FROM changes") == [("new",)]


def test_a_worker_and_nodes_need_postgresql(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[spiders.s]\nstart = "http://127.0.0.1:1/"\n')
    refused = CliRunner().invoke(main, ["worker", "--settings", str(settings)])
    assert (refused.exit_code, "this database is SQLite" in refused.output, "pipeline serve" in refused.output) == (2, True, True)
    assert not (tmp_path / "var" / "pipeline.sqlite3").exists()
    listed = CliRunner().invoke(main, ["nodes", "--settings", str(settings)])
    assert (listed.exit_code, listed.output) == (0, "the database is SQLite, so this machine is the only node\n")
