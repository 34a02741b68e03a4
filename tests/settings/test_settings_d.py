"""Tests of settings.d: its files are parts of settings.toml, and problems name the file that has them."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import Settings, load, load_for_heartbeat
from pipeline.settings.files import file_with, version_of
from pipeline.settings.masking import Mask
from tests.servers.program import Program, eventually

SPIDER = "[spiders.{0}]\nstart = 'https://{0}.example/'\n"
DIGEST = "[digests.morning]\nspiders = ['books', 'news']\nto = ['me@example.com']\n"


def written(folder: Path, main: str = "", **parts: str) -> Path:
    """The path of a settings file with the given parts. A part's file name is its keyword, with ".toml" unless it has a dot."""
    (folder / "settings.toml").write_text(main, "utf-8")
    (folder / "settings.d").mkdir(exist_ok=True)
    for name, text in parts.items():
        (folder / "settings.d" / (name if "." in name or name.endswith("~") else f"{name}.toml")).write_text(text, "utf-8")
    return folder / "settings.toml"


def loaded(folder: Path, main: str = "", **parts: str) -> Settings:
    return load(written(folder, main, **parts))


def problems(folder: Path, main: str = "", **parts: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(folder, main, **parts)
    return str(caught.value).splitlines()


def test_files_of_the_folder_are_parts_of_the_settings_whatever_their_names(tmp_path: Path) -> None:
    settings = loaded(tmp_path, DIGEST, zz=SPIDER.format("books"), aa=SPIDER.format("news") + "[alerts]\nto = ['ops@example.com']\n",
                      days="\ufeff[calendars]\nholidays = ['2026-12-25']\n[proxies]\noffice = 'http://127.0.0.1:1'\n")
    assert set(settings.spiders) == {"books", "news"}
    assert settings.digests["morning"].spiders == ("books", "news")
    assert settings.alerts.to == ("ops@example.com",)
    assert (set(settings.calendars), set(settings.proxies)) == ({"holidays"}, {"office"})


@pytest.mark.parametrize(("main", "parts", "said"), [
    ("", {"books": "[spiders.books]\nstart = 3\n"}, "settings.d/books.toml: spiders.books.start"),
    ("", {"books": SPIDER.format("books") + "proxy = 'offce'\n"}, "settings.d/books.toml: spiders.books.proxy: no proxy named 'offce'"),
    ("", {"books": SPIDER.format("books") + "folow = []\n"}, "settings.d/books.toml: spiders.books.folow: unknown key (did you mean 'follow'?)"),
    ("", {"books": "[spider.books]\n"}, "settings.d/books.toml: spider: unknown key"),
    ("", {"books": SPIDER.format("books") + 'user_agent = "a\\u0000b"\n'}, "settings.d/books.toml: spiders.books.user_agent: the value contains"),
    ("", {"m": DIGEST, "b": SPIDER.format("books")}, "settings.d/m.toml: digests.morning.spiders: no spider named 'news'"),
    (SPIDER.format("a") + "proxy = 'no'\n", {"b": SPIDER.format("b")}, "settings.toml: spiders.a.proxy: no proxy named 'no'"),
    (SPIDER.format("books"), {"b": SPIDER.format("books")}, "settings.d/b.toml: spiders.books: is also in settings.toml"),
    ("", {"a": SPIDER.format("books"), "b": "[spiders.books.items]\nkey = ['x']\n"}, "settings.d/b.toml: spiders.books: is also in settings.d/a.toml"),
    ("[alerts]\nafter = 3\n", {"b": "[alerts]\nto = ['a@example.com']\n"}, "settings.d/b.toml: alerts: is also in settings.toml"),
    ("", {"b": "[heartbeat]\nport = 1\n"}, "settings.d/b.toml: heartbeat: this table must be in settings.toml"),
    ("", {"b": "spiders = 3\n", "c": SPIDER.format("c")}, "settings.d/c.toml: spiders: is also in settings.d/b.toml"),
    ("", {"b": "[spiders.b\n"}, "settings.d/b.toml: the settings file is not valid TOML"),
    ("", {"b": "file = 'x'\n"}, "settings.d/b.toml: file: unknown key")])
def test_a_problem_names_the_file_that_has_it(tmp_path: Path, main: str, parts: dict[str, str], said: str) -> None:
    found = problems(tmp_path, main, **parts)
    assert any(line.startswith(said) for line in found), found


def test_every_file_that_is_not_toml_is_named_at_once(tmp_path: Path) -> None:
    written(tmp_path, "", a="[", b="x = ", good=SPIDER.format("good"))
    (tmp_path / "settings.d" / "latin.toml").write_bytes(b"# \xe9\n")
    (tmp_path / "settings.d" / "folder.toml").mkdir()
    (tmp_path / "settings.d" / "gone.toml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "settings.d" / "pipe.toml")
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "settings.toml")
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [
        f"settings.d/{name}.toml" for name in ("a", "b", "folder", "gone", "latin", "pipe")]


def test_hidden_files_and_backups_are_no_settings_and_links_are(tmp_path: Path) -> None:
    path = written(tmp_path, "", **{".#books.toml": "[", "books.toml~": "[", "books.toml.bak": "[", ".books.toml.swp": "[", "README.md": "["})
    (tmp_path / "shared.toml").write_text(SPIDER.format("shared"))
    (tmp_path / "settings.d" / "link.toml").symlink_to(tmp_path / "shared.toml")
    assert set(load(path).spiders) == {"shared"}


def test_the_folder_has_the_name_of_the_settings_file(tmp_path: Path) -> None:
    written(tmp_path, "", books=SPIDER.format("books"))
    (tmp_path / "other.toml").write_text("")
    assert load(tmp_path / "other.toml").spiders == {}
    (tmp_path / "other.d").mkdir()
    (tmp_path / "other.d" / "news.toml").write_text(SPIDER.format("news"))
    assert set(load(tmp_path / "other.toml").spiders) == {"news"}
    (tmp_path / "plain.d").write_text(SPIDER.format("plain"))
    assert set(load(tmp_path / "plain.d").spiders) == {"plain"}


def test_secrets_of_a_part_start_at_the_folder_of_the_main_file_and_are_masked(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret-in-a-part\n")
    settings = loaded(tmp_path, "", books=SPIDER.format("books") + "headers = { X-Key = { file = 'key' } }\n")
    assert Mask.of(settings)("the key s3cret-in-a-part") == "the key ****"


def test_the_heartbeat_can_be_asked_while_a_part_is_broken(tmp_path: Path) -> None:
    settings, found = load_for_heartbeat(written(tmp_path, "[heartbeat]\nport = 9999\n", books="[spiders.books\n"))
    assert settings.heartbeat.port == 9999
    assert "settings.d/books.toml" in str(found)


def test_the_version_of_the_settings_changes_with_each_file(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    seen = [version_of(path)]
    for text in ("", "# more\n", None):
        if text is None:
            (tmp_path / "settings.d" / "books.toml").unlink()
        else:
            written(tmp_path, "", books=text)
        seen.append(version_of(path))
    assert all(before != after for before, after in pairwise(seen))


def test_the_file_that_has_a_spider_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, SPIDER.format("here"), books=SPIDER.format("books"), broken="[")
    assert file_with(path, "spiders", "books") == tmp_path / "settings.d" / "books.toml"
    assert file_with(path, "spiders", "here") == path


def test_a_service_reloads_a_part_and_keeps_running_while_a_part_is_broken(program: Program) -> None:
    program.write("")
    program.serve()
    (program.folder / "settings.d").mkdir()
    part = program.folder / "settings.d" / "books.toml"
    part.write_text("[spiders.books\n")
    os.kill(program.pid, signal.SIGHUP)
    eventually(lambda: "settings.d/books.toml" in program.status()["settings"]["error"])
    part.write_text(SPIDER.format("books"))
    os.kill(program.pid, signal.SIGHUP)
    eventually(lambda: list(program.status()["spiders"]) == ["books"])
    checked = program.run("check")
    assert checked.returncode == 0, checked.stderr
