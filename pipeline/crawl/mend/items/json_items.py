"""Derive new rules for the items of JSON.

The page itself, JSON in scripts, JSON-LD, microdata and CSV.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError

from pipeline.crawl.extract.values import converter
from pipeline.crawl.mend.fields.date_formats import formats_of
from pipeline.crawl.mend.fields.field_fit import FieldFit, measure
from pipeline.crawl.mend.known_values import EMPTY, KnownValues, agrees, fold
from pipeline.crawl.mend.mending import Candidate, written
from pipeline.crawl.mend.time_limit import TimeLimit
from pipeline.documents.document import Document
from pipeline.documents.embedded_data import read_script
from pipeline.documents.regexes import RuleFailedError
from pipeline.model import Json
from pipeline.settings import FieldTable, ItemsTable, SelectorTable

_MAX_VALUES = 200_000
_MAX_DEPTH = 12
_MAX_FIELD_DEPTH = 5
_MAX_PATHS = 300
_MAX_SCRIPTS = 40
_SAMPLE = 12
_FOUND = 0.5
_KEEPS = 0.8
_TRIED = 3
_PLAIN = re.compile(r"[A-Za-z_]\w*")
_KEPT_KEYS = ("default", "type", "format", "guess", "decimal", "currency", "join", "many", "required", "strip")


@dataclass(frozen=True)
class JsonHolder:
    """A JSON object that is one item on the new page. known: the stored data of the item; None if the item is not known."""

    document: Document
    record: Json
    known: Mapping[str, Json] | None


@dataclass(frozen=True)
class _Source:
    """Where a page has JSON. keys: the keys of a rule that select it."""

    keys: tuple[tuple[str, str], ...]
    values: tuple[Json, ...]


class JsonItems:
    """The known records in the JSON of pages, and tables of rules that extract them."""

    where = "JSON of the pages"

    def __init__(self, table: ItemsTable, documents: Sequence[Document], known: KnownValues, limit: TimeLimit) -> None:
        self._table = table
        self._known = known
        self._limit = limit
        self._lists: dict[tuple[tuple[tuple[str, str], ...], str], list[JsonHolder]] = defaultdict(list)
        for document in documents:
            for source in _sources(document):
                limit.check()
                for value in source.values:
                    self._find_lists(source.keys, value, document)
        self.records = max((len(_known_in(holders)) for holders in self._lists.values()), default=0)

    def _find_lists(self, keys: tuple[tuple[str, str], ...], value: Json, document: Document) -> None:
        """Record each list of objects that has known records, by its path."""
        left = _MAX_VALUES
        waiting: list[tuple[str, Json, int]] = [("", value, 0)]
        while waiting and left:
            path, here, depth = waiting.pop()
            left -= 1
            if left % 1000 == 0:
                self._limit.check()
            if isinstance(here, dict):
                waiting += [(f"{path}.{_quoted(name)}" if path else _quoted(name), inner, depth + 1) for name, inner in here.items()
                            if isinstance(inner, (dict, list)) and depth < _MAX_DEPTH]
            elif isinstance(here, list) and path.count("[]") < 3:
                inner_path = f"{path}[]"
                if any(isinstance(entry, dict) for entry in here):
                    self._add(keys, inner_path, here, document)
                waiting += [(inner_path, inner, depth + 1) for inner in here if isinstance(inner, dict) and depth < _MAX_DEPTH]

    def _add(self, keys: tuple[tuple[str, str], ...], path: str, entries: list[Json], document: Document) -> None:
        self._lists[keys, path] += [JsonHolder(document, entry, self._record_of(entry, document)) for entry in entries if isinstance(entry, dict)]

    def _record_of(self, entry: Json, document: Document) -> Mapping[str, Json] | None:
        """Return the known record whose values occur in an object; None if there is none, or more than one."""
        votes: Counter[int] = Counter()
        for _, value in _leaves(entry):
            if isinstance(value, str):
                owner = self._known.owners.get(fold(value)) or ("/" in value and self._known.owners.get(fold(document.absolute(value)))) or None
            else:
                owner = self._known.owners.get(fold(str(value)))
            if owner is not None:
                votes[owner[0]] += 1
        best = votes.most_common(2)
        is_clear = bool(best) and (len(best) == 1 or best[0][1] > 2 * best[1][1])
        return self._known.records[best[0][0]] if is_clear else None

    def tables(self) -> Iterator[Candidate]:
        """Yield rules for the items, those that agree best first."""
        if self._table.each is None:
            return
        ranked = sorted(self._lists.items(), key=lambda entry: (-len(_known_in(entry[1])), entry[0][1].count("[]"), len(entry[0][1])))
        for (keys, path), holders in ranked[:_TRIED]:
            known = _known_in(holders)
            if not known or len(known) < _FOUND * self.records:
                continue
            narrowed, chosen = _narrowed(path, holders)
            each = SelectorTable.model_validate({**dict(keys), "jmes": narrowed})
            yield self._with_fields(each, chosen)

    def _with_fields(self, each: SelectorTable, holders: Sequence[JsonHolder]) -> Candidate:
        fields: dict[str, FieldTable] = {}
        changed: dict[str, Any] = {}
        dropped: list[str] = []
        for name, rule in self._table.fields.items():
            self._limit.check()
            if rule.fields or rule.page is not None or rule.header is not None:
                fields[name] = rule
                continue
            present = _measure(name, rule, holders) if rule.is_json and rule.json_ is None and rule.data is None else None
            if present is not None and present.of and present.share >= _KEEPS:
                fields[name] = rule
                continue
            found = self._best(name, rule, holders)
            fields[name] = found.rule if found is not None and found.share >= _FOUND else rule
            if fields[name] is rule:
                dropped.append(name)
            else:
                changed[name] = written(fields[name])
        changes: dict[str, Any] = {"fields": changed} if changed else {}
        if written(each) != (written(self._table.each) if self._table.each is not None else None):
            changes = {"each": written(each), **changes}
        problems = ["a rule for details.link is not searched in JSON"] if self._table.details is not None else []
        return Candidate(self._table.model_copy(update={"each": each, "fields": fields}), changes, dropped, problems)

    def _best(self, name: str, old: FieldTable, holders: Sequence[JsonHolder]) -> FieldFit | None:
        known = [holder for holder in holders if holder.known is not None and holder.known.get(name) not in (*EMPTY, old.default)]
        votes: Counter[tuple[str, _Reading]] = Counter()
        step = max(1, len(known) // _SAMPLE)
        for holder in known[::step][:_SAMPLE + 2]:
            self._limit.check()
            votes.update(set(_paths_of(name, old, holder)))
        fits = [_measure(name, rule, holders, cost=path.count(".") + path.count("[") + len(path) / 100)
                for (path, reading), _ in votes.most_common(20) if (rule := _rule(old, path, reading)) is not None]
        fits = [fit for fit in fits if fit.agree]
        return min(fits, key=lambda fit: (fit.wrong - fit.agree, fit.failed, fit.cost), default=None)


def _measure(name: str, rule: FieldTable, holders: Sequence[JsonHolder], *, cost: float = 0.0) -> FieldFit:
    return measure(name, rule, holders, cost=cost, scopes=[holder.record for holder in holders], kind="json")


def _known_in(holders: Sequence[JsonHolder]) -> set[int]:
    return {id(holder.known) for holder in holders if holder.known is not None}


def _narrowed(path: str, holders: Sequence[JsonHolder]) -> tuple[str, Sequence[JsonHolder]]:
    """Return a path with a condition on @type if all known records of a list have the same one and other entries do not."""
    kinds = {_kind(holder) for holder in holders if holder.known is not None}
    if len(kinds) != 1 or not (kind := kinds.pop()) or all(_kind(holder) == kind for holder in holders):
        return path, holders
    return f"{path.removesuffix('[]')}[?\"@type\"=='{kind}']", [holder for holder in holders if _kind(holder) == kind]


def _kind(holder: JsonHolder) -> str:
    kind = holder.record.get("@type")
    return kind if isinstance(kind, str) and re.fullmatch(r"[\w:/.#-]+", kind) else ""


def _sources(document: Document) -> Iterator[_Source]:
    """Yield the JSON of a page: the page itself, or the data embedded in HTML."""
    if (whole := document.json) is not None:
        if isinstance(whole, (dict, list)):
            yield _Source((), (whole,))
        return
    for kind in ("json-ld", "microdata"):
        yield _Source((("data", kind),), (document.data(kind),))
    for script in document.lexbor.css("script")[:_MAX_SCRIPTS]:
        css = _script_selector(script.attributes)
        text = script.text(deep=True)
        if not css or len(document.lexbor.css(css)) != 1 or ("{" not in text and "[" not in text):
            continue
        values, _ = read_script(text, kind=script.attributes.get("type") or "")
        if values:
            yield _Source((("json", css),), tuple(values))


def _script_selector(attributes: Mapping[str, str | None]) -> str:
    own_id, kind = attributes.get("id") or "", attributes.get("type") or ""
    if re.fullmatch(r"[A-Za-z_][\w-]*", own_id):
        return f"script#{own_id}"
    for name in attributes:
        if re.fullmatch(r"data-[a-z-]+", name):
            return f"script[{name}]"
    if re.fullmatch(r"[\w/+.-]+", kind) and "json" in kind:
        return f'script[type="{kind}"]'
    return "script:not([src]):not([type])" if not kind else ""


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _leaves(entry: Json) -> Iterator[tuple[str, Json]]:
    """Yield (path, value) for the values inside an object: texts and numbers, and the first entry of lists."""
    waiting: list[tuple[str, Json, int]] = [("", entry, 0)]
    left = _MAX_PATHS
    while waiting and left:
        path, here, depth = waiting.pop()
        left -= 1
        if isinstance(here, dict) and depth < _MAX_FIELD_DEPTH:
            waiting += [(f"{path}.{_quoted(str(name))}" if path else _quoted(str(name)), inner, depth + 1) for name, inner in here.items()]
        elif isinstance(here, list) and here and depth < _MAX_FIELD_DEPTH:
            waiting.append((f"{path}[0]", here[0], depth + 1))
        elif path and isinstance(here, (str, int, float)) and not isinstance(here, bool):
            yield path, here


class _Reading(NamedTuple):
    """How a value is read: the type of the rule, the format of a date, and the regular expression; "" for none."""

    kind: str
    form: str = ""
    pattern: str = ""


def _paths_of(name: str, old: FieldTable, holder: JsonHolder) -> Iterator[tuple[str, _Reading]]:
    """Yield the paths in an object that give a known value, each with the way in which it is read."""
    assert holder.known is not None
    value = holder.known[name]
    for path, raw in [*_leaves(holder.record), *_objects(holder.record)]:
        if isinstance(raw, (dict, list)) and not (old.type in ("price", "json") or old.many):
            continue
        for reading in _readings(old, raw, value):
            rule = _rule(old, path, reading)
            if rule is not None and _gives(rule, raw, holder.document, value):
                yield path, reading
                break


def _readings(old: FieldTable, raw: Json, value: Json) -> Iterator[_Reading]:
    """Yield the ways in which a value may be read: as before, without the regular expression, as a link, or as a date in another format."""
    yield _Reading(old.type, old.format or "", old.regex or "")
    if old.regex is not None:
        yield _Reading(old.type, old.format or "")
    if old.type == "text" and isinstance(value, str) and "://" in value[:9]:
        yield _Reading("url")
    if old.type == "date" and isinstance(raw, str) and isinstance(value, str):
        yield _Reading("date")
        yield from (_Reading("date", form) for form, pattern in formats_of(raw, value) if not pattern)


def _gives(rule: FieldTable, raw: Json, document: Document, value: Json) -> bool:
    convert = converter(rule)
    try:
        found = [convert(entry, document) for entry in raw] if rule.many and isinstance(raw, list) else convert(raw, document)
    except RuleFailedError:
        return False
    return found not in EMPTY and agrees(value, found, kind=rule.type)


def _objects(entry: Json) -> Iterator[tuple[str, Json]]:
    """Yield (path, value) for the objects and lists directly in an object: an offer may be a price, and a list the values of a field."""
    for name, inner in entry.items() if isinstance(entry, dict) else ():
        if isinstance(inner, (dict, list)):
            yield _quoted(str(name)), inner


def _rule(old: FieldTable, path: str, reading: _Reading) -> FieldTable | None:
    table = {key: value for key in _KEPT_KEYS if key in old.model_fields_set and (value := getattr(old, key)) is not None}
    table.pop("format", None)
    if reading.kind != "text":
        table["type"] = reading.kind
    if reading.form:
        table["format"] = reading.form
    if reading.pattern:
        table["regex"] = reading.pattern
    try:
        return FieldTable.model_validate({**table, "jmes": path})
    except ValidationError:
        return None
