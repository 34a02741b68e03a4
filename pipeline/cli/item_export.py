"""Write the items of a spider, or their changes, as JSON lines, CSV or XLSX."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.mail.formats.columns import Columns, table_format
from pipeline.price import is_price
from pipeline.store import Store
from pipeline.store.crawl import items as stored_items


def export(store: Store, spider: str, *, form: str, changes: bool, output: Path | None,
           key: str | None = None) -> None:
    """Write the items of a spider, or their changes, as JSON lines, CSV or XLSX. Raises UsageError.

    form: name of the format. changes: whether to write the changes of the items instead of the items. output: the file to write;
    None means standard output, to which only text formats can be written. key: key of the only item to write; None means all items.
    """
    if output is not None:
        _write_items(store, spider, form, output, changes=changes, key=key)
    elif not table_format(form).is_text:
        raise UsageError(f"{form} is not a text format and cannot be written to the terminal", where="items", fix=f"give a file with --output FILE.{form}")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "items")
            _write_items(store, spider, form, path, changes=changes, key=key)
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)


def _write_items(store: Store, spider: str, form: str, path: Path, *, changes: bool, key: str | None) -> None:
    names = stored_items.field_names(store, spider)
    if changes:
        table_format(form).write(path, Columns(names, frozenset()), stored_items.changes(store, spider, key=key))
    elif form == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            for item in stored_items.present(store, spider, key=key):
                file.write(json.dumps(item.data, ensure_ascii=False) + "\n")
    else:
        priced = frozenset(name for item in stored_items.present(store, spider, key=key)
                           for name, value in item.data.items() if is_price(value))
        rows: Any = stored_items.present(store, spider, key=key)
        table_format(form).write(path, _ItemColumns(names, frozenset(), priced), rows)


class _ItemColumns(Columns):
    """The columns of a table of items: the key and the fields, but no columns about changes."""

    def head(self) -> list[str]:
        return ["key", *(column for name in self.fields for column in self._of_field(name))]

    def row(self, change: Any) -> Iterator[Any]:
        yield change.key
        yield from (cell for name in self.fields for cell in self._cells(name, change.data.get(name)))
