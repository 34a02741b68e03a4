"""Write an import as a file of settings.d: commented tables of spiders and proxies, and one digest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.cli.imports.imported import Imported, ImportedSpider
from pipeline.settings.toml_text import key_text, value_text
from pipeline.text import clean_line

_TABLES = frozenset(["watch", "render", "items", "fields", "headers"])
"""Keys whose value is written as a table of its own; all other tables are written on one line."""
_FIRST = ("project", "spider", "args", "tags", "schedule", "start")
"""Keys that come first in the table of a spider."""
_LONG = 110
"""A longer list is written with one entry a line."""
_WIDTH = 140


def file_text(imported: Imported, digest: Mapping[str, Any] | None, digest_name: str) -> str:
    """Return the text of the file. digest: the table [digests.NAME]; None if nobody is known who would receive it.

    tomlkit is not used: the time that its documents and arrays take is quadratic in the number of their entries.
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
                                   f"spiders = {value_text([spider.name for spider in imported.spiders], width=_LONG)}", 'to = ["me@example.com"]'])]
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
    yield f"[{'.'.join(map(key_text, path))}]"
    yield from map(_comment, comments)
    later: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and key in _TABLES:
            later.append((key, value))
        elif value is not None:
            yield f"{key_text(key)} = {value_text(value, width=_LONG)}"
    for key, value in later:
        yield ""
        yield from _table((*path, key), value)


def _comment(text: str) -> str:
    return f"# {clean_line(text)}"


def _commented(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from map(_comment, line.splitlines())
