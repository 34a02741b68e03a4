"""The columns of a table of changes, and the interface of the formats that write such a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.model import Change, ChangeKind
from pipeline.price import currency_of, same
from pipeline.registry import ATTACHMENT_FORMATS, load


@dataclass(frozen=True)
class Columns:
    """The columns of a table of changes, with a column for each field of the items.

    changed: names of the fields that changed; each gets a second column with the value before the change. priced: names of the fields
    that contain prices; each gets an additional column with the currency.
    """

    fields: Sequence[str]
    changed: frozenset[str]
    priced: frozenset[str] = frozenset()

    def head(self) -> list[str]:
        names = ["change", "spider", "key", "seen (UTC)"]
        for name in self.fields:
            names += self._of_field(name)
            names += [f"{name} (before)"] if name in self.changed else []
        return names

    def row(self, change: Change) -> Iterator[Any]:
        """Yield the cells of the row for one change.

        Numbers, dates and booleans keep their types, so that each format can write them in its own way.
        """
        yield from (change.kind.value, change.spider, change.key, f"{change.at:%Y-%m-%d %H:%M:%S}")
        now = change.before if change.kind is ChangeKind.GONE else change.after
        for name in self.fields:
            yield from self._cells(name, now.get(name))
            if name in self.changed:
                differs = change.kind is ChangeKind.CHANGED and not same(change.before.get(name), now.get(name))
                yield change.before.get(name) if differs else None

    def _of_field(self, name: str) -> list[str]:
        return [name, f"{name} (currency)"] if name in self.priced else [name]

    def _cells(self, name: str, value: Any) -> Iterator[Any]:
        yield value
        if name in self.priced:
            yield currency_of(value)


class Writer(Protocol):
    """A function that writes a table to `path` and returns the number of rows.

    bom: whether the file is to begin with a byte order mark; formats without byte order marks ignore this parameter.
    """

    def __call__(self, path: Path, columns: Columns, changes: Iterable[Change], *, bom: bool = False) -> int: ...


@dataclass(frozen=True)
class TableFormat:
    """A registered table format.

    description: the text about the format in docs/digests.md. is_text: whether the format is plain text, which can be printed to a
    terminal.
    """

    write: Writer
    content_type: str
    description: str
    is_text: bool = True


def table_format(name: str) -> TableFormat:
    """Return the format registered as `name`."""
    found: TableFormat = load(ATTACHMENT_FORMATS[name])
    return found
