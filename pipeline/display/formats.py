"""Write field values for people.

Prices, numbers, dates, sizes, links, records and lists, by the format or by the value itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from decimal import ROUND_DOWN, Decimal
from urllib.parse import unquote, urlsplit

from babel.numbers import format_decimal, format_percent, get_decimal_symbol, get_group_symbol

from pipeline.display import dates
from pipeline.display.field_text import field_text, safe_link
from pipeline.display.figures import Figure, figure_of
from pipeline.languages import Wording, figures
from pipeline.languages.phrase import locale_of
from pipeline.model import Json
from pipeline.price import is_price
from pipeline.settings import DisplayTable, SpiderTable
from pipeline.text import clean_line

_BY_TYPE = {"number": "number", "price": "price", "date": "moment", "url": "link", "html": "html"}
_GROUPED_FROM = 10_000
"""Numbers from this one on get separators of thousands: a year needs none."""
_LINK_LENGTH = 60
_MAX_ENTRIES = 30
MANY_ENTRIES = 2000
"""Maximum number of entries of a list or record that are compared with those of another one."""
_MAX_DEPTH = 4


@dataclass(frozen=True)
class FieldRules:
    """How the fields of the items of one spider are shown.

    types: the declared types of the fields, by name. display: the settings for the fields. sources: the URLs with which the spider
    starts. formatted: False to show every value as it is stored.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    display: DisplayTable = field(default_factory=DisplayTable)
    sources: Collection[str] = ()
    formatted: bool = True

    def format_of(self, name: str) -> str:
        """Return the format of a field: one of the settings, "moment" for a date or time, or "auto" if the value decides."""
        if not self.formatted:
            return "html" if self.types.get(name) == "html" else "text"
        given = self.display.formats.get(name, "auto")
        return given if given != "auto" else _BY_TYPE.get(self.types.get(name, ""), "auto")

    def label_of(self, name: str) -> str:
        return clean_line(self.display.labels.get(name) or name.replace("_", " ").strip() or name, 40)


def rules_of(spider: SpiderTable, display: DisplayTable, *, formatted: bool = True) -> FieldRules:
    """Return how the fields of a spider are shown. formatted: False to show all values as they are stored."""
    fields = spider.items.all_fields if spider.items is not None and formatted else {}
    types = {name: "records" if rule.fields else rule.type for name, rule in fields.items()}
    return FieldRules(types, display, frozenset(start.url for start in spider.start), formatted)


@dataclass(frozen=True)
class Shown:
    """A field's value as a mail shows it.

    text: the value for people. link: the URL to which the text links; "" if the value is no link. figure: the number of the value;
    None if it has none. whole: whether a change of the value is shown as old → new, and not word by word.
    """

    text: str
    link: str = ""
    figure: Figure | None = None
    whole: bool = False


