"""Prepare one field of an item for the mail templates.

The value, or the old and the new value and their difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Any, Literal

from markupsafe import Markup

from pipeline.display.field_diff import LIMIT, Place, Span, places
from pipeline.display.field_text import field_text, safe_link
from pipeline.display.figures import delta_of
from pipeline.display.formats import MANY_ENTRIES, FieldRules, Formatter, Shown, short_url
from pipeline.display.machine_values import is_empty
from pipeline.display.sanitize import plain, sanitised
from pipeline.languages import Wording
from pipeline.model import Json
from pipeline.price import currency_of
from pipeline.text import clean_excerpt, clean_line, direction_of, isolated

MAX_PLACES = 12
_MAX_LINES = 12
_MAX_LINKS = 6
_SHORT = 80
"""A text of at most so many characters is shown as a whole if it replaces a missing value."""
_NONE = "—"
"""Stands for a value that is missing."""
_TRIANGLES = {"up": "▲", "down": "▼"}


@dataclass(frozen=True)
class Detail:
    """The amount of detail with which a mail shows changes.

    items: maximum number of changes of each kind that are shown in full. named: maximum number of changes of each kind that are shown at all: those for
    which there is no room in full are named on one line each. places: maximum number of places that are shown of each changed field. length:
    maximum number of characters of the old text and of the new text of a place.
    """

    items: int
    places: int = MAX_PLACES
    length: int = LIMIT
    named: int = 0


@dataclass(frozen=True)
class FieldView:
    """One field of an item: the value as text or, for a changed field, the places where the value differs.

    name, label: the field's name, and the text that a mail shows for it. link: the URL to which the value links. links: texts and URLs,
    if the value is a list of URLs. html, lines: the value of a field with HTML, as safe HTML and as lines of text. more: text that says
    how many places are not shown; "" if all are shown. old, new: both values of a change that is shown as old → new. delta, percent:
    how much a number changed, with signs, such as "+£0.50" and "+1.6%"; "" for anything else. direction: "up" or "down", or "" if no
    difference is known. tone: "good", "bad" or "neutral". reading: in which direction old and new are read. plain: the places, or else the
    value, as lines of plain text. is_price: whether the value is a number with a currency. told: how the value changed, in words, for a
    value that is no text; "" for any other.
    """

    name: str
    value: str = ""
    link: str = ""
    places: list[Place] = field(default_factory=list)
    html: Markup | None = None
    lines: list[str] = field(default_factory=list)
    more: str = ""
    label: str = ""
    old: str = ""
    new: str = ""
    delta: str = ""
    percent: str = ""
    direction: Literal["up", "down", ""] = ""
    tone: Literal["good", "bad", "neutral"] = "neutral"
    reading: Literal["ltr", "rtl"] = "ltr"
    links: list[tuple[str, str]] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    is_price: bool = False
    told: str = ""

    @property
    def arrow(self) -> str:
        """The arrow from the old to the new value."""
        return "←" if self.reading == "rtl" else "→"

    @property
    def difference(self) -> str:
        """The difference of two numbers, such as "▲ +£0.50 (+1.6%)"; "" if none is known."""
        if not self.direction:
            return ""
        return f"{_TRIANGLES[self.direction]}\N{NO-BREAK SPACE}{isolated(self.delta)}{f' ({self.percent})' if self.percent else ''}"


class FieldViewer:
    """Makes a `FieldView` from the values of a field, in the language and the time zone of a mail."""

    def __init__(self, words: Wording, zone: tzinfo) -> None:
        self._words = words
        self._formatter = Formatter(words, zone)

    def value(self, name: str, value: Json, rules: FieldRules, *, link: str, length: int, on_one_line: bool) -> FieldView | None:
        """Return the view of a value that did not change; None if the value has no visible text.

        link: URL of the item, against which the links of HTML are resolved. length: maximum number of characters of the text.
        """
        label, form = rules.label_of(name), rules.format_of(name)
        if form == "html":
            text = plain(html_source(value))
            view = FieldView(clean_line(name, 40), clean_line(text, length), label=label, plain=[isolated(clean_line(text, length))])
            if text and not on_one_line:
                lines = _lines(text)
                view = replace(view, html=sanitised(html_source(value), base=link), lines=lines, plain=list(map(isolated, lines)))
            return view if text else None
        shown = self._formatter.shown(value, form)
        text = clean_excerpt(shown.text, length)
        if not text:
            return None
        links = [(short_url(each), each) for each in map(safe_link, value)] if (
            rules.formatted and form != "text" and isinstance(value, list) and 0 < len(value) <= _MAX_LINKS and all(map(safe_link, value))) else []
        own = ", ".join(each for _, each in links) or shown.link or isolated(text)
        own_link = shown.link or ("" if rules.formatted else safe_link(value))
        is_price = shown.figure is not None and bool(shown.figure.before or shown.figure.after) and not shown.figure.is_percentage
        return FieldView(clean_line(name, 40), text, own_link, label=label, links=links, plain=[own], is_price=is_price)

    def change(self, name: str, before: Json, after: Json, rules: FieldRules, detail: Detail) -> FieldView:
        """Return the view of a field that changed."""
        form = rules.format_of(name)
        view = FieldView(clean_line(name, 40), label=rules.label_of(name))
        if form == "html":
            return self._places(view, plain(html_source(before)), plain(html_source(after)), detail)
        old, new = (self._shown(value, form) for value in (before, after))
        if form == "date" and old.text == new.text:  # times of the same day
            old, new = (self._shown(value, "datetime") for value in (before, after))
        both = old.text + new.text
        is_typed = all(shown.whole or not shown.text for shown in (old, new))
        if both and (is_typed or (_is_short(both) and "" in (old.text, new.text))):
            return self._whole(view, (before, after), (old, new), rules)
        return self._places(view, *_told_apart(old.link or old.text, new.link or new.text, before, after), detail)

    def _shown(self, value: Json, form: str) -> Shown:
        return Shown("") if is_empty(value) else self._formatter.shown(value, form, entries=MANY_ENTRIES)

    def _whole(self, view: FieldView, values: tuple[Json, Json], shown: tuple[Shown, Shown], rules: FieldRules) -> FieldView:
        """Return the view of a change that is shown as old → new, with the difference if both values are numbers."""
        texts = _told_apart(shown[0].text, shown[1].text, *values)
        if texts[0] == texts[1]:  # for example two times in the same minute, or two URLs with the same beginning
            raw = [clean_line(field_text(value), LIMIT) for value in values]
            texts = (raw[0], raw[1])
        old, new = (clean_line(text, LIMIT) or _NONE for text in texts)
        view = replace(view, old=old, new=new, link=shown[1].link, reading=self._reading(f"{old} {new}", view.label),
                       places=[Place([Span("old", old), Span("new", new)])])
        delta = delta_of(shown[0].figure, shown[1].figure)
        if delta is not None:
            good = rules.display.good_of(view.name)
            amount = delta.amount
            if rules.format_of(view.name) == "size" and shown[0].figure and shown[1].figure:
                amount = self._formatter.size_difference(shown[0].figure.amount, shown[1].figure.amount)
            if shown[1].figure is not None and shown[1].figure.is_percentage:
                amount = self._words.points.format(delta=amount.rstrip(" \u00a0%٪％﹪"))
            view = replace(view, delta=amount, percent=self._formatter.percent(delta.share) if delta.share is not None else "",
                           direction=delta.direction, tone="neutral" if good is None else "good" if good == delta.direction else "bad")
        written = [shown[at].link if shown[at].link and texts[at] != _NONE else each for at, each in enumerate((old, new))]
        line = _old_and_new(written[0], written[1], view)
        is_rtl = "rtl" in (view.reading, direction_of(view.label), self._words.direction)
        difference = isolated(view.difference, "ltr") if is_rtl else view.difference
        return replace(view, plain=[f"{line} {difference}" if delta is not None else line])

    def _places(self, view: FieldView, before: str, after: str, detail: Detail) -> FieldView:
        found, left = places(before, after, most=detail.places, limit=detail.length)
        if not found:
            return replace(view, value=self._words.unseen, plain=[self._words.unseen])
        reading = self._reading("".join(span.text for span in found[0].spans), view.label)
        view = replace(view, places=found, more=self._words.more.format(n=left) if left else "", reading=reading)
        if len(found) == 1 and found[0].whole and len(found[0].spans) == 2:
            view = replace(view, old=found[0].spans[0].text, new=found[0].spans[1].text)
        return replace(view, plain=[_plain_place(place, view) for place in found])

    def _reading(self, text: str, label: str) -> Literal["ltr", "rtl"]:
        found = direction_of(text) or direction_of(label) or self._words.direction
        return "rtl" if found == "rtl" else "ltr"


def html_source(value: Any) -> str:
    """Return the HTML of a field's value. A list of texts is joined."""
    return "\n".join(value) if isinstance(value, list) and all(isinstance(entry, str) for entry in value) else field_text(value)


