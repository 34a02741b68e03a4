"""Extract items by the rules of [spiders.NAME.items], and reject items without a required field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.crawl.extract.rules import link_finder
from pipeline.crawl.extract.values import converter
from pipeline.documents.document import Document
from pipeline.documents.regexes import RuleFailedError
from pipeline.documents.selectors import Kind, Scope, finder, kind_for, parts, root
from pipeline.model import Json
from pipeline.price import is_price
from pipeline.settings import FieldTable, SelectorTable

_EMPTY: tuple[Json, ...] = (None, "", [], {})


@dataclass(frozen=True)
class RejectedItem:
    """An item that violates the rules of its fields.

    data: the fields that could be read. reason: what is wrong.
    """

    data: dict[str, Json]
    reason: str


@dataclass
class ExtractedItems:
    """The items of one page.

    links: for each item in `items`, the URL of its details page; "" if the item has none. matches: the number of matches of `each`.
    records: the fields that were read, of items and rejected items; without the fields of a listing page if this is a details page.
    """

    items: list[dict[str, Json]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    rejected: list[RejectedItem] = field(default_factory=list)
    matches: int = 0
    records: list[dict[str, Json]] = field(default_factory=list)


class ItemRules:
    """Extracts one item from each match of the rule `each`; without `each`, one item from the whole page."""

    def __init__(self, fields: Mapping[str, FieldTable], each: SelectorTable | None = None,
                 link: SelectorTable | None = None, *, name: str = "items") -> None:
        """Compile the rules.

        link: the rule that finds the link to an item's details page in the same elements as `fields`; None if there are no
        details pages. name: the name of the rules in [spiders.NAME].
        """
        outer = kind_for([*all_rules(fields, each), *([link] if link is not None else [])])
        self._record = _FieldGroup(fields, each, outer)
        self._link = link_finder(link, self._record.inner) if link is not None else None
        self._whole = "" if name == "items.details" else f"{name}.each" if each is not None else name
        self._counted = [(field, f"{name}.fields.{field}", rule.default) for field, rule in fields.items()]

    def extract(self, document: Document) -> ExtractedItems:
        """Return the items of a page. A match of `each` in which all fields are empty is skipped."""
        extracted = ExtractedItems()
        try:
            scopes = self._record.scopes(root(document, self._record.outer), document)
        except RuleFailedError as reason:
            return ExtractedItems(rejected=[RejectedItem({}, f"each: {reason}")])
        for scope in scopes:
            extracted.matches += 1
            problems: list[str] = []
            data = self._record.read(scope, document, problems)
            if self._record.is_empty(data):
                # A match of `each` in which all fields are empty is not rejected, even if a field is required: it may be a table heading.
                if problems and not self._record.many:
                    extracted.rejected.append(RejectedItem(data, "; ".join(problems)))
                continue
            extracted.records.append(data)
            link = self._link_in(scope, document, problems)
            if problems:
                extracted.rejected.append(RejectedItem(data, "; ".join(problems)))
            else:
                extracted.items.append(data)
                extracted.links.append(link)
        return extracted

    def _link_in(self, scope: Scope, document: Document, problems: list[str]) -> str:
        if self._link is None:
            return ""
        try:
            return next((url for found in self._link(scope, document) if (url := document.absolute(found))), "")
        except RuleFailedError as reason:
            problems.append(f"details.link: {reason}")
            return ""

    def extract_onto(self, listed: dict[str, Json], document: Document) -> ExtractedItems:
        """Return an item of a listing page with the fields from its details page added.

        listed: the item as read from the listing page. document: the details page. A field that is empty on the details page
        keeps its value from the listing page.
        """
        problems: list[str] = []
        data = self._record.read(root(document, self._record.outer), document, problems)
        whole = listed | {name: value for name, value in data.items() if value not in _EMPTY or name not in listed}
        if problems:
            return ExtractedItems(rejected=[RejectedItem(whole, "; ".join(problems))], records=[data])
        return ExtractedItems(items=[whole], records=[data])

    def counts(self, extracted: ExtractedItems) -> dict[str, tuple[int, int]]:
        """Return the matches of each rule on the page of these items (see `Page.counts`).

        A field matches in an item if its value is neither empty nor the default.
        """
        records = extracted.records
        counts = {self._whole: (extracted.matches if self._record.many else len(records), 0)} if self._whole else {}
        for name, rule, default in self._counted if records else ():
            filled = 0
            for record in records:
                value = record[name]
                if (value or value == 0) and (default is None or value != default):
                    filled += 1
            counts[rule] = (filled, len(records))
        if self._link is not None and extracted.links:
            counts["items.details.link"] = (sum(map(bool, extracted.links)), len(extracted.links))
        return counts


def reader(name: str, rule: FieldTable, kind: Kind) -> Callable[[Scope, Document, list[str]], Json]:
    """Return a function that reads one field in a scope. It appends a message to its last argument if the rule is violated."""
    return _Field(name, rule, kind).read


def all_rules(fields: Mapping[str, FieldTable], each: SelectorTable | None) -> Iterator[SelectorTable]:
    """Yield every rule of a group of fields, including the rules of nested records."""
    if each is not None:
        yield each
    for rule in fields.values():
        if rule.fields:
            yield from all_rules(rule.fields, rule.each)
        else:
            yield rule


class _FieldGroup:
    """A group of fields, and the parts of a page ("scopes") to which the rules of the fields are applied."""

    def __init__(self, fields: Mapping[str, FieldTable], each: SelectorTable | None, kind: Kind) -> None:
        self.outer = kind
        self.many = each is not None
        self.inner = kind
        if each is not None:
            self.inner, self._each = parts(each, kind)
        self._fields = [(name, _Field(name, rule, self.inner)) for name, rule in fields.items()]

    def scopes(self, scope: Scope, document: Document) -> Iterable[Scope]:
        return self._each(scope, document) if self.many else [scope]

    def read(self, scope: Scope, document: Document, problems: list[str]) -> dict[str, Json]:
        """Return the values of the fields in one scope. Append a message to `problems` for each field that violates its rule."""
        return {name: entry.read(scope, document, problems) for name, entry in self._fields}

    def is_empty(self, data: dict[str, Json]) -> bool:
        """Return whether every field is empty or has its default value."""
        return all(data[name] in _EMPTY or data[name] == entry.rule.default for name, entry in self._fields)


class _Field:
    def __init__(self, name: str, rule: FieldTable, kind: Kind) -> None:
        self._name = name
        self.rule = rule
        self._record = _FieldGroup(rule.fields, rule.each, kind) if rule.fields else None
        self._is_single = self._record is None and not rule.many and rule.join is None
        if self._record is None:
            self._find = finder(rule, kind)
            self._convert = converter(rule)

    def read(self, scope: Scope, document: Document, problems: list[str]) -> Json:
        try:
            if self._is_single:
                value = self.rule.default
                for entry in self._find(scope, document):
                    if (found := self._convert(entry, document)) is not None:
                        value = found
                        break
            else:
                value = self._all(scope, document, problems)
        except RuleFailedError as reason:
            if self.rule.default is not None:
                return self.rule.default
            problems.append(f"{self._name}: {reason}")
            return None
        if self.rule.required and value in _EMPTY:
            problems.append(f"{self._name}: the field is required, but was not found")
        return value

    def _all(self, scope: Scope, document: Document, problems: list[str]) -> Json:
        rule = self.rule
        if self._record is not None:
            inner: list[str] = []
            records = [self._record.read(part, document, inner) for part in self._record.scopes(scope, document)]
            problems += [f"{self._name}.{problem}" for problem in inner]
            records = [record for record in records if not self._record.is_empty(record)]
            return records if self._record.many else records[0] if records else None
        values = [value for entry in self._find(scope, document) if (value := self._convert(entry, document)) is not None]
        if rule.join is None:
            return values or (rule.default if rule.default is not None else [])
        return rule.join.join(str(value["text"] if is_price(value) else value) for value in values) if values else rule.default
