"""How the pages show an item: its title, its link, and its fields, labelled as in digests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

from markupsafe import Markup

from pipeline.model import Change, ChangeKind, Json, PagePicture
from pipeline.price import amount_of, is_price
from pipeline.settings import DisplayTable
from pipeline.text import escape_line

_TITLES = ("title", "name", "headline", "subject", "标题", "名称")
_LINKS = ("url", "link", "href", "链接")
_LONGEST = 300
COLUMNS = 5
"""Maximum number of fields in the table of items; the page of an item has all."""
_WIDTH, _HEIGHT, _PAD = 640, 160, 8
_FROM_ZERO = 0.6
"""If the lowest value is at most this share of the highest, the axis of a chart begins at zero, as in digests."""


@dataclass(frozen=True)
class ShownField:
    """A field of an item. link: the URL to which the text links; "" if it is none. picture: the path of a stored picture of a page; "" if it is none."""

    name: str
    label: str
    text: str
    link: str = ""
    picture: str = ""


@dataclass(frozen=True)
class FieldChart:
    """The chart of a number over time. low, high: texts of the extremes. begin, end: of the first and the last value."""

    label: str
    svg: Markup
    low: str
    high: str
    first: str
    last: str
    begin: datetime
    end: datetime


def safe_link(value: object) -> str:
    """Return `value` if a page may link to it, otherwise "": an http(s) URL without credentials, white space or control characters."""
    if not isinstance(value, str) or len(value) > 2000 or escape_line(value) != value or any(map(str.isspace, value)):
        return ""
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    return value if parts.scheme.lower() in ("http", "https") and parts.hostname and "@" not in parts.netloc else ""


def text_of(value: Json) -> str:
    """Return a value as text: a price as the site writes it, the entries of a list with commas between them, another value as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if is_price(value) and isinstance(value, dict):
        return str(value["text"])
    if isinstance(value, list) and all(not isinstance(each, (list, dict)) or is_price(each) for each in value):
        return ", ".join(map(text_of, value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 10.0**15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


def title_of(data: Mapping[str, Json], key: str) -> str:
    """Return the title of an item: its field title, name, headline or subject, else its first text that is no URL, else its key."""
    by_name = {name.casefold(): value for name, value in data.items()}
    texts = [value for value in (*(by_name.get(name) for name in _TITLES), *data.values())
             if isinstance(value, str) and value.strip() and not value.startswith(("http://", "https://"))]
    return texts[0] if texts else key


def link_of(data: Mapping[str, Json], key: str) -> str:
    """Return the link of an item: its field url, link or href, else its first URL, else its key if that is one; "" if there is none."""
    by_name = {name.casefold(): value for name, value in data.items()}
    return next(filter(None, map(safe_link, (*(by_name.get(name) for name in _LINKS), *data.values(), key))), "")


def fields_of(data: Mapping[str, Json], display: DisplayTable, spider: str) -> list[ShownField]:
    """Return the fields of an item that the settings do not hide, in the order of `show` if it is set."""
    names = [name for name in display.show if name in data] if display.show else [name for name in data if name not in display.hide]
    return [shown_field(name, data[name], display, spider) for name in names]


def label_of(name: str, display: DisplayTable) -> str:
    return display.labels.get(name) or name.replace("_", " ").strip() or name


def shown_field(name: str, value: Json, display: DisplayTable, spider: str) -> ShownField:
    picture = PagePicture.of(value, spider)
    if picture is not None:
        return ShownField(name, label_of(name, display), f"{picture.width} × {picture.height}", picture=f"/pictures/{quote(picture.file)}")
    text = text_of(value)
    return ShownField(name, label_of(name, display), text if len(text) <= _LONGEST else f"{text[:_LONGEST - 1]}…", safe_link(value))


def columns_of(rows: Sequence[Mapping[str, Json]], display: DisplayTable) -> list[str]:
    """Return the names of the fields that are the columns of a table of items: not those that are its titles and links."""
    names = list(dict.fromkeys(name for data in rows for name in data))
    if display.show:
        return [name for name in display.show if name in names][:COLUMNS]
    return [name for name in names if name not in display.hide and name.casefold() not in (*_TITLES, *_LINKS)][:COLUMNS]


def charts_of(history: Sequence[Change], display: DisplayTable) -> list[FieldChart]:
    """Return a chart of each field with numbers that changed. history: the changes of one item, oldest first."""
    names = dict.fromkeys(name for change in history if change.kind is ChangeKind.CHANGED for name in change.fields if name not in display.hide)
    return [chart for name in names if (chart := _chart(history, name, label_of(name, display))) is not None]


def _chart(history: Sequence[Change], name: str, label: str) -> FieldChart | None:
    values: list[tuple[datetime, Json]] = []
    for change in history:
        if not values and change.kind is ChangeKind.CHANGED and amount_of(change.before.get(name)) is not None:
            values.append((change.at, change.before[name]))  # it is unknown since when the item has had this value
        if change.kind is not ChangeKind.GONE and amount_of(change.after.get(name)) is not None:
            values.append((change.at, change.after[name]))
    points = [(at, float(amount)) for at, value in values if (amount := amount_of(value)) is not None]
    if len(points) < 2:
        return None
    low, high = min(values, key=lambda each: _number(each[1])), max(values, key=lambda each: _number(each[1]))
    return FieldChart(label, _svg(points), text_of(low[1]), text_of(high[1]), text_of(values[0][1]), text_of(values[-1][1]), points[0][0], points[-1][0])


def _number(value: Json) -> float:
    return float(amount_of(value) or 0)


def _svg(points: Sequence[tuple[datetime, float]]) -> Markup:
    """Return the paths of a line of steps, because a value stays the same until it changes; the area below is filled if the axis has a zero."""
    begin, span_s = points[0][0], (points[-1][0] - points[0][0]).total_seconds()
    bottom, top = min(value for _, value in points), max(value for _, value in points)
    bottom = 0.0 if 0 <= bottom <= _FROM_ZERO * top else bottom

    def y_of(value: float) -> float:
        return _HEIGHT / 2 if top == bottom else _PAD + (top - value) / (top - bottom) * (_HEIGHT - 2 * _PAD)

    drawn = ""
    for number, (at, value) in enumerate(points):
        share = (at - begin).total_seconds() / span_s if span_s else number / len(points)
        x = _PAD + share * (_WIDTH - 2 * _PAD - 40)  # the last step is extended beyond the time of the last value
        drawn += f"H{x:.1f}V{y_of(value):.1f}" if drawn else f"M{x:.1f} {y_of(value):.1f}"
    drawn += f"H{_WIDTH - _PAD}"
    area = Markup('<path class="area" d="{}V{}H{}Z"/>').format(drawn, f"{y_of(0):.1f}", _PAD) if bottom == 0.0 else Markup("")
    return area + Markup('<path class="line" d="{}"/>').format(drawn)
