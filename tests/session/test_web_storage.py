"""The web storage of a session: what is kept, its limits, and how it is shared and listed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pipeline.crawl.processes.session_exchange import SharedSession
from pipeline.session.web_storage import ORIGIN_BYTES, OriginStorage, WebStorage, describe_storage, entries_of_packed
from pipeline.store.session_files import LocalFile
from tests.servers.program import Program

URL, TOKEN = "https://app.example/orders?page=2", OriginStorage({"token": "t0ken", "läng": "é"}, {"tab": "1"}, ({"name": "db", "version": 1},))


def test_the_storage_of_an_origin_is_kept_as_its_pages_left_it(tmp_path: Path) -> None:
    file = LocalFile(tmp_path / "s.storage")
    storage = WebStorage.open(file)
    assert not storage
    storage.put(URL, TOKEN)
    storage.put("http://app.example/", OriginStorage({"other": "scheme"}))
    storage.put("about:blank", TOKEN)
    storage.save()
    again = WebStorage.open(file)
    assert again.of("https://app.example/") == TOKEN
    assert again.snapshot().keys() == {"https://app.example", "http://app.example"}
    again.put(URL, OriginStorage())
    again.save()
    assert WebStorage.open(file).snapshot().keys() == {"http://app.example"}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"https://a.example": 1}', b'{"https://a.example": {"local": {"a": 1}}}', b"\xff"])
def test_a_damaged_file_is_like_a_missing_one(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.storage").write_bytes(data)
    assert not WebStorage.open(LocalFile(tmp_path / "s.storage"))


def test_a_storage_that_is_too_large_is_not_kept_which_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    storage = WebStorage()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            storage.put(URL, OriginStorage({"a": "x" * ORIGIN_BYTES}))
        for number in range(6):
            storage.put(f"https://{number}.example/", OriginStorage({"a": "x" * (ORIGIN_BYTES - 10)}))
    assert sorted(storage.snapshot()) == [f"https://{number}.example" for number in range(4)]
    assert [record.getMessage() for record in caplog.records] == [
        "the web storage of https://app.example is larger than 2.1 MB and is not kept for the next run",
        *(f"the web storage of https://{number}.example is larger than 8.4 MB and is not kept for the next run" for number in (4, 5))]


def test_changes_are_written_at_most_every_two_seconds_and_all_of_them_at_the_end(tmp_path: Path) -> None:
    now = [0.0]
    file = LocalFile(tmp_path / "s.storage")
    storage = WebStorage(file, clock=lambda: now[0])
    for second, written in ((0.0, True), (1.0, False), (2.5, True), (3.0, False)):
        now[0] = second
        storage.put(URL, OriginStorage({"at": str(second)}))
        storage.checkpoint()
        assert (WebStorage.open(file).of(URL).local == {"at": str(second)}) is written
    storage.save()
    assert WebStorage.open(file).of(URL).local == {"at": "3.0"}


def test_the_other_processes_of_a_run_get_the_storage_also_from_a_leader_that_does_not_know_it() -> None:
    leader, member = WebStorage(), WebStorage()
    leader.put(URL, TOKEN)
    shared = SharedSession.unpacked(SharedSession(1, "", True, (), leader.packed().decode()).packed())
    member.apply(entries_of_packed(shared.storage.encode()))
    assert member.of(URL) == TOKEN
    assert "t0ken" not in f"{shared}{TOKEN}{member}"
    older = b'{"epoch": 1, "token": "", "checkable": true, "cookies": []}'
    assert SharedSession.unpacked(older).storage == ""


def test_the_commands_list_the_storage_with_masked_values_and_clear_it(program: Program) -> None:
    program.write('[spiders.s]\nstart = "https://app.example/"\nrender = "browser"\n[spiders.s.login]\ncheck = "#in"\n')
    file = LocalFile(program.data / "jars/s.storage")
    storage = WebStorage(file)
    storage.put(URL, TOKEN)
    storage.save()
    assert program.run("cookies", "show", "s").stdout.splitlines() == describe_storage(storage) == [
        "https://app.example  localStorage  läng = ••• (1 character)", "https://app.example  localStorage  token = ••• (5 characters)",
        "https://app.example  sessionStorage  tab = ••• (1 character)", "https://app.example  1 IndexedDB database"]
    assert program.run("cookies", "clear", "s").returncode == 0
    assert not WebStorage.open(file)
    assert program.run("cookies", "show", "s").stdout == ""
