"""List pages of real programs (tests/data/list_pages), and the judge of a spider's table.

The judge compares the table with the rows that each page shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from operator import eq
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pipeline.crawl.extract import CompiledRule, Document, ItemRules, number
from pipeline.crawl.suggest import Proposal
from pipeline.price import amount_of
from pipeline.session.page import Answer, Page
from pipeline.settings import SpiderTable

FOLDER = Path(__file__).parent / "data" / "list_pages"
MIN_FOUND, MAX_EXTRA, MIN_EQUAL = 0.95, 0.05, 0.9


@dataclass(frozen=True)
class Row:
    """One row of a list: its right titles and right URLs; empty if it has none. An optional row may be found or not."""

    titles: frozenset[str]
    urls: frozenset[str]
    optional: bool


@dataclass(frozen=True)
class ListPage:
    """A stored page. set: "development" or "held-out"; truth: the rows as pages.json has them."""

    path: Path
    name: str
    program: str
    version: str
    set: str
    url: str
    content_type: str
    truth: tuple[dict[str, Any], ...]
    next: str | None = None

    def document(self) -> Document:
        """Return the page as `pipeline suggest` gets it from the server, parsed anew at each call."""
        return Page(Answer(self.url, 200, {"Content-Type": self.content_type}, self.path.read_bytes())).document

    @cached_property
    def rows(self) -> list[Row]:
        absolute = self.document().absolute
        return [Row(frozenset(map(folded, _several(row["title"]))), frozenset(map(absolute, _several(row["url"]))), row.get("optional", False))
                for row in self.truth]


@dataclass(frozen=True)
class Verdict:
    """Which parts of a proposed table are right. why: the first thing that is wrong; "" if nothing is."""

    each: bool = False
    title: bool = False
    url: bool = False
    why: str = "no proposal"

    @property
    def right(self) -> bool:
        return self.each and self.title and self.url


@cache
def list_pages(folder: Path = FOLDER) -> tuple[ListPage, ...]:
    """Return all stored pages, in the order of their names."""
    known = ListPage.__dataclass_fields__
    return tuple(ListPage(path=folder / f"{entry['name']}.html", **{key: tuple(value) if key == "truth" else value
                                                                  for key, value in entry.items() if key in known})
                 for entry in json.loads((folder / "pages.json").read_text("utf-8"))["pages"])


def verdicts(proposals: Iterable[Proposal], page: ListPage) -> list[Verdict]:
    """Judge the proposals that read the page itself, best first. A proposal of a feed or a sitemap reads another document."""
    return [judge(proposal.table, page) for proposal in proposals if "items" in proposal.table]


def judge(table: dict[str, Any], page: ListPage) -> Verdict:
    """Compare what the engine extracts by a table with the rows of the page.

    `each` is right if at least 95 % of the rows are found, with at most 5 % more. A field is right if it equals in 90 % of the rows.
    """
    items = SpiderTable.model_validate(table).items
    assert items is not None
    document = page.document()
    extracted = [item for item in ItemRules(items.fields, items.each).extract(document).items if item.get("title") or item.get("url")]
    needed = [row for row in page.rows if not row.optional]
    pairs = _paired(extracted, page.rows, document)
    found = sum(not row.optional for row, _ in pairs)
    extra = len(extracted) - len(pairs)
    each = found >= MIN_FOUND * len(needed) and extra <= MAX_EXTRA * len(needed)
    why = "" if each else f"each: {found} of {len(needed)} rows, {extra} more"
    right = {"title": True, "url": True}
    for name, wanted, read in (("title", lambda row: row.titles, _title), ("url", lambda row: row.urls, _url)):
        having = [row for row in needed if wanted(row)]
        equal = sum(not row.optional and read(item) in wanted(row) for row, item in pairs if wanted(row))
        right[name] = equal >= MIN_EQUAL * len(having)
        why = why or ("" if right[name] else f"{name}: {equal} of {len(having)} equal")
    return Verdict(each, right["title"], right["url"], why)


def leads_on(table: dict[str, Any], page: ListPage) -> bool:
    """Return whether a table, with `follow` or with `pages`, leads from the page to the next one."""
    spider = SpiderTable.model_validate(table)
    document = page.document()
    wanted = document.absolute(page.next or "")
    if spider.pages is not None:
        values = parse_qs(urlsplit(wanted).query).get(spider.pages.param, [])
        return values == [str(spider.pages.first + spider.pages.step)] and spider.pages.step in (1, len(page.rows))
    return any(document.absolute(link) == wanted for rule in spider.follow for link in CompiledRule(rule).links(document))


def has_prices(table: dict[str, Any], page: ListPage) -> bool:
    """Return whether the field "price" of a table has the amounts that the rows of the page show, for 90 % of them."""
    items = SpiderTable.model_validate(table).items
    assert items is not None
    found = [amount_of(item.get("price")) for item in ItemRules(items.fields, items.each).extract(page.document()).items]
    wanted = [number(row["price"]) for row in page.truth]
    return len(found) == len(wanted) and sum(map(eq, found, wanted)) >= MIN_EQUAL * len(wanted)


def folded(text: object) -> str:
    """Return a text with its white space collapsed."""
    return " ".join(str(text).replace("\u00ad", "").split())


def _paired(extracted: list[dict[str, Any]], rows: list[Row], document: Document) -> list[tuple[Row, dict[str, Any]]]:
    """Return the rows with the items that show them: first those with the same title and URL, then with the same URL, then title."""
    same: list[Callable[[Row, dict[str, Any]], bool]] = [
        lambda row, item: _title(item) in row.titles and _url(item) in row.urls,
        lambda row, item: bool(row.urls & _values(item, document.absolute)),
        lambda row, item: bool(row.titles & _values(item, folded))]
    pairs, free_rows, free_items = [], sorted(rows, key=lambda row: row.optional), list(extracted)
    for is_same in same:
        for item in list(free_items):
            row = next((row for row in free_rows if is_same(row, item)), None)
            if row is not None:
                pairs.append((row, item))
                free_rows.remove(row)
                free_items.remove(item)
    return pairs


def _values(item: dict[str, Any], convert: Callable[[str], str]) -> set[str]:
    return {convert(value) for value in item.values() if isinstance(value, str) and value}


def _title(item: dict[str, Any]) -> str:
    return folded(item.get("title") or "")


def _url(item: dict[str, Any]) -> str:
    return str(item.get("url") or "")  # the engine makes links absolute, and a text that is no link stays wrong


def _several(value: str | list[str] | None) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []
