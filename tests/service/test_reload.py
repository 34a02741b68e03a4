"""Tests of reloading the settings: which keys wait for a restart, and errors in the settings file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.service.reload import Reloader
from pipeline.service.state import ServiceState
from pipeline.settings import Settings, load
from pipeline.settings.restart import keep_until_restart
from pipeline.store import open_store

SPIDER = '[spiders.s]\nstart = "https://site.example/"\n'
DIGEST = SPIDER + '[digests.d]\nspiders = ["s"]\nto = ["{to}"]\n'


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "settings.toml").write_text(text)
    return load(folder / "settings.toml")


@pytest.mark.parametrize(("old", "new", "waiting"), [
    ("", SPIDER, []),
    ("", "[pipeline]\ntimezone = 'Asia/Tokyo'", ["pipeline.timezone"]),
    ("", "[pipeline]\ndata_dir = 'data'\nmax_runs = 3", ["pipeline.data_dir"]),
    ("", "[heartbeat]\nport = 9000\nlate_after = '1h'", ["heartbeat.port"]),
    ("", "[mail]\nfrom = 'me@example.com'", ["mail.from"]),
    (DIGEST.format(to="a@example.com"), "[mail]\nfrom = 'me@example.com'\n" + DIGEST.format(to="b@example.com"),
     ["mail.from", "digests"]),
    (DIGEST.format(to="a@example.com"), DIGEST.format(to="b@example.com"), []),
    ("", "[demo]", ["demo"]),
    ("[demo]", SPIDER, ["demo"])])
def test_only_the_keys_that_need_a_restart_keep_their_values(tmp_path: Path, old: str, new: str, waiting: list[str]) -> None:
    before, after = settings_of(tmp_path, old), settings_of(tmp_path, new)
    assert after.zone is not None  # cached before the time zone is kept
    applied, found = keep_until_restart(before, after)
    assert found == waiting
    assert applied.spiders == after.spiders
    assert (applied.pipeline.max_runs, applied.heartbeat.late_after) == (after.pipeline.max_runs, after.heartbeat.late_after)
    assert (applied.zone, applied.data_dir, applied.heartbeat.port) == (before.zone, before.data_dir, before.heartbeat.port)
    assert (applied.mail, applied.demo) == (before.mail, before.demo)
    assert applied.digests == (before if "digests" in waiting else after).digests
    assert keep_until_restart(applied, after)[1] == waiting


def test_a_table_that_keeps_its_values_also_keeps_which_of_them_are_set(tmp_path: Path) -> None:
    before = settings_of(tmp_path, "[heartbeat]\nsocket = 's'")
    for text in ("[heartbeat]\nsocket = 's'", "[heartbeat]\nsocket = 't'\nhost = '127.0.0.2'"):
        applied, _ = keep_until_restart(before, settings_of(tmp_path, text))
        assert (applied.heartbeat.on_port, applied.heartbeat.socket) == (before.heartbeat.on_port, "s")


def test_no_value_with_a_problem_is_in_the_status(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SPIDER)
    store = open_store(settings.data_dir)

    async def error() -> str:
        state = ServiceState(store, settings)
        (tmp_path / "settings.toml").write_text(SPIDER + "proxy = 'http://user:s3cret@proxy.example:1'\nauth = 'user:s3cret'\n")
        await Reloader(state, lambda settings: None).reload()
        return state.settings_error

    found = asyncio.run(error())
    store.close()
    assert "spiders.s.auth" in found
    assert "s3cret" not in found


def test_settings_are_refused_if_a_waiting_digest_needs_a_spider_that_was_removed(tmp_path: Path) -> None:
    before = settings_of(tmp_path, DIGEST.format(to="a@example.com"))
    after = settings_of(tmp_path, "[mail]\nfrom = 'me@example.com'\n")
    with pytest.raises(SettingsError, match=r"mail\.from: a reload cannot apply the change of this key; restart the service"):
        keep_until_restart(before, after)


def test_an_error_in_a_changed_file_is_known_before_a_reload_or_a_restart(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SPIDER)
    store = open_store(settings.data_dir)

    async def checks() -> list[str]:
        state = ServiceState(store, settings)
        reloader = Reloader(state, lambda settings: None)
        found = []
        for text in (SPIDER, SPIDER + "proxy = 'none'", "[spiders", None, SPIDER + "delay = '1s'"):
            if text is None:
                (tmp_path / "settings.toml").unlink()
            else:
                (tmp_path / "settings.toml").write_text(text)
            await reloader.check()
            found.append(state.settings_error)
        assert state.settings is settings
        return found

    same, unknown, broken, missing, right = asyncio.run(checks())
    store.close()
    assert (same, right) == ("", "")
    assert unknown == "has changed and cannot be used, because of problems with spiders.s.proxy; the log and `pipeline check` describe them"
    assert "problems with the file itself" in broken
    assert "problems with the file itself" in missing
