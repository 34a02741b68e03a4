"""The private files of a session, on disk and in the database.

One suite for both, then what only a shared database has.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from pipeline.errors import LeaseLostError
from pipeline.session.cookies.cookie import Cookie, make_cookie
from pipeline.session.cookies.jar import Jar
from pipeline.session.proxies.pool import ProxyPool
from pipeline.store import Store, open_store
from pipeline.store.database.schema import runs
from pipeline.store.health.proxy_health import pools
from pipeline.store.runs.runs import claim_slot, start_run
from pipeline.store.session_files import JAR, LAST_LOGIN, PROXIES, LocalSessionFiles, files_of, versions
from tests.servers.postgres import Postgres

NOW = datetime.now(UTC)


def cookie(name: str, value: str = "1") -> Cookie:
    return make_cookie(domain="a.example", name=name, value=value)


def sent(jar: Jar) -> bytes:
    return jar.header("http://a.example/")


def test_a_file_has_another_version_after_each_change_and_is_not_replaced_if_another_process_has_changed_it(store: Store) -> None:
    file, other = files_of(store, "s").file(JAR), files_of(store, "t").file(JAR)
    assert (file.load(), file.version(), file.read()) == ((None, 0), 0, None)
    first = file.replace(b"one", version=0)
    assert file.load() == (b"one", first)
    assert file.replace(b"too late", version=0) is None
    second = file.replace(b"two \x00\xff", version=first)
    assert file.load() == (b"two \x00\xff", second)
    assert len({0, first, second, file.replace(b"three")}) == 4
    assert (file.read(), other.read()) == (b"three", None)
    assert file.version() == file.load()[1] != second


def test_cookies_that_are_imported_while_a_run_is_at_work_stay_in_the_jar_of_the_run(store: Store) -> None:
    run, command = (Jar.open(files_of(store, "s").file(JAR)) for _ in range(2))
    run.add([cookie("sid", "old"), cookie("gone"), cookie("of_site")])
    run.save()
    assert command.merge()
    assert not command.merge()
    command.add([cookie("sid", "imported"), cookie("new")])
    command.remove(cookie("gone").key)
    command.save()
    run.add([cookie("sid", "of the site"), cookie("of_site", "2")])
    assert run.save()
    assert sent(run) == sent(Jar.open(files_of(store, "s").file(JAR))) == b"sid=imported; of_site=2; new=1"
    assert not run.save()


def test_values_that_change_with_each_page_are_rarely_written_to_a_database_but_new_cookies_at_once(store: Store) -> None:
    file = files_of(store, "s").file(JAR)
    jar = Jar.open(file)
    jar.add([cookie("sid", "0")])
    jar.checkpoint()
    first = file.version()
    jar.add([cookie("sid", "1")])
    jar.checkpoint()
    assert (file.version() == first) == store.shared
    jar.add([cookie("sid", "2"), cookie("new")])
    jar.checkpoint()
    assert sent(Jar.open(file)) == b"sid=2; new=1"
    jar.add([cookie("sid", "3")])
    jar.save()
    assert sent(Jar.open(file)) == b"sid=3; new=1"


def test_a_proxy_that_is_suspended_for_one_process_is_suspended_for_all(store: Store) -> None:
    urls = ("http://me:pw@a:1", "http://b:1", "http://c:1")
    one, two = (ProxyPool(urls, files_of(store, "s").file(PROXIES)) for _ in range(2))
    assert one.choose(0) == two.choose(0) == urls[0]
    assert one.failed(0)
    assert two.choose(1) == one.choose(1) == urls[1]
    assert two.failed(1)
    assert one.choose(2) == urls[2]
    with store.read() as connection:
        found = pools(store, connection, ["s", "x"])
    assert {name: pool.health.keys() for name, pool in found.items()} == {"s": {"http://a:1", "http://b:1"}}


@pytest.mark.parametrize("store", [pytest.param("postgresql", marks=pytest.mark.needs("postgres"))], indirect=True)
def test_a_process_that_lost_its_run_does_not_overwrite_the_jar_of_the_next_run(store: Store) -> None:
    claimed = claim_slot(store, "s", "slot", due_at=NOW, reason="manual", now=NOW)
    run = start_run(store, claimed.id if claimed else None, owner=store.owner, now=NOW, limit=1)
    jar = Jar.open(files_of(store, "s", run=run).file(JAR))
    jar.add([cookie("sid", "first")])
    jar.save()
    with store.write() as connection:
        connection.execute(update(runs).values(lease_owner="another", lease_until=NOW + timedelta(seconds=15)))
    jar.add([cookie("sid", "second")])
    with pytest.raises(LeaseLostError, match="another process has taken over"):
        jar.save()
    assert sent(Jar.open(files_of(store, "s").file(JAR))) == b"sid=first"
    with store.read() as connection:
        assert versions(connection, "s") == {JAR: 1}


@pytest.mark.needs("postgres")
def test_a_shared_database_takes_over_the_local_files_once(postgres: Postgres, migrated: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    url = postgres.new_database(migrated)
    nodes = [open_store(tmp_path / name, url) for name in ("one", "two")]
    local = [LocalSessionFiles(node.data_dir / "jars", "s") for node in nodes]
    for files, text in zip(local, (b"of one", b"of two"), strict=True):
        files.file(JAR).replace(text)
    local[1].file(LAST_LOGIN).replace(b"of two")
    for node in nodes:
        files = files_of(node, "s")
        assert (files.file(JAR).read(), files.file(LAST_LOGIN).read()) == (b"of one", None)
    assert f"the session of s was copied from {tmp_path / 'one/jars'} into the database" in caplog.text
    assert str(tmp_path / "two") not in caplog.text
    files_of(nodes[1], "s").file(JAR).replace(b"newer")
    assert files_of(nodes[0], "s").file(JAR).read() == b"newer"
    assert local[0].file(JAR).read() == b"of one"
    for node in nodes:
        node.close()
