"""The generator of redesigns: what it says of a page is what the page shows."""

from __future__ import annotations

import random
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser

from pipeline.settings import SpiderTable
from tests.redesigns import OPERATIONS, Redesign, redesign
from tests.redesigns.page import document
from tests.redesigns.tree import parse, write

WORDS = ["Grand", "light", "of", "a", "quiet", "river", "under", "stone", "and", "long", "winter", "nights"]


def _title(rng: random.Random, number: int) -> str:
    return f"{' '.join(rng.sample(WORDS, rng.randint(3, 6)))} {number}"


def _shop() -> tuple[dict[str, Any], str, str]:
    rng = random.Random(1)
    cards = [f"""<li class="col"><article class="pod"><a href="../book_{at}/index.html"><img src="../media/{at}.jpg" alt="{title}"></a>
        <h3><a href="../book_{at}/index.html" title="{title}">{title[:12]} ...</a></h3>
        <div class="price"><p class="color">£{at + 10}.{at + 20}</p><p class="stock"><i></i> In stock</p></div></article></li>"""
             for at in range(20) for title in [_title(rng, at)]]
    fields = {"title": "h3 a::attr(title)", "url": "h3 a::attr(href)", "price": {"css": ".color", "type": "price"}}
    return ({"each": "article.pod", "key": ["url"], "fields": fields}, "http://shop.example/all/",
            f'<html lang="en"><head><title>Books</title></head><body id="default"><div data-page="1"><ol class="row">{"".join(cards)}</ol></div></body></html>')


def _news() -> tuple[dict[str, Any], str, str]:
    rng = random.Random(2)
    rows = [f"""<tr class="athing"><td>{at}.</td><td class="title"><span class="line"><a href="/item/{1000 + at * 7}">{_title(rng, at)}</a></span></td>
        <td class="by"><a href="/user/u{at % 7}">user{at % 7}</a></td><td class="age" title="2026-11-{at + 1:02}">2026-11-{at + 1:02}</td>
        <td class="score">{at * 113} points</td></tr>""" for at in range(1, 19)]
    fields = {"title": ".line a", "url": ".line a::attr(href)", "author": ".by a", "date": {"css": ".age::attr(title)", "type": "date"},
              "score": {"css": ".score", "type": "number"}}
    return ({"each": "tr.athing", "key": ["url"], "fields": fields}, "http://news.example/list",
            f"<html><head><title>News</title></head><body><table><tr><th>#</th><th>Title</th></tr>{''.join(rows)}</table></body></html>")


PAGES = {"shop": _shop(), "news": _news()}


def _redesign(name: str, seed: int, only: tuple[str, ...] = ()) -> Redesign:
    items, url, html = PAGES[name]
    return redesign(html, url, SpiderTable.model_validate({"spider": "crawl", "start": [url], "items": items}), seed, only=only)


def _untruths(made: Redesign) -> list[object]:
    """What the marked elements of the new pages show differently from what the redesign says of them."""
    found: list[object] = []
    for page, rows in zip(made.oracles, made.rows, strict=True):
        records: dict[str | None, list[Any]] = {}
        for node in LexborHTMLParser(page).css("[oracle-record]"):
            records.setdefault(node.attributes["oracle-record"], []).append(node)
        if len(records) != len(rows):
            found.append((len(records), len(rows)))
        for nodes, row in zip(records.values(), rows, strict=False):
            for name, value in row.items():
                node = next((node for top in nodes for node in top.css(f"[oracle-{name}]")), None)
                where = node.attributes[f"oracle-{name}"] if node is not None else None
                shown = (node.text() if where == "text" else node.attributes[where] or "") if node is not None and where else "not there"
                if not _says(shown, value, made, name):
                    found.append((name, value, shown))
    return found


def _says(shown: str, value: Any, made: Redesign, name: str) -> bool:
    kind = made.kinds[name]
    if kind == "url":
        return document("", made.urls[0]).absolute(shown) == value
    if kind in ("title", "text"):
        blank = "".join(shown.split())
        wanted = "".join(value.split())
        return blank == wanted or ("add_labels" in made.operations and blank.endswith(wanted))
    if kind == "date" and "move_from_attributes" not in made.operations:
        return shown == value
    return shown != "not there"


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_says_what_the_page_shows(name: str) -> None:
    done = 0
    for page in PAGES:
        for seed in range(2):
            made = _redesign(page, seed, (name,))
            done += bool(made.operations)
            if name != "render_in_browser":
                assert not _untruths(made)
    assert done


@pytest.mark.parametrize("page", PAGES)
def test_operations_together_say_what_the_page_shows(page: str) -> None:
    for seed in range(8):
        made = _redesign(page, seed)
        assert "render_in_browser" in made.operations or not _untruths(made)
        assert sum(map(len, made.rows)) >= 12


def test_a_seed_gives_the_same_pages_again() -> None:
    assert _redesign("shop", 7) == _redesign("shop", 7)
    assert _redesign("shop", 7).pages != _redesign("shop", 8).pages


def test_the_pages_are_written_as_they_are_read() -> None:
    for seed in range(6):
        for page in _redesign("news", seed).pages:
            again = write(parse(page))
            assert write(parse(again)) == again
