"""Choose the fields of an item that people see, and its title and link: for mails and pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import cached_property
from typing import Any

from pipeline.display.dates import machine_moment
from pipeline.display.field_text import field_text, safe_link
from pipeline.display.field_view import Detail, FieldView, FieldViewer, html_source
from pipeline.display.figures import figure_of
from pipeline.display.formats import FieldRules, short_url
from pipeline.display.machine_values import is_empty, is_for_machines
from pipeline.display.page_picture_text import pair_of, picture_text
from pipeline.display.sanitize import plain
from pipeline.languages import Wording
from pipeline.model import PICTURE, Change, ChangeKind, PagePicture
from pipeline.settings import DisplayTable

TITLES = ("title", "name", "headline", "subject", "标题", "名称")
LINKS = ("url", "link", "href", "链接")
_LENGTH, _COMPACT_LENGTH = 140, 80
_MAX_FIELDS = {ChangeKind.NEW: 6, ChangeKind.BACK: 6, ChangeKind.CHANGED: 10, ChangeKind.GONE: 2}
_MAX_CHOSEN = 20
"""Maximum number of fields of an item that is shown if the settings choose the fields."""
_MAX_NAMED = 12
_NO_RULES = FieldRules()



@dataclass(frozen=True)
class ItemFields:
    """Chooses and writes the fields of items. rules: by spider, how its fields are shown."""

    words: Wording
    rules: Mapping[str, FieldRules] = field(default_factory=dict)
    zone: tzinfo = UTC

    @cached_property
    def _fields(self) -> FieldViewer:
        return FieldViewer(self.words, self.zone)

    def title(self, change: Change) -> str:
        display = self._rules_of(change).display
        return title_of({name: self._text(change, name, value) if isinstance(value, str) else value
                         for name, value in visible(data_of(change), display).items()}, visible_key(change, display))

    def _rules_of(self, change: Change) -> FieldRules:
        return self.rules.get(change.spider, _NO_RULES)

    def _text(self, change: Change, name: str, value: Any) -> str:
        """Return a field's value as text. For a field with HTML, this is the text that a browser would show."""
        return plain(html_source(value)) if self._rules_of(change).format_of(name) == "html" else field_text(value)

    def changed_fields(self, change: Change, detail: Detail) -> list[FieldView]:
        """Return the changed fields that the mail shows, and at the end one view that names those that it does not show.

        The names of hidden fields are given only if nothing else changed.
        """
        rules = self._rules_of(change)
        visible = _chosen(change.fields, rules)
        most = _MAX_CHOSEN if rules.display.show else _MAX_FIELDS[ChangeKind.CHANGED]
        views = [self._changed_field(change, name, rules, detail) for name in visible[:most]]
        unseen = visible[most:] if visible else change.fields
        if unseen:
            views.append(self._named(self.words.other_fields if visible else self.words.headings["changed"].lower(), unseen, rules))
        return views

    def _changed_field(self, change: Change, name: str, rules: FieldRules, detail: Detail) -> FieldView:
        before, after = pair_of(change) if name == PICTURE else (None, None)
        if after is None:
            return self._fields.change(name, change.before.get(name), change.after.get(name), rules, detail)
        text = picture_text(before, after, self.words)
        return FieldView(name, text, label=rules.label_of(name), plain=[text], told=picture_text(before, after, self.words, places=0))

    def plain_fields(self, change: Change, title: str, link: str, *, compact: bool, length: int = 0) -> list[FieldView]:
        """Return the fields of a new, returned or gone item; for an item with many fields, the names of the others at the end.

        Left out are fields with empty values, fields that only repeat the title or the link and, unless the settings choose them, values
        that are meant for machines.

        length: maximum number of characters of a value; 0 for as many as usual.
        """
        rules, data = self._rules_of(change), data_of(change)

        def is_shown(name: str) -> bool:
            value = data[name]
            if is_empty(value) or (name == PICTURE and PagePicture.of(value, change.spider) is not None) or self._text(change, name, value) == title or (link and safe_link(value) == link):
                return False
            return not rules.formatted or _is_chosen(name, rules) or not is_for_machines(name, value, sources=rules.sources)

        is_gone = change.kind is ChangeKind.GONE
        most = 0 if compact and is_gone else _MAX_CHOSEN if rules.display.show else _MAX_FIELDS[change.kind]
        names = list(filter(is_shown, _chosen(data, rules))) if most else []
        length = length or (_COMPACT_LENGTH if compact else _LENGTH)
        views = [self._fields.value(name, data[name], rules, link=link, length=length, on_one_line=compact) for name in names[:most]]
        found = [view for view in views if view is not None]
        return [*found, self._named(self.words.left_out, names[most:], rules)] if names[most:] and not (compact or is_gone) else found

    def _named(self, label: str, fields: Sequence[str], rules: FieldRules) -> FieldView:
        """Return a view that names fields whose values the mail does not show."""
        text = self.words.comma.join(rules.label_of(name) for name in fields[:_MAX_NAMED])
        if len(fields) > _MAX_NAMED:
            text = self.words.more_of.format(entries=text, n=len(fields) - _MAX_NAMED)
        return FieldView(label, text, label=label, plain=[text])


