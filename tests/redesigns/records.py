"""Operations that write the records anew, from their fields, in another layout."""

from __future__ import annotations

from collections.abc import Callable

from tests.redesigns.page import Page
from tests.redesigns.registry import operation
from tests.redesigns.tree import Element

Piece = tuple[str, Element]
Build = Callable[[Page, "Style", int, dict[str, Element]], list[Element]]


class Style:
    """The choices of one redesign: words of classes, the order of the fields, the tag of each field."""

    def __init__(self, page: Page) -> None:
        rng = page.random
        names = [name for name, kind in page.kinds.items() if kind != "url"]
        self.order = rng.sample(names, len(names))
        if rng.random() < 0.6:  # the title comes first most often
            self.order.sort(key=lambda name: page.kinds[name] != "title")
        self.title_tag = rng.choice(("h2", "h3", "h4", "div", "strong", "p", ""))
        self.tags = {name: "time" if page.kinds[name] == "date" and rng.random() < 0.5 else rng.choice(("span", "div", "p", "span")) for name in names}
        base = rng.choice(("item", "card", "entry", "post", "product", "row", "teaser", "x"))
        self.classes = {role: f"{base}-{role}" if rng.random() < 0.7 else "" for role in (
            *names, "list", "record", "body", "meta", "image", "text", "link")}
        self.has_image, self.has_text, self.boxed = rng.random() < 0.4, rng.random() < 0.5, rng.random() < 0.4
        self.header = rng.random() < 0.6


def _pieces(page: Page, style: Style, record: int) -> dict[str, Element] | None:
    """Return a new element for each field of a record. The title contains the link."""
    fields = page.places(record)
    link, where = fields.get(page.link, (None, ""))
    title, title_where = fields.get(page.title, (None, ""))
    if link is None or title is None or where != "href":
        return None
    found: dict[str, Element] = {}
    for name in style.order:
        node, place = fields.get(name, (None, ""))
        if node is None or name == page.title:
            continue
        text = node.line if place == "text" else node.attrs.get(place) or ""
        if page.kinds[name] == "image":
            made = Element("img", style.classes[name], src=text, alt="")
            made.shows[name] = "src"
        elif place == "text" or page.kinds[name] == "text":
            made = Element(style.tags[name], style.classes[name], text)
            made.shows[name] = "text"
        else:
            made = Element(style.tags[name], style.classes[name], node.line, **{place: text})
            made.shows[name] = place
        found[name] = made
    anchor = Element("a", style.classes["link"], href=link.attrs["href"] or "")
    anchor.shows[page.link] = "href"
    text = title.line if title_where == "text" else title.attrs.get(title_where) or ""
    anchor.append(text)
    anchor.shows[page.title] = "text"
    found[page.title] = Element(style.title_tag, style.classes[page.title], anchor) if style.title_tag else anchor
    return found


def _extras(page: Page, style: Style, record: int) -> list[Element]:
    made = []
    if style.has_image:
        made.append(Element("img", style.classes["image"], src=f"/img/{record}.webp", alt="", width="80", height="80"))
    if style.has_text:
        top = page.records[record][0]
        shown = {node.line for node, where in page.places(record).values() if where == "text"}
        rest = " ".join(child.strip() for node in top.all() for child in node.children if isinstance(child, str) and child.strip() and child.strip() not in shown)
        made.append(Element("p", style.classes["text"], rest[:300] or "More in the full article."))
    return made


def _rebuild(page: Page, outer: Element, build: Build) -> bool:
    """Write all records anew and put them into `outer`, in the place of the old list."""
    style = Style(page)
    outer.attrs = {"class": style.classes["list"]} if style.classes["list"] else {}
    new: list[Element] = []
    for record in page.records:
        pieces = _pieces(page, style, record)
        if pieces is None:
            return False
        nodes = build(page, style, record, pieces)
        for node in nodes:
            node.record = record
        new += nodes
    _replace_list(page, outer)
    if outer.tag == "table":
        if style.header:
            outer.append(Element("thead", "", Element("tr", "", *(Element("th", "", name.title()) for name in style.order))))
        outer.append(Element("tbody", "", *new))
    else:
        for node in new:
            outer.append(node)
            outer.append("\n")
    return True