class Formatter:
    """Writes field values in the language and the time zone of a mail."""

    def __init__(self, words: Wording, zone: tzinfo) -> None:
        self._words = words
        self._zone = zone
        self._writers: dict[str, Callable[[Json], Shown | None]] = {
            "price": self._price, "number": self._number, "percent": self._percent, "share": self._share, "date": self._date,
            "datetime": self._moment, "moment": self._moment, "size": self._size, "link": self._link, "image": self._link}

    def shown(self, value: Json, form: str, *, entries: int = _MAX_ENTRIES) -> Shown:
        """Return a value in a format. A value that does not have the format is shown as its kind of value is by default.

        form: as FieldRules.format_of returns it. HTML is the caller's part: here it is text. entries: maximum number of entries of a
        list or a record.
        """
        if form in ("text", "html"):
            return Shown(field_text(value))
        written = self._writers[form](value) if form in self._writers else None
        return written or self._value(value, entries) or Shown(field_text(value))

    def percent(self, share: Decimal) -> str:
        """Return a change as a percentage with its sign, such as "+1.6%"; "" if it rounds to nothing."""
        places = Decimal("0.001") if abs(share) < Decimal("0.1") else Decimal("0.01")
        rounded = abs(share).quantize(places) if abs(share) < 10**6 else abs(share).to_integral_value()
        if -1 < share < Decimal("-0.99"):  # only a number that fell to zero fell by 100%
            rounded = abs(share).quantize(Decimal("0.0001"), ROUND_DOWN)
        if not rounded:
            return ""
        return f"{'+' if share > 0 else '−'}{format_percent(rounded, locale=locale_of(self._words.lang), decimal_quantization=False)}"

    def size_difference(self, old: Decimal, new: Decimal) -> str:
        return f"{'+' if new > old else '−'}{self._bytes(abs(new - old))}"

    # Formats

    def _price(self, value: Json) -> Shown | None:
        figure = figure_of(value, strict=False)
        return None if figure is None or isinstance(value, (int, float)) else Shown(clean_line(field_text(value)), figure=figure, whole=True)

    def _number(self, value: Json) -> Shown | None:
        if isinstance(value, (int, float)):
            return self._plain_number(value, grouped=abs(value) >= _GROUPED_FROM)
        return self._price(value)

    def _percent(self, value: Json) -> Shown | None:
        return self._percentage(value, 1)

    def _share(self, value: Json) -> Shown | None:
        return self._percentage(value, 100)

    def _percentage(self, value: Json, factor: int) -> Shown | None:
        figure = figure_of(value, strict=False)
        if figure is None or figure.unit:
            return self._price(value)
        amount, locale = figure.amount * factor, locale_of(self._words.lang)
        text = format_percent(amount / 100, locale=locale, decimal_quantization=False)
        sign = re.split(r".*\d", text)[-1]
        decimals = max(0, -int(amount.normalize().as_tuple().exponent))
        return Shown(text, figure=Figure(amount, "%", after=sign, decimals=decimals, mark=get_decimal_symbol(locale)), whole=True)

    def _date(self, value: Json) -> Shown | None:
        return self._moment(value, day_only=True)

    def _moment(self, value: Json, *, day_only: bool = False) -> Shown | None:
        moment = dates.moment_of(value)
        return None if moment is None else Shown(dates.written(moment, self._words.lang, self._zone, day_only=day_only), whole=True)

    def _size(self, value: Json) -> Shown | None:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value.strip()):
            value = int(value)
        figure = figure_of(value, strict=False) if isinstance(value, (int, float)) else None
        return None if figure is None else Shown(self._bytes(figure.amount), figure=Figure(figure.amount, "B"), whole=True)

    def _bytes(self, amount: Decimal) -> str:
        return figures.size(float(amount), self._words.lang)

    def _link(self, value: Json) -> Shown | None:
        link = safe_link(value)
        return Shown(short_url(link), link=link, whole=True) if link else None

    # Values without a format

    def _value(self, value: Json, most: int, depth: int = 0) -> Shown | None:
        """Return a value as its kind of value is shown by default."""
        if isinstance(value, bool):
            return Shown(str(self._words.yes if value else self._words.no), whole=True)
        if isinstance(value, (int, float)):
            return self._plain_number(value, grouped=False)
        if is_price(value):
            return self._price(value)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, (list, dict)) and value and depth < _MAX_DEPTH:
            return Shown(self._entries(value, most, depth))
        return Shown("") if value in (None, [], {}) else None

    def _text(self, value: str) -> Shown:
        moment = dates.machine_moment(value)
        if moment is not None:
            return Shown(dates.written(moment, self._words.lang, self._zone), whole=True)
        figure = figure_of(value, strict=True)
        if figure is not None:
            return Shown(clean_line(value), figure=figure, whole=True)
        return self._link(value) or Shown(value)

    def _plain_number(self, value: float, *, grouped: bool) -> Shown | None:
        figure = figure_of(value, strict=False)
        if figure is None:
            return None
        locale = locale_of(self._words.lang)
        text = format_decimal(figure.amount, locale=locale, decimal_quantization=False, group_separator=grouped)
        style = Figure(figure.amount, "", decimals=figure.decimals if figure.amount % 1 else 0, mark=get_decimal_symbol(locale),
                       group=get_group_symbol(locale) if grouped else "")
        return Shown(text, figure=style, whole=True)

    def _entries(self, value: list[Json] | dict[str, Json], most: int, depth: int) -> str:
        """Return a list or a record as text, such as "size: 12, colour: red". Empty entries are left out."""
        pairs = [(f"{clean_line(name.replace('_', ' '), 40)}{self._words.colon}", entry) for name, entry in value.items()] if isinstance(value, dict) else [
            ("", entry) for entry in value]
        texts = [(name, found.text if (found := self._value(entry, most, depth + 1)) is not None else field_text(entry))
                 for name, entry in pairs[:most]]
        shown = [f"{name}{text}" for name, text in texts if text.strip()]
        is_nested = any(isinstance(entry, (dict, list)) and not is_price(entry) for _, entry in pairs)
        text = ("; " if is_nested else str(self._words.comma)).join(shown)
        return self._words.more_of.format(entries=text, n=len(pairs) - most) if len(pairs) > most else text


def short_url(link: str) -> str:
    """Return a URL for people: the host without www., and the path without its end if it is long."""
    parts = urlsplit(link)
    host = (parts.hostname or "").removeprefix("www.")
    port = f":{parts.port}" if parts.port else ""
    path = clean_line(unquote(parts.path).rstrip("/") + (f"?{unquote(parts.query)}" if parts.query else ""))
    room = max(12, _LINK_LENGTH - len(host + port))
    if len(path) > room:
        last = path.rpartition("/")[2]
        path = f"/…/{last}" if "/" in path[1:] and len(last) <= room - 4 else f"{path[:room - 1]}…"
    return f"{host}{port}{path}"