def _chosen(names: Iterable[str], rules: FieldRules) -> list[str]:
    """Return the names of the fields that the settings do not hide, in the order of `show` if it is set."""
    display = rules.display
    found = [name for name in names if name not in display.hide]
    return [name for name in dict.fromkeys(display.show) if name in found] if display.show else found


def _is_chosen(name: str, rules: FieldRules) -> bool:
    """Return whether the settings say how to show a field."""
    display = rules.display
    return name in display.show or name in display.labels or name in display.formats


def visible(data: Mapping[str, Any], display: DisplayTable) -> dict[str, Any]:
    """Return the fields of an item that the settings do not hide."""
    return {name: value for name, value in data.items() if name not in display.hide}


def visible_key(change: Change, display: DisplayTable) -> str:
    """Return the key of an item; "" if it is the value of a field that the settings hide."""
    data = data_of(change)
    return "" if any(field_text(data.get(name)) == change.key for name in display.hide) else change.key


def title_of(data: Mapping[str, Any], key: str) -> str:
    """Return the title of an item.

    The title is the value of the field title, name, headline or subject. If the item has none of these fields, the title is the first
    value with letters that is no URL, id, hash, date or price. If there is no such value, it is the item's link without its scheme,
    otherwise the first value that is a text, and otherwise the item's key.
    """
    by_name = {name.casefold(): value for name, value in data.items()}
    named = [("", by_name.get(name)) for name in TITLES]
    texts = [(name, value) for name, value in [*named, *data.items()]
             if isinstance(value, str) and value.strip() and not value.startswith(("http://", "https://"))]
    for name, value in texts:
        for_machines = is_for_machines(name, value, sources=()) or machine_moment(value) or figure_of(value, strict=True)
        if not name or (any(map(str.isalpha, value)) and not for_machines):
            return value
    link = link_of(data, key)
    return short_url(link) if link else texts[0][1] if texts else key


def link_of(data: Mapping[str, Any], key: str) -> str:
    """Return the link of an item, or "" if the item has no link.

    The link is the value of the field url, link or href. If the item has none of these fields, the link is the first value that is a
    URL. If no value is a URL, the link is the item's key, provided that the key is a URL.
    """
    by_name = {name.casefold(): value for name, value in data.items()}
    candidates = [by_name.get(name) for name in LINKS] + list(data.values()) + [key]
    return next((link for link in map(safe_link, candidates) if link), "")


def data_of(change: Change) -> dict[str, Any]:
    """Return the fields of an item after a change or, if the item is gone, its fields before the change."""
    return change.before if change.kind is ChangeKind.GONE else change.after
