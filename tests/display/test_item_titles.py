"""Tests that each item has a title that tells a reader what it is."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.display.item_fields import title_of


@pytest.mark.parametrize(("data", "title"), [
    ({"url": "https://www.docs.example/java/BiPredicate.html", "lastmod": "2026-11-27"}, "docs.example/java/BiPredicate.html"),
    ({"lastmod": "2026-11-27", "priority": "0.5", "url": "https://docs.example/"}, "docs.example"),
    ({"price": "£9.90", "link": "https://shop.example/%C3%BCbersicht?id=4"}, "shop.example/übersicht?id=4"),
    ({"url": "https://shop.example/1", "author": "Harper Lee", "date": "2026-11-27"}, "Harper Lee"),
    ({"Title": "1984", "url": "https://shop.example/1984"}, "1984"), ({"date": "2026-11-27"}, "2026-11-27"), ({"count": 3}, "key"),
    ({"title": "", "url": "https://shop.example/1"}, "shop.example/1")])
def test_the_title_of_an_item_is_a_text_for_people(data: dict[str, Any], title: str) -> None:
    assert title_of(data, "key") == title
