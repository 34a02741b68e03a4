"""Tests of text that is read from right to left."""

from __future__ import annotations

import re

import pytest

from pipeline.text import direction_of, isolated
from tests.mail.conftest import built, text_of
from tests.mail.test_digest import mail_of


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


@pytest.mark.parametrize(("label", "old", "new", "html", "text"), [
    # in the direction of the values
    ("stock", "במלאי", "אזל", '<span dir="rtl"><bdi><del class="was">במלאי</del></bdi> ← <bdi><ins class="now">אזל</ins></bdi></span>',
     "stock: \u2067\u2068במלאי\u2069 ← \u2068אזל\u2069\u2069"),
    ("stock", "متوفر", "نفد", 'dir="rtl"', "stock: \u2067\u2068متوفر\u2069 ← \u2068نفد\u2069\u2069"),
    ("מלאי", "in stock", "sold out", '<span dir="ltr"><bdi><del class="was">in stock</del></bdi> → <bdi>', "\u2068מלאי\u2069: in stock → sold out"),
    # numbers have no direction: that of the label
    ("מחיר", "99.90 ₪", "89.90 ₪", '<span class="delta" dir="ltr">▼ −10.00 ₪ (−10%)</span>',
     "\u2068מחיר\u2069: \u2067\u206899.90 ₪\u2069 ← \u206889.90 ₪\u2069\u2069 \u2066▼ −10.00 ₪ (−10%)\u2069"),
    ("price", "99.90 ₪", "89.90 ₪", '<span dir="ltr">', "price: 99.90 ₪ → 89.90 ₪ ▼ −10.00 ₪ (−10%)"),
    ("price", "٣٠٠ ر.س", "٣٥٠ ر.س", 'dir="ltr">▲ \u2068+٥٠ ر.س\u2069 (+17%)', "price: \u2067\u2068٣٠٠ ر.س\u2069 ← \u2068٣٥٠ ر.س\u2069\u2069 \u2066▲ \u2068+٥٠ ر.س\u2069 (+17%)\u2069"),
    # a long text word by word
    ("about", "זה היה טקסט ארוך מאוד על שעון קיר", "זה היה טקסט קצר מאוד על שעון קיר", "<bdi>זה היה טקסט <del>ארוך</del>", "[-ארוך-]{+קצר+}"),
])
def test_values_are_isolated_and_the_arrow_follows_the_direction_of_reading(store, site, settings_from, label, old, new, html, text) -> None:  # noqa: PLR0917  pytest hands them in by name
    site.run({"1": {"title": "Clock", label: old}})
    settings = settings_from()
    built(store, settings)
    site.run({"1": {"title": "Clock", label: new}})
    mail = mail_of(store, built(store, settings, slot="s2"))
    assert html in re.sub(r' style="[^"]*"', "", text_of(mail, "html")).replace("&nbsp;", " ")
    assert text in text_of(mail).replace("\u00a0", " ")
