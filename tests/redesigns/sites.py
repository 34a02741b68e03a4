"""The real list pages that are redesigned, and the spiders that read them.

Also pages for which no rules may be proposed.
"""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.settings import SpiderTable
from tests.redesigns import Redesign, redesign
from tests.redesigns.judge import what_is_wrong
from tests.redesigns.page import document, item_rules, read_page
from tests.redesigns.tree import Element, write

DATA = Path(__file__).parent.parent / "data"
_ATTEMPTS = 40


@dataclass(frozen=True)
class Site:
    """A real list page, and the spider of it as TOML has it."""

    name: str
    table: dict[str, Any]
    html: str

    @property
    def url(self) -> str:
        return str(self.table["start"][0])

    @cached_property
    def spider(self) -> SpiderTable:
        return SpiderTable.model_validate(self.table)

    @cached_property
    def known(self) -> list[dict[str, Any]]:
        """The items that the spider stored before the redesign."""
        return item_rules(self.spider).extract(document(self.html, self.url)).items

    def redesigned(self, seed: int) -> Redesign:
        """Return a redesign for which the spider's rules are not right any more."""
        for attempt in range(_ATTEMPTS):
            made = redesign(self.html, self.url, self.spider, f"{seed}.{attempt}")
            if what_is_wrong(self.table, made, max_extra=float("inf")):
                return made
        raise ValueError(f"{self.name}: no redesign of seed {seed} breaks the rules")


def sites() -> list[Site]:
    """Return the sites of tests/data/mend/tables.toml. The page of a spider has its name."""
    folders = (DATA / "mend" / "pages", DATA / "list_pages")
    tables = tomllib.loads((DATA / "mend" / "tables.toml").read_text("utf-8"))["spiders"]
    return [Site(name, table, next(page for folder in folders if (page := folder / f"{name}.html").exists()).read_text("utf-8"))
            for name, table in tables.items()]


def foreign_pages(site: Site, other: Site, seed: int = 1) -> dict[str, list[str]]:
    """Return pages on which the site's items are not listed any more, by what they are. No rules may be proposed for them.

    other: a site whose list appears in the place of the list.
    """
    notice = '<!DOCTYPE html><html><head><title>{title}</title></head><body class="page"><main><h1>{title}</h1>{body}</main></body></html>'
    form = ('<form method="post" action="/login"><label>Name <input name="user"></label><label>Password <input type="password" name="pw"></label>'
            '<button>Log in</button></form><ul><li><a href="/register">Register</a></li><li><a href="/reset">Lost password?</a></li></ul>')
    design = redesign(site.html, site.url, site.spider, seed, only=("hash_classes", "lay_out_as_cards"))
    return {
        "login page": [notice.format(title="Log in", body=form)],
        "maintenance": [notice.format(title="Down for maintenance", body="<p>We are back at 14:00.</p>")],
        "JavaScript shell": ['<!DOCTYPE html><html><head><script src="/app.js"></script></head><body><div id="root"></div></body></html>'],
        "other list": [other.html],
        "empty list": [_without_items(site, seed, keep=0)],
        "few items in a sidebar": [_without_items(site, seed, keep=3)],
        "all items replaced": [_replaced(page, rows, site) for page, rows in zip(design.pages, design.rows, strict=True)],
    }


def _without_items(site: Site, seed: int, keep: int) -> str:
    """Return the page without its items, but for a few of them in another place."""
    page = read_page(site.html, site.url, site.spider, random.Random(seed))
    kept = [(str(row["title"]), str(row["url"])) for row in list(page.rows.values())[:keep]]
    around = page.around
    for top in page.tops:
        top.remove()
    for node in around.all():
        node.attrs.pop("class", None)
    page.body.append(Element("p", "notice", "No results."))
    if kept:
        page.body.append(Element("aside", "recent", Element("ul", "", *(Element("li", "", Element("a", "", title, href=url)) for title, url in kept))))
    return write(page.root)


def _replaced(html: str, rows: list[dict[str, Any]], site: Site) -> str:
    """Return a redesigned page with other items: other titles and other links."""
    rng = random.Random(html)
    for at, row in enumerate(rows):
        title = str(row["title"])
        word = "".join(rng.choice("bcdfgklmnprstv") + rng.choice("aeiou") for _ in range(4))
        html = html.replace(f">{title}<", f">{word.title()} {at}<")
    assert site.spider.items is not None
    for number in sorted({str(row[name]) for name in site.spider.items.key for row in rows if str(row[name]).isdigit()}):
        html = re.sub(rf"(?<=[>\"]){number}(?=[<\"])", f"9{rng.randrange(10**6)}", html)
    stem = {str(row["url"]).rstrip("/").rsplit("/", 1)[-1] for row in rows}
    for part in sorted(stem, key=len, reverse=True):
        html = html.replace(part, "".join(rng.choice("bcdfgklmnprstv") for _ in range(9)))
    return html
