"""Tests of one and of several services on PostgreSQL."""

from __future__ import annotations

import json
import mailbox
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from tests.servers.pages import PageSite
from tests.servers.postgres import Postgres
from tests.servers.program import Program, eventually

pytestmark = pytest.mark.needs("postgres")

SETTINGS = """
[pipeline]
data_dir = "{data}"
database = {{ env = "DATABASE" }}
keep_free = "1MB"
max_runs = 4
[heartbeat]
port = {port}
"""
SPIDER = """
[spiders.{name}]
start = "{url}/{name}"
schedule = "{schedule}"
download = ["a"]
robots = false
[spiders.{name}.items]
key = ["x"]
[spiders.{name}.items.fields]
x = "p"
"""
DIGEST = """
[digests.{name}]
spiders = ["{name}"]
to = ["me@example.com"]
attach = ["downloads"]
"""


def told(folder: Path) -> list[str]:
    return [str(message["Subject"]) for message in mailbox.Maildir(folder, create=True)]


def count(url: str, what: LiteralString) -> int:
    """The count of rows; `what` follows SELECT count(."""
    with psycopg.connect(url) as connection:
        (found,), = connection.execute(f"SELECT count({what}").fetchall()
        return int(found)


def succeeded(url: str) -> int:
    return count(url, "*) FROM runs WHERE outcome = 'succeeded'")


def test_a_crawl_on_postgresql_reaches_the_inbox(postgres: Postgres, program: Program, site: PageSite) -> None:
    program.environment["DATABASE"] = postgres.new_database()
    site.pages = {"/s": "<p>one</p><a href=/file.pdf>f</a>", "/file.pdf": b"%PDF-1.4 file"}
    (program.folder / "settings.toml").write_text(
        SETTINGS.format(data="var", port=program.port) + SPIDER.format(name="s", url=site.url, schedule="every 1h")
        + DIGEST.format(name="s"))
    done = program.run("serve", "--once")
    assert done.returncode == 0, done.stderr
    assert len(told(program.data / "mail")) == 1
    assert program.run("items", "s").stdout == '{"x": "one"}\n'
    assert [run["outcome"] for run in program.history()] == ["succeeded"]
    assert not (program.data / "pipeline.sqlite3").exists()
    assert "database: ok" in program.run("check", "--connect").stdout


def test_two_services_share_the_slots_and_report_each_run_once(postgres: Postgres, tmp_path: Path, site: PageSite,
                                                             free_port: int) -> None:
    url = postgres.new_database()
    names = ["a", "b", "c"]
    site.pages = {f"/{name}": f"<p>{name}</p>" for name in names}
    tables = "".join(SPIDER.format(name=name, url=site.url, schedule="every 3s") + DIGEST.format(name=name)
                     for name in names)
    tables += DIGEST.format(name="manual").replace('["manual"]', str(names).replace("'", '"')) + 'schedule = "0 7 1 1 *"\n'
    services = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        service = Program(folder, free_port + number)
        service.environment["DATABASE"] = url
        (folder / "settings.toml").write_text(SETTINGS.format(data=tmp_path / "var", port=service.port) + tables)
        services.append(service)
    try:
        for service in services:
            service.serve()
        eventually(lambda: count(url, "DISTINCT spider) FROM runs WHERE outcome = 'succeeded'") == len(names), within_s=60)
        with ThreadPoolExecutor() as pool:  # a person on each node asks for the digest at the same moment
            sent = list(pool.map(lambda service: service.run("digest", "manual", "--send"), services))
        assert [done.returncode for done in sent] == [0, 0], sent
        assert count(url, "*) FROM messages JOIN digests ON digest_id = digests.id WHERE name = 'manual'") == 1
        services[0].kill()  # the leader; the other service takes over
        before = succeeded(url)
        eventually(lambda: succeeded(url) > before, within_s=60)
        eventually(lambda: len(told(tmp_path / "var" / "mail")) > len(names), within_s=90)  # the killed one's and the one on request, too
        assert services[1].stop() == 0
    finally:
        for service in services:
            service.close()
    with psycopg.connect(url) as connection:
        slots = connection.execute("SELECT spider, key FROM slots").fetchall()
        passes = connection.execute("SELECT slot_id, count(*) FROM passes GROUP BY slot_id").fetchall()
        changes = connection.execute("SELECT spider, kind FROM changes").fetchall()
    assert len(slots) == len(set(slots))
    assert {count for _, count in passes} == {1}
    assert Counter(changes) == {(name, "new"): 1 for name in names}
    assert len(told(tmp_path / "var" / "mail")) == len(names) + 1


def test_a_service_without_its_database_says_so_and_continues_when_it_is_back(
        tmp_path: Path, site: PageSite, free_port: int) -> None:
    own = Postgres()
    service = Program(tmp_path, free_port)
    site.pages = {"/s": "<p>one</p>"}
    try:
        service.environment["DATABASE"] = url = own.new_database()
        (tmp_path / "settings.toml").write_text(
            SETTINGS.format(data="var", port=free_port) + SPIDER.format(name="s", url=site.url, schedule="every 1s"))
        service.serve()
        eventually(lambda: "succeeded" in service.log(), within_s=60)
        own.crash()
        eventually(lambda: service.status()["health"] == "failing", within_s=60)
        own.start()
        before = succeeded(url)
        eventually(lambda: succeeded(url) > before, within_s=60)
        assert service.stop() == 0
    finally:
        service.close()
        own.close()
    assert all(json.loads(line) for line in service.log().splitlines())
    assert "Traceback" not in service.log()
