"""Operations that add to the list, or change what is around it."""

from __future__ import annotations

from tests.redesigns.page import Page
from tests.redesigns.registry import operation
from tests.redesigns.tree import Element

_SENTENCES = ("Save on your first order", "Sponsored: try our new app", "Subscribe to the newsletter", "Pinned: rules of this place", "Advertisement",
              "You may also like our podcast", "Members read without adverts")
_MENUS = ("Home", "About", "Contact", "Help", "Imprint", "Privacy", "Jobs", "Press", "Blog", "Status", "Support", "Terms")


@operation("around", weight=1.5)
def interleave_adverts(page: Page) -> bool:
    """Between the records are adverts and pinned rows, in the same kind of element."""
    tops = [nodes[-1] for nodes in page.records.values()]
    like = page.random.random() < 0.5
    found = False
    for at, top in enumerate(tops):
        if at % 4 != 1 or top.parent is None or top.tag in ("dt", "dd", "a", "span"):
            continue
        said = page.random.choice(_SENTENCES)
        tag = top.tag if top.tag != "dl" else "div"
        advert = Element(tag, page.random.choice(("ad", "sponsored", "promo", "pinned")))
        inner = Element("td", "", colspan=str(len(top.elements))) if tag == "tr" else advert
        if inner is not advert:
            advert.append(inner)
        if like:
            inner.append(Element("div", "promo-text", Element("a", "promo-link", said, href=f"https://ads.example/click?id={at}")))
        else:
            inner.append(Element("em", "promo-note", said))
        top.after(advert)
        advert.belongs_to = list(page.records)[at]
        found = True
    return found


@operation("around", weight=1.5)
def add_second_list(page: Page) -> bool:
    """A second list of the same kind shows some of the items again: "Recently viewed", before or after the list."""
    tops = [nodes[0] for nodes in page.records.values() if len(nodes) == 1]
    if len(tops) < 6 or any(top.tag in ("a", "span", "dt") for top in tops):
        return False
    copies = [top.clone(marked=False) for top in page.random.sample(tops, min(4, len(tops) // 4 + 1))]
    outer = {"tr": "table", "li": "ul"}.get(tops[0].tag, "div")
    inner = Element(outer, "recent-list", *copies) if outer != "table" else Element(outer, "recent-list", Element("tbody", "", *copies))
    box = Element(page.random.choice(("aside", "section", "div")), "recent", Element("h3", "", page.random.choice(("Recently viewed", "Recommended for you", "Top of the week"))), inner)
    if page.random.random() < 0.5:
        page.body.insert(0, box)
    else:
        page.body.append(box)
    return True


@operation("around")
def add_hidden_duplicate(page: Page) -> bool:
    """The list is there a second time for small screens, hidden, with the links and titles only."""
    def duplicate(root: Element, rows: list[dict[str, object]]) -> None:
        items = [Element("li", "m-item", Element("a", "m-link", str(row.get(page.title) or ""), href=str(row.get(page.link) or ""))) for row in rows]
        body = root.first("body")
        assert body is not None
        body.insert(0 if first else len(body.children), Element("div", "mobile-only", Element("ul", "m-list", *items), hidden="hidden"))

    first = page.random.random() < 0.5
    page.after_split.append(duplicate)
    return page.title in page.kinds


@operation("around", weight=1.5)
def change_navigation(page: Page) -> bool:
    """The page gets a new header, menu, pagination and footer, with lists of links; old <nav> and <footer> go."""
    tops = {id(up) for top in page.tops for up in top.up()} | {id(node) for top in page.tops for node in top.all()}
    for node in list(page.root.all()):
        if node.tag in ("nav", "footer") and node.parent is not None and id(node) not in tops:
            node.remove()
    words = page.random.sample(_MENUS, 8)
    menu = Element("ul", "menu", *(Element("li", "menu-item", Element("a", "menu-link", word, href=f"/{word.lower()}/")) for word in words))
    crumbs = Element("ol", "crumbs", *(Element("li", "", Element("a", "", word, href=f"/{word.lower()}")) for word in words[:3]))
    header = Element("header", "site-header", Element("form", "search", Element("input", type="search", name="q"), action="/search"), Element("nav", "", menu), crumbs)
    pager = Element("div", "pager", *(Element("a", "page-numbers", str(at), href=f"?page={at}") for at in range(2, 7)), Element("a", "older", "Older →", href="?page=2"))
    footer = Element("footer", "site-footer", *(Element("ul", "", *(Element("li", "", Element("a", "", f"{word} {at}", href=f"/{word.lower()}/{at}")) for word in words))
                                                for at in range(3)), Element("p", "", "© 2026"))
    page.body.insert(0, header)
    page.body.append(pager)
    page.body.append(footer)
    return True


@operation("around")
def add_sidebar(page: Page) -> bool:
    """A sidebar has filters, tags, and a list of texts with prices and dates that are no items."""
    boxes = [Element("div", "widget", Element("h4", "widget-title", word), Element("ul", "", *(
        Element("li", "", Element("label", "", Element("input", type="checkbox"), f"{word} {at}"), " ", Element("span", "count", f"({at * 7 + 3})")) for at in range(5))))
        for word in page.random.sample(_MENUS, 3)]
    offer = Element("div", "widget", Element("p", "", Element("span", "price", "£9.99"), " ", Element("time", "", "1 Jan 2026", datetime="2026-01-01")))
    side = Element("aside", "sidebar", *boxes, offer)
    page.body.insert(0 if page.random.random() < 0.5 else len(page.body.children), side)
    return True


@operation("around")
def add_overlays(page: Page) -> bool:
    """A cookie notice, a log-in form and inline scripts come before the content."""
    page.body.insert(0, Element("div", "consent", Element("h2", "", "We value your privacy"), Element("button", "ok", "Accept"), role="dialog"))
    page.body.insert(1, Element("div", "login-box", Element("form", "", Element("input", type="text", name="user"), Element("input", type="password", name="pw"),
                                                            Element("button", "", "Log in"), action="/login", method="post"), hidden="hidden"))
    page.body.append(Element("script", "", "window.dataLayer = window.dataLayer || []; if (1 < 2 && 3 > 2) dataLayer.push({page: 'list'});"))
    return True
