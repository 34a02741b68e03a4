"""Write the items of a spider, or their changes, as JSON, JSON lines, CSV or XLSX."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.atomic_write import is_replaced, naming, replacing, scratch_folder
from pipeline.errors import UsageError
from pipeline.mail.formats.columns import Columns, table_format
from pipeline.model import Json
from pipeline.price import is_price
from pipeline.registry import ATTACHMENT_FORMATS
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.console.all_items import every
from pipeline.store.console.items import ItemFilter, ItemRow
from pipeline.store.crawl import items as stored_items

FORMATS = (*ATTACHMENT_FORMATS, "json")


@dataclass(frozen=True)
class Wanted:
    """What is exported: the items of a spider. key: the key of the only item; None means all. described: whether it is also written of each
    item whether it is on the site, and when it was first seen and last changed. masked: masks the secrets in a text.
    """

    spider: str
    items: ItemFilter
    key: str | None = None
    described: bool = False
    masked: Mask | None = None

    def rows(self, store: Store) -> Iterator[ItemRow]:
        for row in every(store, self.spider, self.items, key=self.key):
            yield row if self.masked is None else replace(row, key=self.masked(row.key), data=self.masked.in_values(row.data))


def export_items(store: Store, wanted: Wanted, form: str, output: Path | None) -> None:
    """Write items in one of FORMATS. Raises UsageError. output: the file to write; None means standard output."""
    _write(output, form, lambda path: _write_items(store, wanted, form, path))


def export_changes(store: Store, spider: str, form: str, output: Path | None, *, key: str | None) -> None:
    """Write the changes of a spider, or those of the item with this key, in one of the formats of attachments. Raises UsageError."""
    if form == "json":
        raise UsageError("changes have no such format", where="items --changes --format json", fix="use jsonl")
    names = stored_items.field_names(store, spider)
    _write(output, form, lambda path: _write_table(path, form, Columns(names, frozenset()), stored_items.changes(store, spider, key=key)))


def _write(output: Path | None, form: str, write: Callable[[Path], None]) -> None:
    if output is not None:
        # Writers of some formats create further files beside theirs, which a kill would leave.
        with scratch_folder(output.absolute().parent) if is_replaced(output) else tempfile.TemporaryDirectory() as folder:
            written = Path(folder, output.name)
            try:
                write(written)
            except OSError as error:
                raise naming(error, output) from None  # of a full disk, which names no file
            with replacing(output, private=False) as path, written.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    elif form != "json" and not table_format(form).is_text:
        raise UsageError(f"{form} is not a text format and cannot be written to the terminal", where="items", fix=f"give a file with --output FILE.{form}")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "items")
            write(path)
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)


def _write_items(store: Store, wanted: Wanted, form: str, path: Path) -> None:
    if form == "json":
        _write_json(path, (_as_json(row, wanted) for row in wanted.rows(store)), is_array=True)
    elif form == "jsonl":
        _write_json(path, (_as_json(row, wanted) for row in wanted.rows(store)), is_array=False)
    else:
        names: dict[str, bool] = {}  # by name of a field, whether it has prices
        for row in wanted.rows(store):
            for name, value in row.data.items():
                names[name] = names.get(name, False) or is_price(value)
        columns = _ItemColumns(list(names), frozenset(), frozenset(name for name, priced in names.items() if priced), described=wanted.described)
        _write_table(path, form, columns, wanted.rows(store))


def _write_table(path: Path, form: str, columns: Columns, rows: Iterable[Any]) -> None:
    """Write a table. Raises UsageError if its format cannot contain all rows: a sheet that lacks rows must not look complete."""
    given = 0

    def counted() -> Iterator[Any]:
        nonlocal given
        for row in rows:
            given += 1
            yield row

    written = table_format(form).write(path, columns, counted())
    if written < given:
        raise UsageError(f"{path.name} has only the first {written:,} rows: a file of this format cannot contain more", where="items",
                         fix="export fewer items, or use csv")


def _write_json(path: Path, values: Iterable[Json], *, is_array: bool) -> None:
    """Write values as an array, or one on each line."""
    before, after = ("[\n", ",\n") if is_array else ("", "")
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for value in values:
            file.write(before + json.dumps(value, ensure_ascii=False) + ("" if is_array else "\n"))
            before = after
        if is_array:
            file.write("[]\n" if before != after else "\n]\n")


def _as_json(row: ItemRow, wanted: Wanted) -> Json:
    if not wanted.described:
        return row.data
    return {"key": row.key, "present": row.present, "first_seen_at": row.first_seen_at.isoformat(), "changed_at": row.changed_at.isoformat(),
            "data": row.data}


@dataclass(frozen=True)
class _ItemColumns(Columns):
    """The columns of a table of items: the key and the fields, but no columns about changes."""

    described: bool = False

    def head(self) -> list[str]:
        state = ["on the site", "first seen (UTC)", "changed (UTC)"] if self.described else []
        return ["key", *state, *chain.from_iterable(map(self._of_field, self.fields))]

    def row(self, change: Any) -> Iterator[Any]:
        yield change.key
        if self.described:
            yield change.present
            yield from (f"{at:%Y-%m-%d %H:%M:%S}" for at in (change.first_seen_at, change.changed_at))
        yield from (cell for name in self.fields for cell in self._cells(name, change.data.get(name)))
