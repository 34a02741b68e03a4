"""Tests of bad input to every command, and of broken settings files.

A message, an exit code, no traceback.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from tests import fuzz

GOOD = """
[pipeline]
data_dir = "var"
[heartbeat]
port = 1
[spiders.s]
start = "http://127.0.0.1:1/"
[digests.d]
spiders = ["s"]
to = ["me@example.com"]
"""
HOSTILE = "\x1b[2Jx"


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands())


def tried(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, list(words), input=stdin)


def said(result: Result, *, code: int | None = None) -> str:
    """What was said on stderr; it ended as a command ends, with a message and no traceback."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code != 0
    assert code is None or result.exit_code == code, result.output
    assert result.stderr.strip()
    assert "Traceback" not in result.output
    assert "\x1b" not in result.output
    return result.stderr


def settings_of(command: click.Command, words: tuple[str, ...], file: Path) -> list[str]:
    """The command with a settings file: the option stands where the command, or its group, takes it."""
    if any(parameter.name == "settings_file" for parameter in command.params):
        return [*words, "--settings", str(file)]
    return [words[0], "--settings", str(file), *words[1:]] if len(words) > 1 else [*words]  # `completion` needs no settings


def needing(kind: type[click.Parameter]) -> dict[tuple[str, ...], click.Command]:
    return {words: command for words, command in ALL.items() if any(
        isinstance(parameter, kind) and parameter.required for parameter in command.params)}


WITH_SETTINGS = {words: command for words, command in ALL.items() if words[0] not in ("init", "schema", "new", "completion")}
ARGUMENTS = {"spider": "nobody", "spiders": "nobody", "url": "x", "name": "nobody", "number": "99", "file": "missing",
             "text": "x", "kind": "urlwatch"}


def filled(command: click.Command) -> list[str]:
    """Its arguments, each naming what is not there."""
    found = [ARGUMENTS.get(str(parameter.name), "x") for parameter in command.params
             if isinstance(parameter, click.Argument) and (parameter.required or parameter.name in ("spiders", "spider", "url"))]
    options = {"address": ["--to", "x"], "output": ["--output", "x"] if command.name == "export" else []}
    return [*found, *(word for parameter in command.params for word in options.get(str(parameter.name), ()))]


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.toml").write_text(GOOD)
    (tmp_path / "missing").write_bytes(b"\xff\xfe\x00 not text")
    return tmp_path / "settings.toml"


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_an_unknown_option_is_named(words: tuple[str, ...]) -> None:
    assert "--no-such-option" in said(tried(*words, "--no-such-option"), code=2)


@pytest.mark.parametrize("words", needing(click.Argument), ids=" ".join)
def test_a_missing_argument_is_named(words: tuple[str, ...], good: Path) -> None:
    assert "Missing argument" in said(tried(*settings_of(ALL[words], words, good)), code=2)


@pytest.mark.parametrize("words", WITH_SETTINGS, ids=" ".join)
def test_settings_that_are_missing_a_folder_or_broken_are_named(words: tuple[str, ...], tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "missing").touch()
    broken = tmp_path / "broken.toml"
    broken.write_text(f'[spiders.s]\nstart = "nowhere"\n"{HOSTILE.encode("unicode_escape").decode()}"=1'.replace("\\x1b", "\\u001b"))
    command = ALL[words]
    for file in (tmp_path / "none.toml", tmp_path, broken):
        result = tried(*settings_of(command, words, file), *filled(command))
        if file == broken and words in (("status",), ("ping",), ("url",)):  # they need [heartbeat] only, and ask although the rest is broken
            assert "only the tables [pipeline] and [heartbeat] of the file are used" in result.output
            assert "\x1b" not in result.output
        else:
            text = result.output if words == ("doctor",) else said(result, code=3 if words == ("status",) else 2)
            assert file.name in text
            assert result.exit_code in (1, 2, 3)


