"""Operations on how the values of the fields are written."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from pipeline.crawl.extract import prices
from pipeline.numbers import NumberError, number
from tests.redesigns.page import Page, document
from tests.redesigns.registry import operation
from tests.redesigns.tree import Comment, Element

DATE_FORMS = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y-%m-%d", "%a %d %b %Y",
              "%d %b %Y %H:%M", "%Y-%m-%d %H:%M:%S", "%b %d, %Y %I:%M %p")
_NUMBER = re.compile(r"[+-]?\d[\d.,]*")
_MONEY = re.compile(r"(?P<before>[^\d\s-]{0,3}\s?)(?P<whole>\d[\d,. ]*?)(?P<mark>[.,])(?P<cents>\d\d)(?P<after>\s?[^\d\s]{0,3})$")


def shown_text(page: Page, record: int, name: str, fields: dict[str, tuple[Element, str]]) -> tuple[Element, str] | None:
    """Return the element and the text that shows a field.

    Return None if an attribute shows it, if its element shows other fields too, or is in the element of another field.
    """
    node, where = fields.get(name, (None, ""))
    if node is None or where != "text" or not node.line or (node.parent is not None and node.parent.is_value) or any(other.shows for other in node.all() if other is not node):
        return None
    return node, node.line


def _set(node: Element, text: str) -> bool:
    """Write another text where the element's text is in one text node. Return whether it is."""
    leaves = [(up, at) for up in node.all() for at, child in enumerate(up.children) if isinstance(child, str) and child.strip()]
    if len(leaves) != 1:
        return False
    up, at = leaves[0]
    up.children[at] = text
    return True


@operation("texts", weight=2)
def split_texts(page: Page) -> bool:
    """Texts are split by elements: words in <b> or <span>, <wbr>, comments, cents and currency in elements of their own."""
    form = page.random.choice(("first word", "letters", "comment", "nbsp", "wbr"))
    found = False
    for record, fields in page.all_places():
        for name in page.of_kind("title", "text"):
            place = shown_text(page, record, name, fields)
            if place is not None and " " in place[1]:
                found = place[0].change_text(" ", lambda _: _parting(form)) or found
                if form == "first word":
                    _bold_first_word(place[0])
        for name in page.of_kind("price"):
            place = shown_text(page, record, name, fields)
            money = _MONEY.match(place[1]) if place is not None else None
            if place is not None and money is not None and len([c for c in place[0].all() if c.children]) == 1:
                place[0].become([part for part in (
                    Element("span", "sign", money["before"]) if money["before"] else "", Element("b", "whole", money["whole"]), money["mark"],
                    Element("span", "cents", money["cents"]), Element("span", "sign", money["after"]) if money["after"] else "") if part != ""])
                found = True
    return found


def _parting(form: str) -> list[Element | str | Comment]:
    return {"comment": ["", Comment(" "), " "], "nbsp": ["\u00a0"], "wbr": [" ", Element("wbr")]}.get(form, [" "])


def _bold_first_word(node: Element) -> None:
    for up in node.all():
        for at, child in enumerate(up.children):
            if isinstance(child, str) and child.strip():
                word, blank, rest = child.strip().partition(" ")
                if blank:
                    bold = Element("b", "lead", word)
                    bold.parent = up
                    up.children[at:at + 1] = [bold, blank + rest]
                return


@operation("texts", weight=1.5)
def add_labels(page: Page) -> bool:
    """Texts get a label: "Price: £3.20" in one text, or in an element before it."""
    apart = page.random.random() < 0.5
    labels = {name: page.random.choice(_labels(name, page.kinds[name])) for name in page.of_kind("price", "number", "date", "text")}
    if not apart:  # a date with a label in its text is not a date any more
        labels = {name: label for name, label in labels.items() if page.kinds[name] != "date"}
    found = False
    for record, fields in page.all_places():
        for name, label in labels.items():
            place = shown_text(page, record, name, fields)
            if place is None or place[0].record is not None:
                continue
            if apart and place[0].tag in ("td", "dd", "li"):
                held = Element("span", f"{name}-value")
                held.become(place[0].children)
                held.shows, place[0].shows = place[0].shows, {}
                place[0].become([Element("span", "label", label), " ", held])
            elif apart and place[0].parent is not None and place[0].parent.is_value:
                continue
            elif apart:
                place[0].before(Element("span", "label", label))
                place[0].before(" ")
            else:
                place[0].insert(0, f"{label} ")
            found = True
    return found


def _labels(name: str, kind: str) -> tuple[str, ...]:
    return {"price": ("Price:", "Now", "from", "Our price:"), "date": ("Posted", "Date:", "Updated:"), "number": ("Total:", "Count:", f"{name.title()}:"),
            "text": ("by", f"{name.title()}:", "–")}[kind]


