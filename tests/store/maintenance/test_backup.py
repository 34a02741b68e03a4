"""Tests of backup and restore, also of damaged and hostile archives."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import tarfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.errors import DiskFullError, StoreError
from pipeline.model import DraftMessage, Item, MessageState, Outcome, Page
from pipeline.store import Store, open_store
from pipeline.store.crawl import commit, items
from pipeline.store.database import migrate
from pipeline.store.mail import digests, outbox
from pipeline.store.maintenance import backup
from pipeline.store.maintenance.restore import restore_backup
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DRAFT = DraftMessage("<1@here>", "News", "me@here", ("a@there",), "messages/1.eml", 4)


def url_of(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)


def elsewhere(store: Store, request: pytest.FixtureRequest, folder: Path) -> tuple[Path, str | None]:
    """An empty place of the same kind."""
    url = request.getfixturevalue("postgres").new_database() if store.kind == "postgresql" else None
    return folder, url


def crawled(store: Store, key: str, *names: str) -> None:
    runs.claim_slot(store, "shop", key, due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(store, None, owner=store.owner, now=NOW, limit=9)
    assert run is not None
    page = Page("http://shop/", 200, NOW, items=tuple(Item(name, {"name": name, "odd": "a\tb\n\\.\n\0"}) for name in names))
    done = commit.commit_pages(store, run, [page], now=NOW)
    runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), done.progress, now=NOW)


def filled(store: Store) -> None:
    crawled(store, "1", "one", "two")
    store.files.write("jars/shop.txt", b"cookies")
    store.files.write("messages/1.eml", b"mail")
    store.files.write("downloads/shop/a.pdf", b"x" * 100_000)
    store.files.write("downloads/shop/yarn.lock", b"a file of the site")
    store.files.write("downloads/shop/.parts/7-ab.part", b"half")
    store.files.write("logs/runs/1.log", b"long")
    outbox.enqueue(store, DRAFT, now=NOW)


def names_in(archive: Path) -> set[str]:
    with tarfile.open(archive) as found:
        return set(found.getnames())


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
def test_a_restore_brings_back_the_backed_up_data(store: Store, request: pytest.FixtureRequest, tmp_path: Path, name: str) -> None:
    filled(store)
    archive = tmp_path / name
    done = backup.back_up(store, archive, now=NOW, version="1")
    assert archive.stat().st_mode & 0o777 == 0o600
    assert names_in(archive) == {"database", "files/jars/shop.txt", "files/messages/1.eml", "files/downloads/shop/a.pdf",
                                 "files/downloads/shop/yarn.lock", "manifest.json"}
    assert done.files == 4
    place, url = elsewhere(store, request, tmp_path / "new")
    restored = restore_backup(place, url, archive, replace=False, resend=False, now=NOW)
    assert (restored.files, restored.lost, restored.kept, restored.parked) == (4, 0, None, 1)
    again = open_store(place, url)
    assert [item.data for item in items.present(again, "shop")] == [item.data for item in items.present(store, "shop")]
    assert (place / "jars" / "shop.txt").read_bytes() == b"cookies"
    assert (place / "jars" / "shop.txt").stat().st_mode & 0o777 == 0o600
    assert runs.history(again) == runs.history(store)
    crawled(again, "2", "three")  # ids go on where they were
    assert [run.id for run in runs.history(again)] == [2, 1]
    assert next(digests.changes_of(again, [2])).key == "three"
    again.close()


def test_waiting_messages_are_parked_unless_resend_is_given(store: Store, request: pytest.FixtureRequest,
                                                       tmp_path: Path) -> None:
    filled(store)
    backup.back_up(store, tmp_path / "b", now=NOW, version="1")
    place, url = elsewhere(store, request, tmp_path / "new")
    restore_backup(place, url, tmp_path / "b", replace=False, resend=False, now=NOW)
    again = open_store(place, url)
    assert outbox.lease(again, owner="me", now=NOW) == []
    (message,) = outbox.list_messages(again)
    assert message.state is MessageState.PARKED
    assert "may have been sent since" in message.last_error
    again.close()
    restore_backup(place, url, tmp_path / "b", replace=True, resend=True, now=NOW + timedelta(minutes=5))
    again = open_store(place, url)
    assert [message.message_id for message in outbox.lease(again, owner="me", now=NOW)] == ["<1@here>"]
    again.close()


def test_existing_data_is_replaced_only_with_replace_and_kept(store: Store, tmp_path: Path) -> None:
    filled(store)
    backup.back_up(store, tmp_path / "b", now=NOW, version="1")
    crawled(store, "2", "later")
    store.files.write("jars/shop.txt", b"newer")
    place, url = store.data_dir, url_of(store)
    with pytest.raises(StoreError, match=r"data already exists.*--replace"):
        restore_backup(place, url, tmp_path / "b", replace=False, resend=False, now=NOW)
    assert len(list(items.present(store, "shop"))) == 1
    store.close()
    done = restore_backup(place, url, tmp_path / "b", replace=True, resend=False, now=NOW)
    again = open_store(place, url)
    assert [item.key for item in items.present(again, "shop")] == ["one", "two"]
    assert again.files.path("jars/shop.txt").read_bytes() == b"cookies"
    assert done.kept is not None
    assert (done.kept / "jars" / "shop.txt").read_bytes() == b"newer"
    kept = done.kept / ("pipeline.sqlite3" if again.kind == "sqlite" else "database.postgresql")
    assert kept.stat().st_size > 0
    again.close()


def cut(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-12_000])


def flip(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[content.index(b"x" * 1000) + 500] ^= 1
    archive.write_bytes(content)


def no_archive(archive: Path) -> None:
    archive.write_bytes(b"no archive at all" * 1000)


def outside(archive: Path) -> None:
    with tarfile.open(archive, "w") as made:
        made.add(__file__, "files/../../evil")


def a_link(archive: Path) -> None:
    with tarfile.open(archive, "w") as made:
        head = tarfile.TarInfo("files/jars")
        head.type, head.linkname = tarfile.SYMTYPE, "/etc"
        made.addfile(head)


@pytest.mark.parametrize("damage", [cut, flip, no_archive, outside, a_link, Path.unlink])
def test_a_damaged_backup_changes_nothing(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = open_store(tmp_path / "data")
    filled(store)
    archive = tmp_path / "b"
    backup.back_up(store, archive, now=NOW, version="1")
    store.close()
    damage(archive)
    before = {path: path.read_bytes() for path in sorted(store.data_dir.rglob("*")) if path.is_file()}
    with pytest.raises(StoreError, match=str(archive)):
        restore_backup(store.data_dir, None, archive, replace=True, resend=False, now=NOW)
    assert {path: path.read_bytes() for path in sorted(store.data_dir.rglob("*")) if path.is_file()} == before
    assert not (tmp_path / "evil").exists()


def test_an_interrupted_restore_is_reported_and_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "data")
    filled(store)
    backup.back_up(store, tmp_path / "b", now=NOW, version="1")
    crawled(store, "2", "later")
    store.close()
    real, moves = os.replace, []

    def killed_in_between(source: str, target: str) -> None:
        moves.append(target)
        if len(moves) == 4:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", killed_in_between)
    with pytest.raises(KeyboardInterrupt):
        restore_backup(store.data_dir, None, tmp_path / "b", replace=True, resend=False, now=NOW)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="restore was interrupted"):
        open_store(store.data_dir)
    restore_backup(store.data_dir, None, tmp_path / "b", replace=False, resend=False, now=NOW + timedelta(seconds=9))
    again = open_store(store.data_dir)
    assert [item.key for item in items.present(again, "shop")] == ["one", "two"]
    again.close()


def test_a_backup_during_four_writers_has_whole_transactions(store: Store, request: pytest.FixtureRequest,
                                                           tmp_path: Path) -> None:
    stop = threading.Event()

    def write(name: str) -> None:
        number = 0
        while not stop.is_set():
            runs.claim_slot(store, name, str(number), due_at=NOW, reason="schedule", now=NOW)
            number += 1

    threads = [threading.Thread(target=write, args=(f"s{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(3):
            backup.back_up(store, tmp_path / str(number), now=NOW, version="1")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    place, url = elsewhere(store, request, tmp_path / "new")
    restore_backup(place, url, tmp_path / "2", replace=False, resend=False, now=NOW)
    again = open_store(place, url)
    with again.read() as connection:
        slots = connection.exec_driver_sql("SELECT count(*) FROM slots").scalar()
        assert slots == connection.exec_driver_sql("SELECT count(*) FROM runs").scalar()
        assert slots
    again.close()


def test_a_restore_is_refused_while_a_run_uses_the_data(store: Store, tmp_path: Path) -> None:
    backup.back_up(store, tmp_path / "b", now=NOW, version="1")
    runs.claim_slot(store, "shop", "1", due_at=NOW, reason="schedule", now=NOW)
    machine, _, opening = store.owner.split(":")
    alive = f"{machine}:{os.getppid()}:{opening}"
    runs.start_run(store, None, owner=alive, now=NOW, limit=9)
    with pytest.raises(StoreError, match="in use by run 1 of shop"):
        restore_backup(store.data_dir, url_of(store), tmp_path / "b", replace=True, resend=False, now=NOW)


def test_a_backup_of_a_newer_version_or_another_database_is_refused(tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "data")
    backup.back_up(store, tmp_path / "b", now=NOW, version="1")
    store.close()
    monkeypatch.setattr(migrate, "HEAD", "0000")
    with pytest.raises(StoreError, match="upgrade the program, because a newer version"):
        restore_backup(tmp_path / "new", None, tmp_path / "b", replace=False, resend=False, now=NOW)


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    with pytest.raises(DiskFullError, match="cannot be"):
        backup.back_up(store, tmp_path / "missing" / "b", now=NOW, version="1")
    store.close()


# Hostile archives


def hostile(target: Path, manifest: dict[str, object] | bytes, *, files: dict[str, bytes] | None = None,
            heads: tuple[bytes, ...] = ()) -> Path:
    """An archive with such a manifest at its end. heads: raw blocks before it."""
    content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    with gzip.open(target, "wb") as packed:
        for head in heads:
            packed.write(head)
        with tarfile.open(fileobj=packed, mode="w|") as archive:
            for name, body in {**(files or {}), "manifest.json": content}.items():
                head = tarfile.TarInfo(name)
                head.size = len(body)
                archive.addfile(head, io.BytesIO(body))
    return target


GOOD: dict[str, object] = {"format": 1, "version": "1", "kind": "sqlite", "revision": "0001", "made_at": NOW.isoformat(), "files": {}}


@pytest.mark.parametrize(("manifest", "said"), [
    (GOOD | {"format": 2}, "has the format 2; this version can read only format 1"), (GOOD | {"format": "1"}, "has the format '1'"),
    (GOOD | {"format": None}, "has the format None"), (GOOD | {"files": []}, "has no valid manifest"), (GOOD | {"files": {"a": 1}}, "has no valid manifest"),
    (GOOD | {"revision": "../0001"}, "has no valid manifest"), (GOOD | {"revision": 1}, "has no valid manifest"), (GOOD | {"made_at": "\x1b[2J"}, "has no valid manifest"),
    (GOOD | {"kind": ["sqlite"]}, "has no valid manifest"), (GOOD | {"more": 1}, "has no valid manifest"), (b"[]", "has no valid manifest"), (b"{}", "has no valid manifest"),
    (b"[" * 4000, "has no valid manifest"), (b"\xff", "has no valid manifest"), (b"{" + b" " * 100_000_000 + b"}", "manifest of the archive is larger than expected"),
    (GOOD | {"revision": "9999"}, "upgrade")])
def test_an_invalid_manifest_restores_nothing(tmp_path: Path, manifest: dict[str, object] | bytes, said: str) -> None:
    source = hostile(tmp_path / "b.tar.gz", manifest)
    with pytest.raises(StoreError, match=said):
        restore_backup(tmp_path / "data", None, source, replace=False, resend=False, now=NOW)
    assert not (tmp_path / "data" / "pipeline.sqlite3").exists()


def test_a_header_that_claims_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, 4 * 2**30
    zeros = (bytes(2**20),) * 64
    source = hostile(tmp_path / "b.tar.gz", GOOD, heads=(head.tobuf(tarfile.USTAR_FORMAT), *zeros))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StoreError, match="cannot be read as a backup"):
        restore_backup(tmp_path / "data", None, source, replace=False, resend=False, now=NOW)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_file_larger_than_the_disk_is_refused_before_it_is_written(tmp_path: Path) -> None:
    head = tarfile.TarInfo("files/downloads/a")
    head.size = 2**50
    (tmp_path / "b.tar").write_bytes(head.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
    with pytest.raises(DiskFullError, match="are free"):
        restore_backup(tmp_path / "data", None, tmp_path / "b.tar", replace=False, resend=False, now=NOW)