@pytest.mark.parametrize("words", [words for words in WITH_SETTINGS if filled(ALL[words]) and words not in (("backup",), ("token", "create"))], ids=" ".join)
def test_an_unknown_name_is_reported(words: tuple[str, ...], good: Path) -> None:
    said(tried(*settings_of(ALL[words], words, good), *filled(ALL[words])))


@pytest.mark.parametrize("words", [
    ("history", "--limit", "0"), ("history", "--limit", "many"), ("items", "s", "--format", "pdf"), ("run",),
    ("run", "s", "--all"), ("digest", "d"), ("digest", "d", "--send", "--preview", "x"),
    ("digest", "d", "--preview", "x", "--since", "yesterday"), ("digest", "d", "--preview", "settings.toml"),
    ("items", "s", "--format", "xlsx"), ("items", "s", "--output", "no/such/folder/x"), ("login", "s"),
    ("cookies", "import", "s", "missing"), ("cookies", "import", "s", "."), ("outbox", "show", "x"),
    ("outbox", "retry", "-1"), ("outbox", "drop", "99999999999999999999999"), ("restore", "missing"), ("restore", "."),
    ("backup", "no/such/folder/x"), ("backup", "."), ("backup", "missing/x"), ("url", "x"), ("status", "x"), ("ping", "x"),
    ("mail", "test", "--to", "not an address"), ("new", "spider", "../x"), ("new", "spider", ""), ("init", "settings.toml"),
    ("init", "."), ("init", "missing/x"), ("run", HOSTILE), ("items", HOSTILE), ("outbox", "show", HOSTILE), ("no-such-command",),
    ("suggest", "x"), ("suggest", "http://"), ("suggest", "http://[/"), ("suggest", "http://x/", "--proposal", "0"), ("suggest", HOSTILE),
    ("suggest", "http://x/", "--spider", "nobody"), ("new", "spider", "../x", "--from", "http://x/"), ("shell", "s", "x"),
    ("shell", "nobody", "http://x/"), ("try", "s"), ("try", "--url", "http://x/"), ("try", "--css", "a"), ("try", "s", "http://x/", "--css", "["),
    ("try", "s", "not a url"), ("try", "s", "ftp://x/"), ("items", "s", "--key", "\udcff"), ("login", "\udcff"),
], ids=lambda words: " ".join(words).encode("unicode_escape").decode())
def test_invalid_arguments_are_explained(words: tuple[str, ...], good: Path) -> None:
    if words[:2] == ("items", "s") and "--key" in words:
        assert tried(*words).exit_code == 0
    else:
        said(tried(*words))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_data_dir_that_cannot_be_written_is_named(good: Path) -> None:
    (good.parent / "var").mkdir(mode=0o500)
    assert "var" in said(tried("history"), code=8)


@pytest.mark.parametrize("data_dir", ["settings.toml", "settings.toml/x", "/proc/x"])
def test_an_unusable_data_dir_is_named(good: Path, data_dir: str) -> None:
    good.write_text(GOOD.replace('"var"', f'"{data_dir}"'))
    for words in (("history",), ("serve",), ("url",), ("items", "s")):
        said(tried(*words))
    assert "FAIL" in tried("doctor", "--offline").stdout


@pytest.mark.parametrize("database", ["postgresql:/x", "mysql://x/y", "postgresql://127.0.0.1:1/x", "sqlite:////proc/x/y", "x"])
def test_an_unusable_database_url_is_named(good: Path, database: str) -> None:
    good.write_text(GOOD.replace("[heartbeat]", f'database = "{database}"\n[heartbeat]'))
    for words in (("history",), ("backup", "b"), ("restore", "missing")):
        said(tried(*words))
    assert "FAIL  database" in tried("doctor", "--offline").stdout


def test_broken_settings_files_are_refused_with_their_reasons(tmp_path: Path) -> None:
    texts = fuzz.examples()
    refused = 0
    for number in range(150):
        rng = random.Random(f"sample {number}")
        refused += bool(fuzz.try_one(tmp_path, fuzz.broken(rng, rng.choice(texts))))
    assert refused > 100
