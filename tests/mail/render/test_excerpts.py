"""Tests that a text that is too long for a mail ends with a whole word."""

from __future__ import annotations

import pytest

from pipeline.text import clean_excerpt


@pytest.mark.parametrize(("text", "limit", "meant"), [
    ("one two three", 9, "one two…"), ("one two three", 8, "one two…"), ("one two", 20, "one two"), ("one, two", 7, "one…"), ("one two…", 8, "one two…"),
    ("x" * 50, 10, "x" * 9 + "…"), ("图书馆周六开放至晚上九点", 6, "图书馆周六…"), ("Straße\n und Platz", 12, "Straße und…")])
def test_a_long_text_is_cut_between_two_words(text: str, limit: int, meant: str) -> None:
    assert clean_excerpt(text, limit) == meant
