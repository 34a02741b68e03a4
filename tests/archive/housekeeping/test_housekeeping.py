"""What becomes of archived pages after a run.

Rows, merged days, timestamps, deletion; and after a kill at any step.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

from pipeline.archive.format.redaction import Redaction
from pipeline.archive.housekeeping.examine import examine
from pipeline.archive.housekeeping.housekeeping import HousekeepingOptions, do_housekeeping, is_due
from pipeline.archive.housekeeping.merging import CROWDED
from pipeline.archive.housekeeping.places import housekeeping_lock
from pipeline.archive.housekeeping.segments import store_segments
from pipeline.archive.writing.segment import SegmentWriter
from pipeline.cli.data_files import restore
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.files import archive_files
from pipeline.store.health import nodes
from pipeline.store.maintenance.backup import back_up
from pipeline.store.maintenance.restore import restore_backup
from tests.archive.housekeeping import torture
from tests.archive.housekeeping.archived import (
    NOW,
    YESTERDAY,
    exchange,
    files_without_row,
    merged_and_segments,
    pages,
    settings_of,
    written,
)
from tests.archive.housekeeping.conftest import object_storage
from tests.servers.pages import Answer, PageSite
from tests.servers.postgres import Postgres
from tests.servers.program import Program, eventually
from tests.servers.s3 import S3Server
from tests.servers.timestamps import TimestampServer, openssl_verifies

AT_ONCE = HousekeepingOptions(settled_s=0)
ON_DISK = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
KILLS = 8
"""How many of the lines before which `torture` kills are tried here. All of them: `python -m tests.torture archive/housekeeping`."""


def objects(request: pytest.FixtureRequest, store: Store) -> list[str]:
    """The keys of the archive's files in the object store, if there is one."""
    if not store.files.is_remote:
        return []
    s3: S3Server = request.getfixturevalue("s3")
    return [key.removeprefix("p/") for key in s3.objects("p/archive/")]


