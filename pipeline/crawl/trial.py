"""One page and each rule of a spider with what it matched, for fitting selectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.crawl.extract import Document, ItemRules, LinkRules, Reader, RuleFailedError
from pipeline.crawl.extract.scopes import finder, kind_for, parts, root
from pipeline.crawl.extract.values import converter
from pipeline.model import Json
from pipeline.settings import FieldTable, ItemsTable, SelectorTable, SpiderTable

SHOWN = 5
_LENGTH = 120


def try_spider(table: SpiderTable, document: Document) -> dict[str, Json]:
    """Each rule's matches on one page (the first few), and the items the page gives."""
    rules = [*_links("follow", table.follow, document), *_links("download", table.download, document)]
    found: dict[str, Json] = {"url": document.url, "status": document.status, "characters": len(document.text),
                              "rules": rules, "items": [], "rejected": []}
    if table.pages is not None and table.pages.cursor is not None:
        cursor = table.pages.cursor
        rules.append(_report("pages.cursor", cursor, lambda: Reader(cursor).values(document)))
    if table.items is not None:
        rules += _fields("items.fields", table.items.fields, table.items.each, document)
        if table.items.details is not None:
            # The page tried may be a listing or a details page: both sets of rules are shown.
            rules += _fields("items.details.fields", table.items.details.fields, None, document)
        _add_items(table.items, document, found)
    return found


def _add_items(table: ItemsTable, document: Document, found: dict[str, Json]) -> None:
    extracted = ItemRules(table.fields, table.each, table.details.link if table.details else None).extract(document)
    found["items"] = extracted.items
    found["rejected"] = [{"reason": refused.reason, "data": refused.data} for refused in extracted.refused]
    if table.details is not None:
        link = table.details.link
        found["rules"].append(_report("items.details.link", link, lambda: [url for url in extracted.links if url]))


def _links(name: str, rules: tuple[SelectorTable, ...], document: Document) -> list[dict[str, Json]]:
    return [_report(f"{name}[{place}]", rule, lambda rule=rule: LinkRules([rule]).links(document))
            for place, rule in enumerate(rules)]


def _fields(name: str, fields: dict[str, FieldTable], each: SelectorTable | None,
            document: Document) -> Iterator[dict[str, Json]]:
    flat = dict(_flat(fields))
    outer = kind_for([*([each] if each is not None else []), *flat.values()])
    scopes = [root(document, outer)]
    inner = outer
    if each is not None:
        inner, find = parts(each, outer)
        each_report = _report(name.replace("fields", "each"), each, lambda: find(scopes[0], document), shown=0)
        yield each_report
        scopes = find(scopes[0], document) if not each_report["error"] else []
    for field, rule in flat.items():
        if "." in field:
            continue  # shown within the items: its scope is the match of another rule
        yield _report(f"{name}.{field}", rule, lambda rule=rule: [
            converter(rule)(value, document) for scope in scopes for value in finder(rule, inner)(scope, document)])


def _flat(fields: dict[str, FieldTable], prefix: str = "") -> Iterator[tuple[str, FieldTable]]:
    for name, rule in fields.items():
        if rule.fields:
            yield from _flat(rule.fields, f"{prefix}{name}.")
        else:
            yield prefix + name, rule


def _report(name: str, rule: SelectorTable, values: Any, *, shown: int = SHOWN) -> dict[str, Json]:
    try:
        found, error = values(), ""
    except RuleFailedError as reason:
        found, error = [], str(reason)
    return {"name": name, "rule": _written(rule), "count": len(found), "error": error,
            "first": [_short(value) for value in found[:shown]]}


def _written(rule: SelectorTable) -> str:
    given = {name.rstrip("_"): getattr(rule, name) for name in sorted(rule.model_fields_set)}
    if set(given) <= {"css"} or set(given) <= {"xpath"}:
        return str(next(iter(given.values()), ""))
    return ", ".join(f"{name} = {value!r}" for name, value in given.items())


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= _LENGTH else text[:_LENGTH - 1] + "…"
