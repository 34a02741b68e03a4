"""A change as the language model is shown it, without URLs, secrets, personal data and hidden fields."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import ref

from pipeline.ai.personal_data import PersonalDataMask
from pipeline.ai.prompt import Record
from pipeline.display.field_diff import places
from pipeline.display.field_text import field_text
from pipeline.display.item_fields import data_of, title_of
from pipeline.display.sanitize import plain
from pipeline.model import PICTURE, Change, ChangeKind
from pipeline.settings import DigestTable, DisplayTable, Settings, SpiderTable
from pipeline.settings.masking import Mask
from pipeline.text import clean_line, clean_text

__all__ = ["MAX_CHARACTERS", "ChangeText", "Record", "never_sent", "shown_display"]

MAX_CHARACTERS = 1500
"""The maximum length of a change."""
_KEPT_TEXTS = 500
"""How many texts are kept: a change is first identified by the fingerprint of its text, and then sent."""
_MAX_FIELD = 400
_MAX_TITLE = 200
_MAX_READ = 20_000
"""How much of a field is read. The rest would be cut anyway."""
_MAX_FIELDS = 20
_MAX_NAME = 60
_SHORT = 120
_MAX_PLACES = 5
_MAX_PLACE = 240
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]{1,20}:)?//[^\s<>\"']+|\bwww\.[^\s<>\"']+"
                  r"|(?<![\w.@-])(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?::\d{1,5})?/[^\s<>\"'?]{0,2000}\?[^\s<>\"']+", re.IGNORECASE)
"""URLs, also without a scheme if they have a query, which may have a token."""
_URL_FIELDS = ("url", "feed")
"""Fields that contain a URL in the items of built-in spiders, unless [spiders.NAME.items] declares the fields."""
_GAPS = re.compile(r"[^\S\n]{2,}")
_TAG = re.compile(r"<[a-zA-Z!/][^<>]*>")


class ChangeText:
    """Writes changes for the language model. table: the digest that reports them."""

    def __init__(self, settings: Settings, table: DigestTable) -> None:
        self._settings = settings
        self._table = table
        self._secrets = Mask.of(settings)
        ai = settings.ai
        self._personal = PersonalDataMask(ai.mask, ai.mask_patterns) if ai is not None else PersonalDataMask(())
        self._displays: dict[str, DisplayTable] = {}
        self._unsent = {name: never_sent(spider) for name, spider in settings.spiders.items()}
        self._texts: OrderedDict[int, tuple[ref[Change], str]] = OrderedDict()

    def of(self, change: Change, number: int) -> Record:
        """Return the record of a change. number: the number by which the answer refers to it."""
        return Record(number, self.text(change))

    def text(self, change: Change) -> str:
        """Return a change as text: a line with its kind, spider and title, and a line for each field; at most MAX_CHARACTERS characters."""
        known = self._texts.get(change.id)
        if known is not None and known[0]() is change:
            return known[1]
        text = self._written(change)
        self._texts[change.id] = (ref(change), text)
        if len(self._texts) > _KEPT_TEXTS:
            self._texts.popitem(last=False)
        return text

    def _written(self, change: Change) -> str:
        display = self._display(change.spider)
        data = {name: value for name, value in data_of(change).items() if _is_shown(name, display)}
        title = self._clean(title_of(data, self._key(change, display)), _MAX_TITLE)
        lines = [f"{change.kind.value} ({change.spider}): {title}"]
        if change.kind is ChangeKind.CHANGED:
            lines += self._changed(change, display)
            lines += self._unchanged(change, title, display)
        else:
            lines += self._plain(change, data, title, display)
        text = "\n".join(lines)
        return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS - 1] + "…"

    def _display(self, spider: str) -> DisplayTable:
        if spider not in self._displays:
            self._displays[spider] = shown_display(self._settings, self._table, spider)
        return self._displays[spider]

    @staticmethod
    def _key(change: Change, display: DisplayTable) -> str:
        """Return the key of an item; "" if it is the value of a field that is not shown."""
        hidden = (value for name, value in data_of(change).items() if not _is_shown(name, display))
        return "" if any(field_text(value) == change.key for value in hidden) else change.key

    def _changed(self, change: Change, display: DisplayTable) -> Iterator[str]:
        names = _in_order([name for name in change.fields if _is_shown(name, display)], display)
        for name in names[:_MAX_FIELDS]:
            before, after = (self._masked(change, name, data.get(name)) for data in (change.before, change.after))
            if before == after:
                yield f"{self._clean(name, _MAX_NAME)}: (changed)"
            elif max(len(before), len(after)) <= _SHORT:
                yield f"{self._clean(name, _MAX_NAME)}: {self._line(before) or '(nothing)'} -> {self._line(after) or '(nothing)'}"
            else:
                yield f"{self._clean(name, _MAX_NAME)}:"
                for place in places(before, after, most=_MAX_PLACES, limit=_MAX_PLACE)[0]:
                    yield from (f"  {sign} {text}" for sign, kind in (("-", "old"), ("+", "new"))
                                if (text := self._line("".join(span.text for span in place.spans if span.kind in ("same", kind)))))

    def _unchanged(self, change: Change, title: str, display: DisplayTable) -> Iterator[str]:
        """Yield the other fields in short. A condition may be about them: "a flat in Berlin gets cheaper"."""
        changed = set(change.fields)
        names = _in_order([name for name in change.after if name not in changed and _is_shown(name, display)], display)
        for name in names[:_MAX_FIELDS]:
            value = self._line(self._masked(change, name, change.after[name]), _SHORT)
            if value and value != title:
                yield f"{self._clean(name, _MAX_NAME)}: {value} (as before)"

    def _plain(self, change: Change, data: Mapping[str, Any], title: str, display: DisplayTable) -> Iterator[str]:
        for name in _in_order(list(data), display)[:_MAX_FIELDS]:
            value = self._line(self._masked(change, name, data[name]), _MAX_FIELD)
            if value and value != title:
                yield f"{self._clean(name, _MAX_NAME)}: {value}"

    def _masked(self, change: Change, name: str, value: Any) -> str:
        """Return the value of a field without URLs, secrets and personal data; "" if it is a URL or a picture. Line ends remain."""
        if name in self._unsent.get(change.spider, ()) or (isinstance(value, dict) and "file" in value):
            return ""
        text = field_text(value)[:_MAX_READ]
        return self._hidden(_GAPS.sub(" ", plain(text) if _TAG.search(text) else clean_text(text))).strip()

    def _hidden(self, text: str) -> str:
        return self._personal(self._secrets(_URL.sub(" ", self._secrets(text))))

    def _line(self, text: str, limit: int = 0) -> str:
        """Return masked text on one line. A number that was written on two lines, or with wide gaps, is one only now."""
        line = clean_line(text)
        return clean_line(self._hidden(line) if line != text else line, limit)

    def _clean(self, text: str, limit: int) -> str:
        """Return text on one line. What is hidden is hidden before the text is cut."""
        return clean_line(self._hidden(clean_line(text[:_MAX_READ])), limit)


def shown_display(settings: Settings, table: DigestTable, spider: str) -> DisplayTable:
    """Return which fields of a spider a digest shows. What the spider or the digest hides is hidden, whatever the other one says."""
    found = settings.spiders.get(spider)
    own = found.display if found is not None else DisplayTable()
    merged = table.over(own)
    return merged.model_copy(update={"hide": tuple(dict.fromkeys([*own.hide, *table.hide]))})


def never_sent(spider: SpiderTable | None) -> frozenset[str]:
    """Return the fields of a spider whose values are never sent, whatever the digest shows: pictures, and fields that contain a URL by their rule."""
    if spider is None:
        return frozenset((PICTURE,))
    rules = spider.items.all_fields if spider.items is not None else {}
    urls = [name for name, rule in rules.items() if rule.is_url or (rule.page == "url" and not rule.regex)] if rules or not spider.is_built_in else _URL_FIELDS
    return frozenset((PICTURE, *urls))


def _is_shown(name: str, display: DisplayTable) -> bool:
    return name not in display.hide and name != PICTURE and (not display.show or name in display.show)


def _in_order(names: list[str], display: DisplayTable) -> list[str]:
    """Return the names of fields in the order of `show` if it is set."""
    return [name for name in dict.fromkeys(display.show) if name in names] if display.show else names