def test_segments_of_ended_days_become_one_file_a_day(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = settings_of(tmp_path)
    for run_id, (names, at) in enumerate([("ab", YESTERDAY), ("c", YESTERDAY + timedelta(hours=1)), ("d", NOW)], 1):
        store_segments(store, settings, "shop", run_id, written(store, names, at, run_id=run_id))
    assert [(row.day, row.state, row.run_id, row.records) for row in archive_files.files_of(store)] == [
        ("2026-12-30", "segment", 1, 5), ("2026-12-30", "segment", 2, 3), ("2026-12-31", "segment", 3, 3)]
    assert is_due(store, settings, AT_ONCE, now=NOW)
    kept = do_housekeeping(store, settings, AT_ONCE, now=NOW)
    assert (kept.problems, len(kept.done)) == ([], 1)
    assert "merged 2 segments of 2026-12-30 into archive/shop/2026-12-30.warc.gz (8 records" in kept.done[0]
    assert merged_and_segments(store) == (["2026-12-30.warc.gz"], 1)
    assert pages(store) == Counter("abcd")
    assert not files_without_row(store, objects(request, store))
    assert not is_due(store, settings, AT_ONCE, now=NOW)
    # A run that ends late, of a day that is merged already.
    store_segments(store, settings, "shop", 4, written(store, "e", YESTERDAY, run_id=4))
    do_housekeeping(store, settings, AT_ONCE, now=NOW)
    assert merged_and_segments(store) == (["2026-12-30.warc.gz", "2026-12-30-2.warc.gz"], 1)
    assert pages(store) == Counter("abcde")
    assert not files_without_row(store, objects(request, store))


@ON_DISK
def test_many_segments_of_today_become_one_and_a_large_one_is_not_copied_again(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = settings_of(tmp_path)
    names = "".join(map(chr, range(ord("a"), ord("a") + CROWDED)))
    for name in names:
        store_segments(store, settings, "shop", 1, written(store, name, NOW))
    assert do_housekeeping(store, settings, AT_ONCE, now=NOW).problems == []
    assert merged_and_segments(store) == ([], 1)
    merged, = archive_files.files_of(store)
    for name in names.upper():
        store_segments(store, settings, "shop", 2, written(store, name, NOW))
    do_housekeeping(store, settings, AT_ONCE, now=NOW)
    assert merged.id in {row.id for row in archive_files.files_of(store)}
    assert (pages(store), merged_and_segments(store)) == (Counter(names + names.upper()), ([], 2))
    assert not files_without_row(store, objects(request, store))
    do_housekeeping(store, settings, AT_ONCE, now=NOW + timedelta(days=1))
    assert (pages(store), merged_and_segments(store)) == (Counter(names + names.upper()), (["2026-12-31.warc.gz"], 0))


def test_a_day_may_have_more_segments_than_a_process_may_open_files(tmp_path: Path) -> None:
    store, settings = open_store(tmp_path / "data"), settings_of(tmp_path)
    for name in "abcdefgh":
        store_segments(store, settings, "shop", 1, written(store, name, YESTERDAY))
    most, before = resource.getrlimit(resource.RLIMIT_NOFILE), len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 7, most[1]))
    try:
        kept = do_housekeeping(store, settings, AT_ONCE, now=NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert (kept.problems, pages(store)) == ([], Counter("abcdefgh"))
    store.close()


def test_what_a_killed_run_left_is_added_and_a_living_one_is_left_alone(store: Store, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    written(store, "a", YESTERDAY)  # closed, and killed before its row
    written(store, "bc", YESTERDAY, closed=False)
    writer = SegmentWriter(store.data_dir / "archive/shop/segments", "shop", run_id=7, redaction=Redaction())
    writer.write([[exchange("https://shop.example/d", YESTERDAY)]], YESTERDAY)
    kept = do_housekeeping(store, settings, HousekeepingOptions(), now=NOW)
    assert "added 1 segment of interrupted processes" in kept.done[0]  # the closed one may be of a run that is adding its row
    kept = do_housekeeping(store, settings, AT_ONCE, now=NOW)
    assert merged_and_segments(store) == ([], 2)  # nothing is merged before the run that still writes has ended
    store_segments(store, settings, "shop", 7, writer.close())
    do_housekeeping(store, settings, AT_ONCE, now=NOW)
    assert merged_and_segments(store) == (["2026-12-30.warc.gz"], 0)
    assert pages(store) == Counter("abcd")


@ON_DISK
def test_only_one_process_merges(store: Store, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    store_segments(store, settings, "shop", 1, written(store, "a", YESTERDAY))
    with housekeeping_lock(store) as is_held:
        assert is_held
        assert do_housekeeping(store, settings, AT_ONCE, now=NOW).done == []
    assert len(do_housekeeping(store, settings, AT_ONCE, now=NOW).done) == 1


def test_retention_deletes_files_with_index_and_token(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = settings_of(tmp_path, 'keep = "2d"')
    for days in (9, 1, 0):
        store_segments(store, settings, "shop", 1, written(store, str(days), NOW - timedelta(days=days)))
    kept = do_housekeeping(store, settings, AT_ONCE, now=NOW)
    assert (kept.deleted, kept.problems) == (1, [])
    assert "deleted 1 file of the archive" in kept.done[-1]
    assert pages(store) == Counter("10")
    assert not files_without_row(store, objects(request, store))


@pytest.mark.needs("openssl")
def test_a_day_file_gets_its_timestamp_as_soon_as_the_server_gives_one(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with TimestampServer(tmp_path / "tsa") as tsa:
        settings = settings_of(tmp_path, f'timestamp_url = "{tsa.url}"\ntimestamp_ca = "tsa/root.pem"')
        at = datetime.now(UTC)  # the token states the present time
        for days in (2, 1):
            store_segments(store, settings, "shop", 1, written(store, str(days), at - timedelta(days=days)))
        tsa.fault = "imprint"
        kept = do_housekeeping(store, settings, AT_ONCE, now=at)
        assert [problem.partition(": ")[2].partition(": ")[0] for problem in kept.problems] == [f"no timestamp for archive/shop/{at - timedelta(days=2):%Y-%m-%d}.warc.gz"]
        row, other = archive_files.files_of(store)
        assert (row.timestamp_key, row.timestamp_attempts, other.timestamp_attempts) == ("", 1, 0)
        assert "for another file" in row.timestamp_error
        tsa.fault = ""
        assert do_housekeeping(store, settings, AT_ONCE, now=at).done == ["got 1 timestamp for files of the archive"]  # the first one waits
        assert do_housekeeping(store, settings, AT_ONCE, now=at + timedelta(minutes=6)).done == ["got 1 timestamp for files of the archive"]
        for row in archive_files.files_of(store):
            assert (row.timestamp_error, row.timestamped_at is not None) == ("", True)
            assert openssl_verifies(store.files.local(row.timestamp_key), store.files.local(row.key), tsa.root)
        assert not files_without_row(store, objects(request, store))
        assert not is_due(store, settings, AT_ONCE, now=at)


def test_after_a_kill_before_any_line_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    assert torture.main(tmp_path, KILLS) == KILLS


def test_files_of_a_lost_database_get_their_rows_back(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = settings_of(tmp_path)
    for names in ("a", "b"):
        store_segments(store, settings, "shop", 1, written(store, names, YESTERDAY))
    do_housekeeping(store, settings, AT_ONCE, now=NOW)
    store_segments(store, settings, "shop", 2, written(store, "c", NOW))
    rows = archive_files.files_of(store)
    with store.write() as connection:
        connection.exec_driver_sql("DELETE FROM archive_files")
    in_a_week = datetime.now(UTC) + timedelta(days=7)  # objects are left alone until they are a day old
    assert not do_housekeeping(store, settings, HousekeepingOptions(settled_s=0, thorough=True), now=max(NOW, in_a_week)).problems
    assert pages(store) == Counter("abc")
    assert {(row.key, row.sha256, row.records) for row in rows[:1]} <= {(row.key, row.sha256, row.records) for row in archive_files.files_of(store)}
    assert not files_without_row(store, objects(request, store))


@pytest.mark.needs("postgres")
def test_files_of_a_node_that_is_gone_are_those_of_the_node_on_whose_disk_they_are(postgres: Postgres, migrated: str, tmp_path: Path) -> None:
    store = open_store(tmp_path / "data", postgres.new_database(migrated))
    moved_to = {node: _on(node, tmp_path / node) for node in ("old", "new")}
    store_segments(store, moved_to["old"], "shop", 1, written(store, "ab", YESTERDAY))
    with patch.object(store, "owner", "process of old"):
        nodes.report(store, nodes.NodeReport("old", "1", "1", ("worker",)))
    assert not is_due(store, moved_to["new"], AT_ONCE, now=NOW), "the node is alive, and has the same folder"
    nodes.leave(store)
    with store.write() as connection:
        connection.exec_driver_sql("DELETE FROM nodes")
    assert is_due(store, moved_to["new"], AT_ONCE, now=NOW)
    assert "1 file of the archive of the node old, which is gone, on this disk" in next(examine(store, moved_to["new"])).text
    done = do_housekeeping(store, moved_to["new"], AT_ONCE, now=NOW).done
    assert done[0] == "took over the files of the archive that are on this disk and belonged to the node old, which is gone"
    assert (pages(store), [row.node for row in archive_files.files_of(store, state="day")]) == (Counter("ab"), ["new"])
    store.close()


def _on(node: str, folder: Path) -> Settings:
    folder.mkdir()
    settings_of(folder)
    file = folder / "settings.toml"
    file.write_text(f'{file.read_text()}[cluster]\nnode = "{node}"\n')
    return load(file)


@ON_DISK
def test_a_restore_names_the_files_that_only_the_previous_data_has(store: Store, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    store_segments(store, settings, "shop", 1, written(store, "a", YESTERDAY))
    back_up(store, tmp_path / "b.tar", now=NOW, version="1")
    store_segments(store, settings, "shop", 2, written(store, "b", YESTERDAY))
    store.close()
    (tmp_path / "data").rename(tmp_path / "var")
    said = list(restore(settings, tmp_path / "b.tar", replace=True, resend=False))
    command, = (line.partition("`")[2].partition("`")[0] for line in said if "of the web archive are only in the previous data" in line)
    assert said[2].startswith("1 file of the web archive")
    subprocess.run(command, shell=True, check=True)
    restored = open_store(tmp_path / "var")
    do_housekeeping(restored, settings, AT_ONCE, now=NOW)
    assert (pages(restored), files_without_row(restored)) == (Counter("ab"), [])
    restored.close()


def test_files_from_before_an_object_store_are_uploaded(s3: S3Server, tmp_path: Path) -> None:
    before, settings = open_store(tmp_path / "data"), settings_of(tmp_path)
    for names, at in (("a", YESTERDAY), ("b", NOW)):
        store_segments(before, settings, "shop", 1, written(before, names, at))
    do_housekeeping(before, settings, AT_ONCE, now=NOW)
    before.close()
    after = open_store(tmp_path / "data", storage=object_storage(s3))
    assert not do_housekeeping(after, settings, AT_ONCE, now=NOW).problems
    assert pages(after) == Counter("ab")
    assert not list((tmp_path / "data/archive").rglob("*.warc.gz"))
    after.close()


@ON_DISK
def test_a_backup_during_a_merge_loses_no_page(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path)
    for names in ("a", "b"):
        store_segments(store, settings, "shop", 1, written(store, names, YESTERDAY))
    written(store, "c", YESTERDAY, closed=False)
    dump = type(store).dump

    def merged_meanwhile(self: Store, target: Path) -> None:
        dump(self, target)
        assert len(do_housekeeping(store, settings, AT_ONCE, now=NOW).done) == 2

    monkeypatch.setattr(type(store), "dump", merged_meanwhile)
    back_up(store, tmp_path / "b.tar", now=NOW, version="1")
    monkeypatch.undo()
    restore_backup(tmp_path / "new", None, tmp_path / "b.tar", replace=False, resend=False, now=NOW)
    restored = open_store(tmp_path / "new")
    do_housekeeping(restored, settings, AT_ONCE, now=NOW)
    assert (pages(restored), files_without_row(restored)) == (Counter("abc"), [])
    assert merged_and_segments(restored) == (["2026-12-30.warc.gz"], 0)
    restored.close()


@ON_DISK
def test_doctor_finds_missing_and_changed_files(store: Store, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for names, at in (("a", YESTERDAY), ("b", NOW)):
        store_segments(store, settings, "shop", 1, written(store, names, at))
    do_housekeeping(store, settings, AT_ONCE, now=NOW)
    assert next(found.text for found in examine(store, settings, deep=True)).endswith("0 with a timestamp; the content of 2 is what was recorded")
    day, segment = archive_files.files_of(store)
    content = store.files.local(day.key).read_bytes()
    store.files.write(day.key, content[:-9] + bytes(9))
    store.files.remove(segment.key)
    found = [each.text for each in examine(store, settings, deep=True) if each.is_problem]
    assert found == [f"1 file of the archive or their indexes are missing: {segment.key}",
                     f"{day.key}: the content is not what was recorded (its SHA-256 differs)"]
    assert len([each for each in examine(store, settings) if each.is_problem]) == 1


@pytest.mark.needs("postgres")
def test_the_leader_merges_the_segments_of_all_nodes_and_without_an_object_store_each_node_its_own(
        s3: S3Server, postgres: Postgres, migrated: str, tmp_path: Path) -> None:
    url = postgres.new_database(migrated)
    here, there = (open_store(tmp_path / name, url, storage=object_storage(s3)) for name in ("here", "there"))
    settings = settings_of(tmp_path)
    for store, name in ((here, "a"), (there, "b")):
        store_segments(store, settings, "shop", 1, written(store, name, YESTERDAY))
    assert not list((tmp_path / "there/archive").rglob("*.warc.gz"))
    assert not is_due(there, settings, HousekeepingOptions(shared=False), now=NOW)
    assert len(do_housekeeping(here, settings, AT_ONCE, now=NOW).done) == 1
    assert (pages(there), merged_and_segments(there)) == (Counter("ab"), (["2026-12-30.warc.gz"], 0))
    for store in (here, there):
        store.close()
    url = postgres.new_database(migrated)
    nodes = {name: (open_store(tmp_path / f"own {name}", url), settings_of(tmp_path, f"[cluster]\nnode = '{name}'")) for name in ("here", "there")}
    for name, (store, own) in nodes.items():
        store_segments(store, own, "shop", 1, written(store, name, YESTERDAY))
    for store, own in nodes.values():
        assert len(do_housekeeping(store, own, AT_ONCE, now=NOW).done) == 1
        assert not files_without_row(store)
        assert not is_due(store, own, AT_ONCE, now=NOW)
        store.close()


@ON_DISK
def test_segments_stay_readable_while_the_disk_has_no_space_for_the_file_of_the_day(store: Store, tmp_path: Path) -> None:
    store_segments(store, settings_of(tmp_path), "shop", 1, written(store, "a", YESTERDAY))
    kept = do_housekeeping(store, settings_of(tmp_path, keep_free="900000GB"), AT_ONCE, now=NOW)
    assert "the segments of 2026-12-30 could not be merged" in kept.problems[0]
    assert "keep_free is 900" in kept.problems[0]
    assert (pages(store), merged_and_segments(store)) == (Counter("a"), ([], 1))


@ON_DISK
def test_the_status_has_the_archive_and_says_what_is_wrong_with_it(store: Store, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'timestamp_url = "http://127.0.0.1:1/"')
    due = DueTimes({}, NOW, NOW)
    assert build_snapshot(store, settings, due, version="1")["archive"]["shop"]["files"] == 0
    store_segments(store, settings, "shop", 1, written(store, "a", YESTERDAY))
    do_housekeeping(store, settings, AT_ONCE, now=NOW)
    store_segments(store, settings, "shop", 1, written(store, "b", YESTERDAY, spider="gone"))
    found = build_snapshot(store, settings, due, version="1")
    assert (found["archive"]["shop"]["without_timestamp"], found["archive"]["shop"]["last_day"]) == (1, "2026-12-30")
    assert "could not be reached" in found["archive"]["shop"]["timestamp_error"]
    assert not [reason for reason in found["reasons"] if "archive" in reason]  # a server may be down for a while
    day, *_ = archive_files.files_of(store, "shop")
    for _ in range(3):
        archive_files.note_failed_timestamp(store, day.id, "the timestamp server is down")
    reasons = build_snapshot(store, settings, DueTimes({}, NOW, NOW + timedelta(days=3)), version="1")["reasons"]
    assert "archive: 1 file without a timestamp (the timestamp server is down); it is tried again" in reasons
    assert any(reason.startswith("gone: archived pages of 2026-12-30 have not been merged") for reason in reasons)


def test_a_run_adds_its_segment_and_merges_the_days_before(program: Program, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>now</p>")}
    program.write(f'[spiders.shop]\nstart = "{site.url}/"\nitems.fields.a = "p"\nrobots = false\narchive = true\n')
    store = open_store(program.data)
    written(store, "b", datetime.now(UTC) - timedelta(days=1), closed=False)
    done = program.run("run", "shop")
    assert done.returncode == 0, done.stderr
    assert "archive: added 1 segment of interrupted processes to the archive" in done.stdout + done.stderr
    day, segment = archive_files.files_of(store)
    assert (day.state, segment.state, segment.run_id, segment.records) == ("day", "segment", 1, 3)
    assert pages(store) == Counter({"b": 1, "": 1})
    store.close()


@pytest.mark.needs("openssl")
def test_check_connect_asks_the_timestamp_server_and_names_no_secret_url(program: Program, tmp_path: Path) -> None:
    program.environment["TSA"] = "http://127.0.0.1:1/geheimer-pfad"
    settings = '[spiders.shop]\nstart = "https://shop.example/"\nitems.fields.a = "p"\n[archive]\n{}\n'
    program.write(settings.format('timestamp_url = { env = "TSA" }'))
    said = program.run("check", "--connect")
    assert "archive.timestamp_url: the timestamp server could not be reached" in said.stdout + said.stderr
    assert "geheim" not in said.stdout + said.stderr
    with TimestampServer(tmp_path / "tsa") as tsa:
        program.write(settings.format(f'timestamp_url = "{tsa.url}"\ntimestamp_ca = "tsa/root.pem"'))
        said = program.run("check", "--connect")
        assert tsa.queries == 1
    assert "could not be reached" not in said.stdout + said.stderr
    program.write(settings.format('timestamp_ca = "missing.pem"'))
    said = program.run("check")
    assert "archive.timestamp_ca: the file" in said.stdout + said.stderr
    assert "has no effect, because no timestamp server is asked" in said.stdout + said.stderr


@pytest.mark.sqlite
def test_the_service_merges_in_a_child_and_prune_applies_the_retention(program: Program) -> None:
    table = '[spiders.shop]\nstart = "https://shop.example/"\narchive = true\n[archive]\nkeep = "{}"\n'
    program.write(table.format("9d"))
    at = datetime.now(UTC)
    store, settings = open_store(program.data), load(program.folder / "settings.toml")
    for days in (5, 1):
        store_segments(store, settings, "shop", 1, written(store, str(days), at - timedelta(days=days)))
    program.serve()
    eventually(lambda: program.log().count("archive: shop: merged 1 segment of") == 2, within_s=60)
    program.stop()
    assert pages(store) == Counter("51")
    program.write(table.format("2d"))
    assert "deleted 1 file of the archive" in program.run("prune").stdout
    assert pages(store) == Counter("1")
    assert "nothing to delete" in program.run("prune").stdout
    assert "1 file, " in program.run("doctor", "--offline", "--deep").stdout
    store.close()
