"""Prepare one item for the mail templates: title, link, and all fields or only the changed fields."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from markupsafe import Markup

from pipeline.languages import Wording
from pipeline.mail.field_text import field_text, safe_link
from pipeline.mail.render.charts import Chart
from pipeline.mail.render.field_diff import LIMIT, Place, places
from pipeline.mail.render.sanitize import plain, sanitised
from pipeline.model import Change, ChangeKind
from pipeline.price import currency_of
from pipeline.text import clean_line

_TITLES = ("title", "name", "headline", "subject", "标题", "名称")
_LINKS = ("url", "link", "href", "链接")
_MAX_PLACES = 12
_MAX_LINES = 12
_COMPACT_LENGTH = 80
_MAX_FIELDS = {ChangeKind.NEW: 6, ChangeKind.BACK: 6, ChangeKind.CHANGED: 10, ChangeKind.GONE: 2}


@dataclass(frozen=True)
class Detail:
    """The amount of detail with which a mail shows changes.

    items: maximum number of changes of each kind. places: maximum number of places that are shown of each changed field. length:
    maximum number of characters of the old text and of the new text of a place.
    """

    items: int
    places: int = _MAX_PLACES
    length: int = LIMIT


@dataclass(frozen=True)
class FieldView:
    """One field of an item: the value as text or, for a changed field, the places where the value differs.

    html, lines: the value of a field of type "html", as safe HTML and as lines of text. more: text that says how many places are not
    shown; "" if all are shown.
    """

    name: str
    value: str = ""
    link: str = ""
    places: list[Place] = field(default_factory=list)
    html: Markup | None = None
    lines: list[str] = field(default_factory=list)
    more: str = ""


@dataclass(frozen=True)
class ItemView:
    """One item, in the form in which a mail shows it.

    spider: the spider's name to show; "" if the digest has only one spider. compact: whether all fields are shown on one line.
    """

    title: str
    link: str
    spider: str
    fields: list[FieldView]
    charts: Sequence[Chart] = ()
    compact: bool = False


@dataclass(frozen=True)
class ItemViewer:
    """Makes an `ItemView` from a change.

    html_fields: maps each spider to the names of its fields that contain HTML. show_spider: whether items show the name of their
    spider; True if the digest has several spiders. compact_kinds: the kinds of change whose items are shown on one line each, because
    there are many.
    """

    words: Wording
    html_fields: Mapping[str, Collection[str]]
    show_spider: bool
    compact_kinds: Collection[ChangeKind]

    def item(self, change: Change, charts: Sequence[Chart], detail: Detail) -> ItemView:
        title, link = self.title(change), link_of(_data(change), change.key)
        compact = change.kind in self.compact_kinds
        fields = self._changed_fields(change, detail) if change.kind is ChangeKind.CHANGED \
            else self._plain_fields(change, title, link, compact=compact)
        shown = 0 if compact and change.kind is ChangeKind.GONE else _MAX_FIELDS[change.kind]
        return ItemView(clean_line(title, 160) or clean_line(change.key, 160) or "—", link,
                        change.spider if self.show_spider else "", fields[:shown], charts, compact)

    def title(self, change: Change) -> str:
        return title_of({name: self._text(change, name, value) if isinstance(value, str) else value
                         for name, value in _data(change).items()}, change.key)

    def _text(self, change: Change, name: str, value: Any) -> str:
        """Return a field's value as text. For a field with HTML, this is the text that a browser would show."""
        text = "\n".join(value) if self._is_html(change, name) and _is_texts(value) else field_text(value)
        return plain(text) if self._is_html(change, name) else text

    def _texts(self, change: Change, name: str) -> tuple[str, str]:
        """Return the text of a field before and after the change.

        If both are prices with the same text but different currencies, the texts include the currencies.
        """
        before, after = (self._text(change, name, data.get(name)) for data in (change.before, change.after))
        old, new = currency_of(change.before.get(name)), currency_of(change.after.get(name))
        return (before, after) if before != after or old == new else (f"{before} ({old})", f"{after} ({new})")

    def _is_html(self, change: Change, name: str) -> bool:
        return name in self.html_fields.get(change.spider, ())

    def _changed_fields(self, change: Change, detail: Detail) -> list[FieldView]:
        views = []
        for name in change.fields[:_MAX_FIELDS[ChangeKind.CHANGED]]:
            found, left = places(*self._texts(change, name), most=detail.places, limit=detail.length)
            views.append(FieldView(clean_line(name, 40), places=found, value="" if found else self.words.unseen,
                                   more=self.words.more.format(n=left) if left else ""))
        return views

    def _plain_fields(self, change: Change, title: str, link: str, *, compact: bool) -> list[FieldView]:
        """Return the fields of a new, returned or gone item.

        Empty fields are left out, and so are fields that only repeat the title or the link.
        """
        views = []
        for name, value in _data(change).items():
            whole = self._text(change, name, value)
            text, own_link = clean_line(whole, _COMPACT_LENGTH if compact else 140), safe_link(value)
            if text and whole != title and (not link or own_link != link):
                view = FieldView(clean_line(name, 40), text, own_link)
                if self._is_html(change, name) and not compact:
                    markup = "\n".join(value) if _is_texts(value) else field_text(value)
                    view = replace(view, html=sanitised(markup, base=link), lines=_lines(whole))
                views.append(view)
        return views


def title_of(data: Mapping[str, Any], key: str) -> str:
    """Return the title of an item.

    The title is the value of the field title, name, headline or subject. If the item has none of these fields, the title is the first
    value that is a text but not a URL. If there is no such value either, the title is the item's key.
    """
    by_name = {name.casefold(): value for name, value in data.items()}
    for value in [by_name.get(name) for name in _TITLES] + list(data.values()):
        if isinstance(value, str) and value.strip() and not value.startswith(("http://", "https://")):
            return value
    return key


def link_of(data: Mapping[str, Any], key: str) -> str:
    """Return the link of an item, or "" if the item has no link.

    The link is the value of the field url, link or href. If the item has none of these fields, the link is the first value that is a
    URL. If no value is a URL, the link is the item's key, provided that the key is a URL.
    """
    by_name = {name.casefold(): value for name, value in data.items()}
    candidates = [by_name.get(name) for name in _LINKS] + list(data.values()) + [key]
    return next((link for link in map(safe_link, candidates) if link), "")


def _lines(text: str) -> list[str]:
    """Return the first `_MAX_LINES` lines of a text."""
    found = [clean_line(line, 300) for line in text.split("\n")]
    return found if len(found) <= _MAX_LINES else [*found[:_MAX_LINES], "…"]


def _data(change: Change) -> dict[str, Any]:
    """Return the fields of an item after a change or, if the item is gone, its fields before the change."""
    return change.before if change.kind is ChangeKind.GONE else change.after


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)