def _replace_list(page: Page, outer: Element) -> None:
    around, tops = page.around, page.tops
    chain = [around, *around.up()]
    old = next((up for up in chain if up.tag in ("table", "ul", "ol", "dl", "p", "pre") and up.tag != "body"), None)
    if old is not None and (old.tag != "table" or len([n for n in old.all() if n.tag == "tr"]) <= len(tops) + 3):
        while old.parent is not None and old.parent.tag in ("p", "span", "a", "h2", "h3"):
            old = old.parent
        old.replace_with(outer)
        return
    first = tops[0]
    while first.parent is not around and first.parent is not None:
        first = first.parent
    if around.tag in ("table", "tbody"):
        table = next(up for up in chain if up.tag == "table")
        table.replace_with(outer)
        return
    first.before(outer)
    for top in tops:
        if top.parent is not None:
            top.remove()


def _body(style: Style, page: Page, record: int, pieces: dict[str, Element]) -> list[Element | str]:
    inside: list[Element] = [pieces[name] for name in style.order if name in pieces]
    extras = _extras(page, style, record)
    if style.boxed:
        title = pieces[page.title]
        inside = [title, Element("div", style.classes["meta"], *(part for part in inside if part is not title))]
    return [part for piece in extras[:1] + inside + extras[1:] for part in (piece, "\n")]


@operation("records", group="layout", weight=2)
def lay_out_as_table(page: Page) -> bool:
    """The records become rows of a table."""
    def build(page: Page, style: Style, record: int, pieces: dict[str, Element]) -> list[Element]:
        row = Element("tr", style.classes["record"])
        for name in style.order:
            cell = Element("td", style.classes[name] if style.boxed else "")
            piece = pieces.get(name)
            if piece is not None:
                if piece.tag in ("span", "div", "p") and style.boxed and not any(child.shows for child in piece.elements):
                    cell.become(piece.children)
                    cell.attrs, cell.shows = piece.attrs | cell.attrs, piece.shows
                else:
                    cell.append(piece)
            row.append(cell)
        return [row]
    return _rebuild(page, Element("table"), build)


@operation("records", group="layout", weight=1.5)
def lay_out_as_list(page: Page) -> bool:
    """The records become <li> of a list."""
    return _rebuild(page, Element(page.random.choice(("ul", "ol"))), lambda page, style, record, pieces: [
        Element("li", style.classes["record"], *_body(style, page, record, pieces))])


@operation("records", group="layout", weight=2)
def lay_out_as_cards(page: Page) -> bool:
    """The records become cards: <div> with a body in it."""
    def build(page: Page, style: Style, record: int, pieces: dict[str, Element]) -> list[Element]:
        return [Element("div", style.classes["record"], Element("div", style.classes["body"], *_body(style, page, record, pieces)))]
    return _rebuild(page, Element("div"), build)


@operation("records", group="layout", weight=1.5)
def lay_out_as_articles(page: Page) -> bool:
    """The records become <article>, or custom elements."""
    tag = page.random.choice(("article", "article", "section", "x-product"))
    return _rebuild(page, Element(page.random.choice(("section", "main", "div"))), lambda page, style, record, pieces: [
        Element(tag, style.classes["record"], *_body(style, page, record, pieces))])


@operation("records", group="layout", weight=0.7)
def lay_out_as_definitions(page: Page) -> bool:
    """The records become a <dl> each, or groups in one <dl>."""
    grouped = page.random.random() < 0.5

    def build(page: Page, style: Style, record: int, pieces: dict[str, Element]) -> list[Element]:
        rest: list[Element | str] = [part for name in style.order if name in pieces and name != page.title for part in (
            Element("dt", "", name.title()), Element("dd", style.classes[name], pieces[name]))]
        parts: list[Element | str] = [Element("dt", "", "Title"), Element("dd", style.classes[page.title], pieces[page.title]), *rest]
        return [Element("div" if grouped else "dl", style.classes["record"], *parts)]
    return _rebuild(page, Element("dl" if grouped else "div"), build)


@operation("records", group="layout", weight=0.3)
def lay_out_as_pairs(page: Page) -> bool:
    """The records become a <dt> and a <dd> each, without an element around them."""
    def build(page: Page, style: Style, record: int, pieces: dict[str, Element]) -> list[Element]:
        rest = [pieces[name] for name in style.order if name in pieces and name != page.title]
        return [Element("dt", style.classes["record"], pieces[page.title]), Element("dd", style.classes["body"], *rest)]
    return _rebuild(page, Element("dl"), build)
