"""Tests of text that is read from right to left."""

from __future__ import annotations

import pytest

from pipeline.text import direction_of, isolated


@pytest.mark.parametrize(("text", "direction"), [
    ("Walnut clock", "ltr"), ("12.50 £", ""), ("", ""), ("مرحبا", "rtl"), ("12 שקלים", "rtl"), ("Zürich מחיר", "ltr"), ("٣٠٠", ""), ("三体", "ltr"),
])
def test_the_direction_of_a_text_is_that_of_its_first_letter(text, direction) -> None:
    assert direction_of(text) == direction


@pytest.mark.parametrize(("text", "shown"), [
    ("Walnut clock, Zürich: £31.82 → £32.32", "Walnut clock, Zürich: £31.82 → £32.32"),
    ("שעון קיר", "\u2068שעון קיר\u2069"), ("Clock ساعة 12", "\u2068Clock ساعة 12\u2069"), ("٣٠٠", "\u2068٣٠٠\u2069"),
])
def test_text_of_a_right_to_left_script_is_isolated_from_the_text_around_it(text, shown) -> None:
    assert isolated(text) == shown
