"""Find rows that are not like the known items, and a selector `each` that leaves them out.

An example is the folders in a list of files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from selectolax.lexbor import SelectolaxError

from pipeline.crawl.extract.items import reader
from pipeline.crawl.mend.fields.field_fit import Holder
from pipeline.crawl.mend.known_values import EMPTY
from pipeline.crawl.mend.names import names_of
from pipeline.model import Json
from pipeline.settings import FieldTable

_MIN_KNOWN = 5
_FEW_VALUES = 0.34
_ALWAYS = 0.95
_MAX_INSIDE = 120
_EXCLUDED = 0.9


def unlike(holders: Sequence[Holder], fields: Mapping[str, FieldTable]) -> list[Holder]:
    """Return the holders of unknown items that differ from the known ones: in a field, in the form of a link, or in a category."""
    known = [holder for holder in holders if holder.known is not None]
    others = [holder for holder in holders if holder.known is None]
    if len(known) < _MIN_KNOWN or not others:
        return []
    found: dict[int, Holder] = {}
    for name, rule in fields.items():
        if rule.fields or rule.page is not None or rule.header is not None or rule.xpath is not None:
            continue
        read = reader(name, rule, "lexbor")
        values = [_read(read, holder) for holder in known]
        odd = _oddness(values)
        for holder in others:
            value = _read(read, holder)
            if odd(value):
                found[id(holder)] = holder
    return [holder for holder in others if id(holder) in found and not _is_blank(holder, fields)]


def _is_blank(holder: Holder, fields: Mapping[str, FieldTable]) -> bool:
    """Return whether all fields are empty: the engine skips such a row, for example the heading of a table."""
    return all(_read(reader(name, rule, "lexbor"), holder) in (*EMPTY, rule.default, _FAILED) for name, rule in fields.items()
               if not rule.fields and rule.page is None and rule.xpath is None)


_FAILED = object()


def _read(read: object, holder: Holder) -> Json:
    problems: list[str] = []
    value = read(holder.element.node, holder.document, problems)  # type: ignore[operator]
    return _FAILED if problems else value


class _oddness:  # noqa: N801  used as a function
    """Tells whether a value is unlike all known values of a field."""

    def __init__(self, values: Sequence[Json]) -> None:
        filled = [value for value in values if value not in EMPTY and value is not _FAILED]
        self._is_always_filled = len(filled) >= _ALWAYS * len(values)
        texts = [value for value in filled if isinstance(value, str)]
        self._links = {_form(text) for text in texts if "://" in text[:9]} if texts and all("://" in text[:9] for text in texts) else set()
        counts = Counter(texts)
        self._category = set(counts) if not self._links and len(texts) >= 8 and len(counts) <= max(2, _FEW_VALUES * len(texts)) and (
            min(counts.values(), default=0) > 1 or len(counts) == 1) else set()

    def __call__(self, value: Json) -> bool:
        if value in EMPTY or value is _FAILED:
            return self._is_always_filled
        if isinstance(value, str):
            return bool(self._links and _form(value) not in self._links) or bool(self._category and value not in self._category)
        return False


def _form(url: str) -> tuple[str, bool, bool]:
    """Return the host of a URL, whether its path ends with a slash, and whether it has parameters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", False, False
    return parts.netloc, parts.path.endswith("/"), bool(parts.query)


def without(css: str, holders: Sequence[Holder], unlikes: Sequence[Holder]) -> str | None:
    """Return a selector for `each` that leaves out rows which are unlike the known ones; None if no name tells them apart."""
    left_out = {id(holder) for holder in unlikes}
    known = [holder for holder in holders if holder.known is not None]
    have = Counter(feature for holder in known for feature in set(_features(holder)))
    lack = Counter(feature for holder in unlikes for feature in set(_features(holder)))
    best: tuple[float, str] | None = None
    for feature in {*have, *lack}:
        is_own, name, cost = feature
        kept, excluded = have[feature], len(unlikes) - lack[feature]
        if kept == len(known) and excluded >= _EXCLUDED * len(left_out):
            condition = name if is_own else f":has({name})"
        elif kept == 0 and lack[feature] >= _EXCLUDED * len(left_out):
            condition, cost = f":not({name})" if is_own else f":not(:has({name}))", cost + 0.5
        else:
            continue
        if best is None or (cost, condition) < best:
            best = cost, condition
    if best is None:
        return None
    selector = f"{css}{best[1]}"
    try:
        known[0].document.lexbor.css(selector)
    except SelectolaxError:
        return None
    return selector


def _features(holder: Holder) -> Iterator[tuple[bool, str, float]]:
    """Yield (whether it is of the element itself, simple selector, cost) for what an element and its descendants have."""
    for element in holder.tree.within(holder.element, _MAX_INSIDE):
        is_own = element.at == holder.element.at
        for name in names_of(element, position=False):
            if not (is_own and (name.css == element.tag or not name.css.startswith((".", "[")))) and not name.css.startswith("#"):
                yield is_own, name.css, name.cost + (0.0 if is_own else 1.0)
        if not is_own and element.tag == "a" and (link := element.attributes.get("href", "")).endswith("/"):
            yield False, 'a[href$="/"]' if link != "../" else 'a[href="../"]', 3.0
            yield False, 'a[href$="/"]', 3.0
