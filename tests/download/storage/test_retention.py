"""Retention of downloaded files: what is deleted, in which order, and what a digest still needs."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from pipeline.download.storage.paths import FolderLayout
from pipeline.download.storage.retention import FileRetention, delete_surplus, surplus_versions
from pipeline.model import DraftMessage, RecipientResult
from pipeline.settings import Settings, load
from pipeline.store.files import download_queue as queue
from pipeline.store.files.versions import Version
from pipeline.store.mail import digests, outbox
from tests.download.conftest import Bench
from tests.download.torture import retention_torture

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def limits(folder: Path, text: str, *, digest: bool = False, total: str = "") -> Settings:
    """Settings with one spider whose downloads have these limits."""
    file = folder / "settings.toml"
    table = '[digests.morning]\nspiders = ["books"]\nto = ["me@example.com"]\nattach = ["downloads"]\n' if digest else ""
    file.write_text(f'[pipeline]\n{total}\n[spiders.books]\nstart = "http://books.example/"\n'
                    f"[spiders.books.downloads]\n{text}\n{table}")
    return load(file)


def later(days: float = 0) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def fill(bench: Bench, name: str, *contents: bytes) -> str:
    """Download one file in several versions, one in each pass."""
    url = ""
    for number, content in enumerate(contents):
        url = bench.server.put(f"/{name}", content, etag=f'"{number}"')
        bench.get(url)
    return url


def test_the_newest_versions_of_a_file_are_kept(bench: Bench, tmp_path: Path) -> None:
    fill(bench, "a.bin", b"one", b"two", b"three", b"four")
    fill(bench, "b.bin", b"other")
    deleted = delete_surplus(bench.store, limits(tmp_path, "versions = 2"), now=later())
    assert (deleted.files, deleted.bytes) == (2, 6)
    assert sorted(bench.content(file) for file in bench.files) == [b"four", b"other", b"three"]
    assert len(bench.names) == 3
    assert delete_surplus(bench.store, limits(tmp_path, "versions = 2"), now=later()).files == 0


def test_a_file_that_the_site_no_longer_has_expires_and_one_that_it_has_does_not(bench: Bench, tmp_path: Path) -> None:
    gone, there = fill(bench, "gone.bin", b"gone"), fill(bench, "there.bin", b"there")
    settings = limits(tmp_path, 'keep_for = "30d"')
    assert delete_surplus(bench.store, settings, now=later(29)).files == 0
    run = bench.new_run()
    bench.ask_for(run, there)
    made = bench.pool(run, clock=lambda: later(20))
    made.start()
    made.drain()
    bench.end(run)
    assert made.figures().unchanged == 1
    assert delete_surplus(bench.store, settings, now=later(31)).files == 1
    assert [file.url for file in bench.files] == [there]
    assert bench.row(gone)["file_key"] == ""


def test_a_quota_deletes_old_versions_first_and_then_the_files_requested_least_recently(bench: Bench, tmp_path: Path) -> None:
    fill(bench, "a.bin", b"a" * 1000)
    fill(bench, "b.bin", b"B" * 1000, b"b" * 1000)
    fill(bench, "c.bin", b"c" * 1000)
    for quota, left in (("3500B", [b"a", b"b", b"c"]), ("2500B", [b"b", b"c"]), ("999B", [])):
        delete_surplus(bench.store, limits(tmp_path, f'quota = "{quota}"'), now=later())
        assert sorted(bench.content(file)[:1] for file in bench.files) == left
        assert len(bench.names) == len(left)


def test_the_quota_of_all_spiders_counts_spiders_that_are_no_longer_in_the_settings(bench: Bench, tmp_path: Path) -> None:
    fill(bench, "a.bin", b"a" * 1000)
    run = bench.new_run("retired")
    bench.ask_for(run, bench.server.put("/old.bin", b"o" * 1000))
    made = bench.pool(run)
    made.start()
    made.drain()
    bench.end(run)
    deleted = delete_surplus(bench.store, limits(tmp_path, "", total='downloads_quota = "1500B"'), now=later())
    assert (deleted.files, deleted.over_bytes) == (1, 0)
    assert [file.spider for file in bench.files] == ["retired"], "the older one goes"


def test_a_deleted_file_is_not_fetched_again_until_it_changes(bench: Bench, tmp_path: Path) -> None:
    tagged = fill(bench, "a.bin", b"a" * 1000)
    untagged = bench.server.put("/b.bin", b"b" * 1000)
    bench.get(untagged)
    delete_surplus(bench.store, limits(tmp_path, 'quota = "1B"'), now=later())
    assert bench.names == []
    figures = bench.get(tagged, untagged).figures()
    assert (figures.done, figures.unchanged) == (2, 2)
    assert [asked.status for asked in bench.server.asked_for("/a.bin")] == [200, 304]
    assert bench.names == []
    assert bench.parts == []
    bench.get(bench.server.put("/a.bin", b"new" * 1000, etag='"new"'))
    assert bench.names == ["a.bin"]


def test_empty_folders_are_deleted(bench: Bench, tmp_path: Path) -> None:
    bench.get(bench.server.put("/a.bin", b"a"), layout=FolderLayout("{host}/{year}/{name}"))
    delete_surplus(bench.store, limits(tmp_path, 'quota = "0B"'), now=later())
    assert [path.name for path in bench.folder.iterdir()] == [".parts"]


def test_another_file_in_its_place_is_not_deleted(bench: Bench, tmp_path: Path) -> None:
    fill(bench, "a.bin", b"a" * 1000)
    (bench.folder / "a.bin").write_bytes(b"mine")
    delete_surplus(bench.store, limits(tmp_path, 'quota = "0B"'), now=later())
    assert (bench.folder / "a.bin").read_bytes() == b"mine"
    assert bench.files == []


def test_a_file_is_kept_until_a_digest_has_sent_it(bench: Bench, tmp_path: Path) -> None:
    settings = limits(tmp_path, 'quota = "1B"', digest=True)
    fill(bench, "a.bin", b"a" * 1000)

    def stays() -> bool:
        deleted = delete_surplus(bench.store, settings, now=later(1))
        assert deleted.over_bytes == (999 if bench.names else 0)
        return bench.names == ["a.bin"]

    assert stays(), "no digest has claimed the run"
    now = datetime.now(UTC)
    claim = digests.claim(bench.store, "morning", ["books"], "1", owner="me", now=now)
    assert claim is not None
    assert stays(), "a digest has claimed the run"
    draft = DraftMessage("<1@x>", "News", "me@x", ("you@x",), "messages/1.eml", 10)
    digests.close(bench.store, claim.id, [draft], owner="me", now=now)
    assert stays(), "the message waits in the outbox"
    message, = outbox.lease(bench.store, owner="me", now=now)
    outbox.record(bench.store, message, [RecipientResult("you@x", accepted=False, retry=True)], owner="me", now=now,
                  next_attempt_at=None)
    assert stays(), "the message is parked: it can be retried"
    outbox.retry(bench.store, message.id, now=now)
    message, = outbox.lease(bench.store, owner="me", now=now)
    outbox.record(bench.store, message, [RecipientResult("you@x", accepted=True)], owner="me", now=now, next_attempt_at=None)
    assert not stays(), "it was sent"


def test_a_file_of_a_current_run_or_one_being_fetched_again_is_kept(bench: Bench, tmp_path: Path) -> None:
    settings = limits(tmp_path, 'quota = "0B"')
    url = bench.server.put("/a.bin", b"a" * 1000, etag='"1"')
    run = bench.new_run()
    bench.ask_for(run, url)
    made = bench.pool(run)
    made.start()
    made.drain()
    assert delete_surplus(bench.store, settings, now=later()).files == 0
    bench.end(run)
    run = bench.new_run()
    bench.ask_for(run, url)
    wanted, = queue.take(bench.store, run, owner="me", now=later(), limit=1)
    assert delete_surplus(bench.store, settings, now=later()).files == 0
    queue.release(bench.store, wanted.spider, [wanted.id], owner="me")
    assert delete_surplus(bench.store, settings, now=later()).files == 1


def test_two_names_of_one_content_count_once(bench: Bench, tmp_path: Path) -> None:
    bench.get(*(bench.server.put(f"/{name}.bin", b"x" * 1000) for name in "abc"), layout=FolderLayout(link_duplicates=True))
    settings = limits(tmp_path, 'link_duplicates = true\nquota = "1500B"')
    assert delete_surplus(bench.store, settings, now=later()).files == 0
    assert len(bench.names) == 3


@examples(max_examples=200, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 4), st.integers(0, 4000), st.booleans())
def test_the_limits_hold_for_random_versions(seed: int, versions: int, quota: int, linked: bool) -> None:
    dice = random.Random(seed)
    kept = []
    for number in range(dice.randrange(30)):
        seen = NOW - timedelta(days=dice.randrange(60))
        kept.append(Version(number, dice.randrange(8), "books", f"k{number}", 100 * dice.randrange(9), "s", seen, seen,
                            current=dice.random() < 0.5, held=dice.random() < 0.2))
    if linked:
        kept = [Version(**{**vars(each), "sha256": str(each.size_bytes)}) for each in kept]
    gone, over = surplus_versions(kept, FileRetention(versions, timedelta(days=30), quota), now=NOW, linked=linked)
    ids = {each.id for each in gone}
    left = [each for each in kept if each.id not in ids]
    assert len(ids) == len(gone)
    assert not [each for each in gone if each.held]
    assert not [each for each in left if not each.held and NOW - each.seen_at > timedelta(days=30)]
    size = sum({each.sha256 if linked else str(each.id): each.size_bytes for each in left}.values())
    assert over == max(0, size - quota)
    if over:
        assert all(each.held for each in left if not linked or each.size_bytes)
    for each in left if versions else ():
        newer = [other for other in kept if other.download_id == each.download_id and other.id > each.id]
        assert each.held or len(newer) < versions


def test_after_a_kill_at_any_line_the_next_deletion_completes_it(tmp_path: Path) -> None:
    assert retention_torture(tmp_path, seed=1, sample=3) > 50
