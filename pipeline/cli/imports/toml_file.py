"""Write an import as a file of settings.d: commented tables of spiders and proxies, and one digest."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

import tomlkit
from tomlkit.container import Container
from tomlkit.items import Item, Table

from pipeline.cli.imports.imported import Imported, ImportedSpider
from pipeline.text import clean_line

_TABLES = frozenset(["watch", "render", "items", "fields", "headers"])
"""Keys whose value is written as a table of its own; all other tables are written on one line."""
_FIRST = ("project", "spider", "args", "tags", "schedule", "start")
"""Keys that come first in the table of a spider."""
_LONG = 110
_WIDTH = 140


def file_text(imported: Imported, digest: Mapping[str, Any] | None, digest_name: str) -> str:
    """Return the text of the file. digest: the table [digests.NAME]; None if nobody is known who would receive it."""
    document = tomlkit.document()
    _comment(document, f"Imported from {imported.source} with `pipeline import{'-' if imported.kind == 'scrapy' else ' '}{imported.kind}`")
    for note in imported.notes:
        _comment(document, f"- {note}")
    if imported.variables:
        _comment(document, "Set these environment variables; their values are in the file that was imported:")
        for name, what in imported.variables.items():
            _comment(document, f"  {name}: {what}")
    for job, why in imported.skipped:
        _comment(document, f"not carried over: {job}: {why}")
    if imported.proxies:
        document.add(tomlkit.nl())
        proxies = tomlkit.table(is_super_table=True)
        for name, table in imported.proxies.items():
            proxies.add(name, _table(table))
        document.add("proxies", proxies)
    spiders = tomlkit.table(is_super_table=True)
    for spider in imported.spiders:
        spiders.add(spider.name, _spider_table(spider))
    if imported.spiders:
        document.add("spiders", spiders)
    if digest is not None:
        digests = tomlkit.table(is_super_table=True)
        digests.add(digest_name, _table(digest))
        document.add("digests", digests)
    text = tomlkit.dumps(document)
    if digest is None:
        text += _commented(["No recipient is known. To mail what the spiders find, add `to` and remove the # of these lines:", f"[digests.{digest_name}]",
                            f"spiders = {_value([spider.name for spider in imported.spiders]).as_string()}", 'to = ["me@example.com"]'])
    if imported.hints:
        text += _commented(imported.hints)
    tomllib.loads(text)
    return text


def _spider_table(spider: ImportedSpider) -> Table:
    table = tomlkit.table()
    _comment(table, clean_line(f"{spider.title} ({spider.job})" if spider.title not in spider.job else spider.job, _WIDTH))
    for key, why in spider.left_out:
        _comment(table, f"not carried over: {key}: {why}")
    first = {key: spider.table[key] for key in _FIRST if key in spider.table}
    return _table({**first, **spider.table}, table)


def _table(values: Mapping[str, Any], table: Table | None = None) -> Table:
    table = tomlkit.table() if table is None else table
    later: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in values.items():
        if value is None:
            continue
        if isinstance(value, Mapping) and key in _TABLES:
            later.append((key, value))
        else:
            table.add(key, _value(value))
    for key, value in later:
        table.add(key, _table(value))
    return table


def _value(value: Any) -> Item:
    if isinstance(value, Mapping):
        inline = tomlkit.inline_table()
        for key, inner in value.items():
            if inner is not None:
                inline.add(str(key), _value(inner))
        return inline
    if isinstance(value, (list, tuple)):
        array = tomlkit.array()
        for each in value:
            array.append(_value(each))
        array.multiline(len(array.as_string()) > _LONG or any(isinstance(each, Mapping) for each in value[1:]))
        return array
    item: Item = tomlkit.item(value)
    return item


def _comment(place: Container | Table, text: str) -> None:
    place.add(tomlkit.comment(clean_line(text)))


def _commented(lines: Iterable[str]) -> str:
    return "\n" + "".join(f"# {clean_line(part)}\n" for line in lines for part in line.splitlines())
