"""A table as TOML text is read back unchanged."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crawl.suggest.toml_text import spider_toml, string_toml

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_VALUES = st.recursive(_TEXTS | st.booleans() | st.integers(-10**9, 10**9) | st.floats(allow_nan=False),
                       lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3), max_leaves=8)


@settings(max_examples=60, deadline=None)
@given(_TEXTS, st.dictionaries(_TEXTS | st.sampled_from(["items", "fields", "details"]), _VALUES, max_size=5))
def test_any_table_is_read_back_unchanged(name: str, table: dict[str, Any]) -> None:
    assert tomllib.loads(spider_toml(name, table)) == {"spiders": {name: table}}


@pytest.mark.parametrize("text", ['say "hi"', "back\\slash", "line\nbreak", "tab\t", "\x00\x1f\x7f\x85", "\u202eevil", "日本語", "'''", '"""', "#"])
def test_any_text_of_a_site_is_escaped(text: str) -> None:
    written = string_toml(text)
    assert tomllib.loads(f"x = {written}")["x"] == text
    assert "\n" not in written


def test_a_lone_surrogate_becomes_a_replacement_character() -> None:
    assert tomllib.loads(f"x = {string_toml('a' + chr(0xD800) + 'b')}")["x"] == "a\ufffdb"


def test_a_table_is_written_in_the_style_of_the_documentation() -> None:
    table = {"start": ["https://shop.example/"], "items": {"each": "article", "key": ["url"], "fields": {
        "url": "a::attr(href)", "price": {"css": ".price", "type": "price"}}}}
    assert spider_toml("shop", table) == """\
[spiders.shop]
start = ["https://shop.example/"]

[spiders.shop.items]
each = "article"
key = ["url"]

[spiders.shop.items.fields]
url = "a::attr(href)"
price = { css = ".price", type = "price" }
"""
