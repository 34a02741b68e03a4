"""Tests of which value each key has, and where it comes from; and of which keys a reload has changed."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipeline.settings import load
from pipeline.settings.in_effect import DEFAULT, changed_keys, values_in_effect
from pipeline.settings.toml_text import value_text

MAIN = """
[pipeline]
timezone = "Europe/Berlin"
[spiders.shop]
start = "https://shop.example/"
delay = "3s"
[spiders.shop.items]
key = ["name"]
[spiders.shop.items.fields]
name = "h1"
"""
PART = '[spiders.news]\nstart = ["https://news.example/"]\nitems.fields.name = { css = "h2", required = true }\n[digests.daily]\nspiders = ["news"]\nto = ["me@example.com"]\n'


def written(folder: Path, main: str = MAIN, part: str = PART) -> Path:
    (folder / "settings.d").mkdir(exist_ok=True)
    (folder / "settings.toml").write_text(main, "utf-8")
    (folder / "settings.d" / "news.toml").write_text(part, "utf-8")
    return folder / "settings.toml"


def test_each_key_has_its_value_and_the_file_or_the_default(tmp_path: Path) -> None:
    found = {value.key: (value.text, value.source) for value in values_in_effect(load(written(tmp_path)))}
    assert found["pipeline.timezone"] == ('"Europe/Berlin"', "settings.toml")
    assert found["spiders.shop.delay"] == ('"3s"', "settings.toml")
    assert found["spiders.shop.items.fields.name"] == ('"h1"', "settings.toml")
    assert found["spiders.news.start"] == ('["https://news.example/"]', "settings.d/news.toml")
    assert found["spiders.news.items.fields.name.css"] == ('"h2"', "settings.d/news.toml")
    assert found["spiders.news.items.fields.name.required"] == ("true", "settings.d/news.toml")
    assert found["digests.daily.spiders"] == ('["news"]', "settings.d/news.toml")
    assert found["spiders.news.robots"] == ("true", DEFAULT)
    assert found["spiders.news.timeout"][1] == DEFAULT
    assert [key for key in found if key.startswith("mail.")] == []  # a table that nobody has written has no rows


@pytest.mark.parametrize(("change", "keys"), [
    (('delay = "3s"', 'delay = "4s"'), ["spiders.shop.delay"]),
    (('name = "h1"', 'name = "h2"'), ["spiders.shop.items.fields.name.css"]),
    (("[spiders.shop.items]", "[spiders.extra]\nstart = \"https://x.example/\"\nitems.fields.a = \"b\"\n[spiders.shop.items]"), ["spiders.extra"]),
    (('timezone = "Europe/Berlin"', ""), ["pipeline.timezone"]),
    (("", ""), []),
])
def test_the_changed_keys_are_named(tmp_path: Path, change: tuple[str, str], keys: list[str]) -> None:
    before = load(written(tmp_path))
    assert changed_keys(before, load(written(tmp_path, MAIN.replace(*change) if change[0] else MAIN))) == keys


def test_values_are_shown_value_text() -> None:
    odd = {"a b": "\x7f\u2028", 'q"': [datetime(2026, 12, 1, 8, tzinfo=UTC), date(2026, 12, 1)], "": None}
    assert tomllib.loads(f"x = {value_text(odd)}")["x"] == {name: value for name, value in odd.items() if value is not None}
    many = [{"name": "x" * 50}, ["y" * 200, "z"]]
    assert tomllib.loads(f"x = {value_text(many, width=110)}\ny = 1") == {"x": many, "y": 1}
    assert value_text({"a": [1, True, "x\n\"y\""], "b": {}, "c": 1.5}) == '{ a = [1, true, "x\\n\\"y\\""], b = {}, c = 1.5 }'