def _is_short(text: str) -> bool:
    return len(text) <= _SHORT and "\n" not in text.strip()


def _told_apart(old: str, new: str, before: Json, after: Json) -> tuple[str, str]:
    """Return both texts of a change; with the currencies, if both are prices with the same text but different currencies."""
    currencies = currency_of(before), currency_of(after)
    return (old, new) if old != new or currencies[0] == currencies[1] else (f"{old} ({currencies[0]})", f"{new} ({currencies[1]})")


def _plain_place(place: Place, view: FieldView) -> str:
    """Return a place as plain text: old → new, or [-old-]{+new+} within the text."""
    if place.whole and len(place.spans) > 1:
        return _old_and_new(place.spans[0].text, place.spans[1].text, view)
    marks = {"same": "{}", "old": "[-{}-]", "new": "{{+{}+}}"}
    return isolated("".join(marks[span.kind].format(span.text) for span in place.spans))


def _old_and_new(old: str, new: str, view: FieldView) -> str:
    if view.reading == "rtl":
        return isolated(f"{isolated(old, 'auto')} {view.arrow} {isolated(new, 'auto')}", "rtl")
    return f"{isolated(old)} {view.arrow} {isolated(new)}"


def _lines(text: str) -> list[str]:
    """Return the first `_MAX_LINES` lines of a text."""
    found = [clean_line(line, 300) for line in text.split("\n")]
    return found if len(found) <= _MAX_LINES else [*found[:_MAX_LINES], "…"]