@operation("texts", group="formats", weight=1.5)
def change_formats(page: Page) -> bool:
    """Prices, numbers and dates are written in another way that means the same."""
    form = page.random.choice(DATE_FORMS)
    money = page.random.choice(("{amount:,.2f} {code}", "{code} {amount:,.2f}", "{sign}{amount:,.2f}", "{sign} {amount:.2f}", "{amount:.2f} {sign}"))
    thousands = page.random.choice((",", " ", "\u202f", ""))
    found = False
    for record, fields in page.all_places():
        for name in page.of_kind("price", "number", "date"):
            place, value = shown_text(page, record, name, fields), page.rows[record].get(name)
            if place is None or value is None:
                continue
            kind = page.kinds[name]
            new = date_text(str(value), form) if kind == "date" else money_text(value, money, page) if kind == "price" else (
                number_text(place[1], value, thousands))
            if new and new != place[1]:
                found = _set(place[0], new) or found
    return found


def date_text(value: str, form: str) -> str:
    """Return a stored date as a page writes it."""
    return datetime.fromisoformat(value).strftime(form)


def money_text(value: Any, form: str, page: Page) -> str:
    """Return a stored price in another form; "" if that would not be read as the same price."""
    signs = {"GBP": "£", "EUR": "€", "USD": "$"}
    new = form.format(amount=value["amount"], code=value["currency"] or "", sign=signs.get(value["currency"], value["currency"] or "")).strip()
    try:
        read = prices.read_price(new, document(f'<html lang="{page.lang}">', page.url))
    except NumberError:
        return ""
    return new if read and (read["amount"], read["currency"]) == (value["amount"], value["currency"]) else ""


def number_text(text: str, value: float, thousands: str) -> str:
    """Return a text with its number written with another mark of thousands; "" if that would not be read as the same number."""
    if not isinstance(value, int) or len(_NUMBER.findall(text)) != 1:
        return ""
    new = _NUMBER.sub(f"{value:,}".replace(",", thousands), text)
    try:
        return new if number(new) == value else ""
    except NumberError:
        return ""


@operation("texts", group="attributes", weight=1.5)
def move_to_attributes(page: Page) -> bool:
    """Values move to attributes; the text is shortened, made friendly, or stays beside."""
    of_title = page.random.random() < 0.5
    found = False
    for record, fields in page.all_places():
        for name, kind in page.kinds.items():
            place, value = shown_text(page, record, name, fields), page.rows[record].get(name)
            if place is None or value is None:
                continue
            node, text = place
            if kind == "title" and of_title:
                done, attr, full = _set(node, text[:10].rstrip() + "…" if len(text) > 12 else text), "title", str(value)
            elif kind == "date":
                done, attr, full = _set(node, f"{record % 27 + 2} days ago"), "datetime", str(value)
                node.tag = "time" if done and node.tag in ("span", "small", "div", "i", "em", "b", "p") else node.tag
            elif kind == "price":
                done, attr, full = True, "data-price", f"{value['amount']:.2f}"
            elif kind == "text" and not of_title:
                done, attr, full = _set(node, "".join(word[0] for word in text.split()[:2]).upper()), "aria-label", text
            else:
                continue
            if done:
                node.attrs[attr] = full
                if kind != "price":  # a price stays in the text too
                    node.shows[name] = attr
                found = True
    return found


@operation("texts", group="attributes")
def move_from_attributes(page: Page) -> bool:
    """Values in attributes, other than links, become texts."""
    form = page.random.choice(DATE_FORMS)
    found = False
    for record, fields in page.all_places():
        for name, kind in page.kinds.items():
            node, where = fields.get(name, (None, "text"))
            value = page.rows[record].get(name)
            if node is None or value is None or where in ("text", "href", "src", "class") or node.is_value or node.tag in ("img", "meta", "input") or any(
                    other.shows for other in node.all() if other is not node):
                continue
            if kind not in ("title", "date", "text"):
                continue
            node.become([date_text(str(value), form) if kind == "date" else str(value)])
            del node.attrs[where]
            node.shows[name] = "text"
            found = True
    return found


@operation("texts")
def repeat_titles(page: Page) -> bool:
    """The title is also in an attribute of its element, or in the label of a button."""
    form = page.random.choice(("title", "aria-label", "button"))
    found = False
    for record, fields in page.all_places():
        place, title = shown_text(page, record, page.title, fields), page.rows[record].get(page.title)
        if place is None or title is None:
            continue
        top = page.records[record][-1]
        if form != "button":
            place[0].attrs[form] = str(title) if form == "title" else f"Read about {title}"
        else:
            if top.tag in ("a", "p", "h2", "h3", "pre") or top.is_value:
                continue
            button = Element("button", "save", "Save", type="button", title=f"Save {title}")
            top.append(Element("td", "", button) if top.tag == "tr" else button)
        found = True
    return found
