"""Operations on how the page is written: white space, quotes, end tags, data in scripts."""

from __future__ import annotations

import json
import re

from tests.redesigns.page import Page
from tests.redesigns.registry import operation
from tests.redesigns.tree import Element

_PLAIN = re.compile(r"[^\s\"'=<>`&]+")
_TEXT_BLOCKS = ("td", "li", "div", "p", "h2", "h3", "dd")


@operation("delivery", group="white space")
def minify(page: Page) -> bool:
    """White space between elements goes, attributes are unquoted, optional end tags are left out."""
    for node in page.root.all():
        if node.tag not in ("pre", "textarea", "script", "style"):
            texts = node.children
            node.children = [child if not isinstance(child, str) else re.sub(r"\s+", " ", child) for child in texts
                             if not (isinstance(child, str) and not child.strip() and "\n" in child and node.tag not in ("span", "a", "p", "b"))]
    page.written |= {"quote": lambda value: value if _PLAIN.fullmatch(value) and not value.endswith("/") else f'"{value}"',
                     "omit": frozenset({"tr", "td", "th", "tbody", "dd", "dt"} if page.random.random() < 0.5 else ())}
    return True


@operation("delivery", group="white space")
def prettify(page: Page) -> bool:
    """Every block element begins on a line of its own; texts of blocks have white space around them."""
    for node in page.root.all():
        text = node.children[0] if len(node.children) == 1 else None
        if isinstance(text, str) and text.strip() and node.tag in _TEXT_BLOCKS and not any(up.tag == "pre" for up in node.up()):
            node.children[0] = f"\n        {text.strip()}\n      "
    page.written |= {"indent": True}
    return True


@operation("delivery", group="white space", weight=0.5)
def single_quotes(page: Page) -> bool:
    """Attributes are written in single quotes."""
    page.written |= {"quote": lambda value: f"'{value}'"}
    return True


@operation("delivery", group="data", weight=0.7)
def add_json_ld(page: Page) -> bool:
    """The page also describes its items in JSON-LD."""
    def describe(root: Element, rows: list[dict[str, object]]) -> None:
        data = {"@context": "https://schema.org", "@type": "ItemList", "itemListElement": [
            {"@type": "ListItem", "position": at + 1, "url": row.get(page.link), "name": row.get(page.title)} for at, row in enumerate(rows)]}
        (root.first("head") or root).append(Element("script", "", _script(data), type="application/ld+json"))
    page.after_split.append(describe)
    return True


@operation("delivery", group="data", weight=0.25)
def render_in_browser(page: Page) -> bool:
    """The list is built by a script from JSON in the page; the markup of the records is gone."""
    def move(root: Element, rows: list[dict[str, object]]) -> None:
        data = {"props": {"pageProps": {"items": rows, "total": len(rows)}}, "page": "/list", "buildId": "x7f3"}
        for node in [node for node in root.all() if node.record is not None]:
            node.remove()
        body = root.first("body")
        assert body is not None
        body.insert(0, Element("div", "", id="root"))
        body.append(Element("script", "", _script(data), type="application/json", id="__NEXT_DATA__"))
        body.append(Element("script", "", src="/static/app.3f2a.js"))
    page.after_split.append(move)
    return True


def _script(data: object) -> str:
    return json.dumps(data, ensure_ascii=False).replace("</", "<\\/")
