"""Operations on the links of the records."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from tests.redesigns.page import Page
from tests.redesigns.registry import operation
from tests.redesigns.tree import Element


@operation("links", group="hrefs", weight=2)
def change_hrefs(page: Page) -> bool:
    """Relative links become absolute, or absolute ones relative to the host or to the protocol."""
    form = page.random.choice(("absolute", "path", "protocol"))
    if page.root.first("base") is not None:
        return False
    found = False
    for node in page.root.all():
        href = node.attrs.get("href") if node.tag == "a" else None
        if not href or href[:1] == "#" or (":" in href.split("/")[0] and not href.startswith("http")):
            continue
        whole = urljoin(page.url, href)
        parts = urlsplit(whole)
        same = parts.netloc == urlsplit(page.url).netloc
        new = whole if form == "absolute" or not same else whole.partition(":")[2] if form == "protocol" else (
            whole[len(f"{parts.scheme}://{parts.netloc}"):] or "/")
        found = found or new != href
        node.attrs["href"] = new
    return found


def _link_of(fields: dict[str, tuple[Element, str]], page: Page) -> Element | None:
    node, where = fields.get(page.link, (None, ""))
    return node if node is not None and where == "href" and node.tag == "a" else None


def _plain(anchor: Element, page: Page, tag: str) -> None:
    """Make the link a plain element. It keeps what it shows besides the link."""
    anchor.tag = tag
    for name in ("href", "target", "rel", "hreflang"):
        if name not in (where for field, where in anchor.shows.items() if field != page.link):
            anchor.attrs.pop(name, None)
    del anchor.shows[page.link]


@operation("links", group="link", weight=1.5)
def link_whole_card(page: Page) -> bool:
    """The whole record is one link, and the title a plain text in it."""
    outer = page.random.random() < 0.5
    found = False
    for record, fields in list(page.all_places()):
        tops = page.records[record]
        anchor = _link_of(fields, page)
        if anchor is None or len(tops) > 1 or tops[0].tag in ("tr", "dt", "a", "p", "pre", "span"):
            continue
        href = anchor.attrs["href"] or ""
        top = tops[0]
        for other in list(top.all()):  # there are no links in links
            if other.tag == "a" and other is not anchor:
                other.tag = "span"
                other.attrs.pop("href", None)
                if "href" in other.shows.values():
                    return found
        _plain(anchor, page, "span")
        link = Element("a", "card-link", href=href)
        link.shows[page.link] = "href"
        if outer and top.tag not in ("li", "x-item") and top.parent is not None and top.parent.tag not in ("ul", "ol", "dl", "tbody"):
            top.wrap(link)
            link.record, top.record = top.record, None
        else:
            inner, top.children = top.children, []
            link.become(inner)
            top.append(link)
        found = True
    return found


@operation("links", group="link", weight=1.5)
def link_read_more(page: Page) -> bool:
    """The title is a plain text; a link of its own says "Read more", or covers the record and has no text."""
    form = page.random.choice(("more", "stretched", "button"))
    words = page.random.choice(("Read more", "Details", "View", "Open »"))
    found = False
    for record, fields in list(page.all_places()):
        anchor = _link_of(fields, page)
        top = page.records[record][-1]
        if anchor is None or anchor is top or top.is_value or any(up.tag == "pre" for up in anchor.up()):
            continue
        link = Element("a", "more", href=anchor.attrs["href"] or "")
        if form == "stretched":
            link.attrs |= {"class": "stretched", "aria-label": str(page.rows[record].get(page.title) or "")}
        else:
            link.append(words)
        link.shows[page.link] = "href"
        _plain(anchor, page, page.random.choice(("span",)))
        if top.tag == "tr":
            top.append(Element("td", "", link))
        else:
            top.insert(0 if form == "stretched" else len(top.children), link)
        found = True
    return found


@operation("links", group="link2")
def link_the_image_too(page: Page) -> bool:
    """Each record has a second link to the same page, around an image with the title as its `alt`."""
    found = False
    for record, fields in list(page.all_places()):
        node, where = fields.get(page.link, (None, ""))
        top = page.records[record][0]
        if node is None or where != "href" or top.tag in ("a", "tr", "p", "pre", "span", "dt"):
            continue
        image = Element("img", src=f"/media/{record}.jpg", alt=str(page.rows[record].get(page.title) or ""), loading="lazy")
        top.insert(0, Element("a", "thumb", image, href=node.attrs["href"] or "", tabindex="-1"))
        found = True
    return found
