"""Operations on what the list shows: items changed, gone and new, in another order."""

from __future__ import annotations

import random
import re

from pipeline.crawl.extract import prices
from tests.redesigns.page import Page, document
from tests.redesigns.registry import operation
from tests.redesigns.texts import shown_text
from tests.redesigns.tree import Element

_DIGITS = re.compile(r"\d+(?=[.,]\d\d\b)|\d+")


@operation("items", weight=5)
def change_items(page: Page) -> bool:
    """10 to 25 % of the items change: other prices and titles, some gone, some new; often the order changes too."""
    rng = page.random
    records = list(page.records)
    share = rng.uniform(0.1, 0.25)
    count = max(1, round(len(records) * share))
    for record in rng.sample(records, count):
        what = rng.choice(("price", "title", "gone", "new"))
        if what == "price" and page.of_kind("price"):
            _change_price(page, record)
        elif what == "title":
            _change_title(page, record)
        elif what == "gone" and len(page.records) > 8:
            for node in page.records[record]:
                node.remove()
            del page.rows[record]
        elif what == "new":
            _add(page, record)
    if rng.random() < 0.5:
        _shuffle(page)
    return True


def _change_price(page: Page, record: int) -> None:
    name = page.of_kind("price")[0]
    place = shown_text(page, record, name, page.places(record))
    if place is None:
        return
    old = _DIGITS.search(place[1])
    if old is None:
        return
    new = str(int(old[0]) + page.random.randint(1, 9))
    text = place[1][:old.start()] + new + place[1][old.end():]
    read = prices.read_price(text, document(f'<html lang="{page.lang}">', page.url))
    if read is not None and place[0].change_text(old[0], lambda _: [new]):
        page.rows[record] = page.rows[record] | {name: read | {"currency": page.rows[record][name]["currency"]}}


def _change_title(page: Page, record: int) -> None:
    place = shown_text(page, record, page.title, page.places(record))
    title = page.rows[record].get(page.title)
    if page.title in page.key or place is None or not isinstance(title, str) or place[1] != title:
        return
    extra = page.random.choice((" (2nd edition)", " – updated", " NEW"))
    last = title.split()[-1]
    if place[0].change_text(last, lambda _: [last]) and title.count(last) == 1:
        place[0].change_text(last, lambda _: [last + extra])
        for top in page.records[record]:
            _change_attributes(top, title, title + extra)
        page.rows[record] = page.rows[record] | {page.title: title + extra}


def _change_attributes(top: Element, old: str, new: str) -> None:
    """Replace the title in the attributes that repeat it."""
    for node in top.all():
        for name in ("title", "alt", "aria-label"):
            if old in (node.attrs.get(name) or ""):
                node.attrs[name] = (node.attrs[name] or "").replace(old, new)


def _add(page: Page, record: int) -> None:
    """Add a new item, which is like another one, before it."""
    tops = page.records[record]
    title = page.rows[record].get(page.title)
    fields = page.places(record)
    place = shown_text(page, record, page.title, fields)
    node, where = fields.get(page.link, (None, ""))
    if len(tops) > 1 or node is None or place is None or where != "href" or not isinstance(title, str) or place[1] != title or len(page.kinds) < 1:
        return
    new = max(*page.rows, *page.records) + 1
    copy = tops[0].clone(marked=True)
    copy.record = new
    tops[0].before(copy)
    values = page.rows[record]
    page.rows[new] = dict(values)
    fields = page.places(new)
    words = " ".join(dict.fromkeys(f"{title} {_word(page.random)}".split()))
    changed = shown_text(page, new, page.title, fields)
    link = fields[page.link][0]
    href = link.attrs["href"] or ""
    stem, dot, end = href.rpartition("." if "." in href.rsplit("/", 1)[-1] else "/")
    code = str(page.random.randint(10_000, 99_999))
    new_href = f"{stem}-{code}{dot}{end}" if dot == "." else f"{href.rstrip('/')}-{code}" + ("/" if href.endswith("/") else "")
    if changed is None or "#" in href or "?" in href or not href or not _replace_all(changed[0], words):
        copy.remove()
        del page.rows[new]
        return
    for other in copy.all():
        if (other.attrs.get("href") or "").startswith(href):
            other.attrs["href"] = new_href + (other.attrs["href"] or "")[len(href):]
    _change_attributes(copy, title, words)
    page.rows[new] |= {page.title: words, page.link: document("", page.url).absolute(new_href)}
    if any(name not in (page.title, page.link) for name in page.key):
        copy.remove()
        del page.rows[new]


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(("ka", "lo", "mi", "ter", "nu", "sa", "vel", "or")) for _ in range(3)).title()


def _replace_all(node: Element, text: str) -> bool:
    leaves = [(up, at) for up in node.all() for at, child in enumerate(up.children) if isinstance(child, str) and child.strip()]
    if len(leaves) != 1:
        return False
    leaves[0][0].children[leaves[0][1]] = text
    return True


def _shuffle(page: Page) -> None:
    """Give the records another order, among the places where they are."""
    tops = [nodes[0] for nodes in page.records.values() if len(nodes) == 1]
    by_parent: dict[int, list[Element]] = {}
    for top in tops:
        by_parent.setdefault(id(top.parent), []).append(top)
    for group in by_parent.values():
        parent = group[0].parent
        assert parent is not None
        places = [top.position for top in group]
        turned = group[:]
        page.random.shuffle(turned)
        for at, top in zip(places, turned, strict=True):
            parent.children[at] = top
