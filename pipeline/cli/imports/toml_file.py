"""Write an import as a file of settings.d: commented tables of spiders and proxies, and one digest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tomlkit
from tomlkit.items import SingleKey

from pipeline.cli.imports.imported import Imported, ImportedSpider
from pipeline.text import clean_line

_TABLES = frozenset(["watch", "render", "items", "fields", "headers"])
"""Keys whose value is written as a table of its own; all other tables are written on one line."""
_FIRST = ("project", "spider", "args", "tags", "schedule", "start")
"""Keys that come first in the table of a spider."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
"""Matches a key that needs no quotes."""
_PLAIN = re.compile(r"""[ !#-\[\]-~]*""")
"""Matches a text of printable ASCII that needs no escapes in quotes. tomlkit, which is ten times slower, writes every other text."""
_LONG = 110
_WIDTH = 140


def file_text(imported: Imported, digest: Mapping[str, Any] | None, digest_name: str) -> str:
    """Return the text of the file. digest: the table [digests.NAME]; None if nobody is known who would receive it.

    tomlkit writes single values only: the time that its documents and arrays take is quadratic in the number of their entries.
    """
    lines = [_comment(f"Imported from {imported.source} with `pipeline import{'-' if imported.kind == 'scrapy' else ' '}{imported.kind}`")]
    lines += [_comment(f"- {note}") for note in imported.notes]
    if imported.variables:
        lines.append(_comment("Set these environment variables; their values are in the file that was imported:"))
        lines += [_comment(f"  {name}: {what}") for name, what in imported.variables.items()]
    lines += [_comment(f"not carried over: {job}: {why}") for job, why in imported.skipped]
    for name, table in imported.proxies.items():
        lines += ["", *_table(("proxies", name), table)]
    for spider in imported.spiders:
        lines += ["", *_spider_table(spider)]
    if digest is not None:
        lines += ["", *_table(("digests", digest_name), digest)]
    else:
        lines += ["", *_commented(["No recipient is known. To mail what the spiders find, add `to` and remove the # of these lines:", f"[digests.{digest_name}]",
                                   f"spiders = {_value([spider.name for spider in imported.spiders])}", 'to = ["me@example.com"]'])]
    if imported.hints:
        lines += ["", *_commented(imported.hints)]
    return "".join(f"{line}\n" for line in lines)


def _spider_table(spider: ImportedSpider) -> Iterator[str]:
    comments = [clean_line(f"{spider.title} ({spider.job})" if spider.title not in spider.job else spider.job, _WIDTH),
                *(f"not carried over: {key}: {why}" for key, why in spider.left_out)]
    first = {key: spider.table[key] for key in _FIRST if key in spider.table}
    yield from _table(("spiders", spider.name), {**first, **spider.table}, comments)


def _table(path: tuple[str, ...], values: Mapping[str, Any], comments: Iterable[str] = ()) -> Iterator[str]:
    """Yield the lines of a table: its header, comments, values, and then the tables in it."""
    yield f"[{'.'.join(map(_key, path))}]"
    yield from map(_comment, comments)
    later: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and key in _TABLES:
            later.append((key, value))
        elif value is not None:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in later:
        yield ""
        yield from _table((*path, key), value)


def _key(key: object) -> str:
    text = str(key)
    return text if _BARE.fullmatch(text) else SingleKey(text).as_string()


def _value(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return f'"{value}"'
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items() if each is not None)
        return f"{{{inner}}}"
    if isinstance(value, (list, tuple)):
        entries = [_value(each) for each in value]
        line = f"[{', '.join(entries)}]"
        if len(line) <= _LONG and not any(isinstance(each, Mapping) for each in value[1:]):
            return line
        return "".join(["[\n", *(f"    {entry},\n" for entry in entries), "]"])
    text: str = tomlkit.item(value).as_string()
    return text


def _comment(text: str) -> str:
    return f"# {clean_line(text)}"


def _commented(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from map(_comment, line.splitlines())
