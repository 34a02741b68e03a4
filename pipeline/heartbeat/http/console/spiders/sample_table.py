"""Sample items as a table of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.model import Json
from pipeline.sample_rows import cell_text

_MOST_COLUMNS = 8
_MOST_ROWS = 20


@dataclass(frozen=True)
class SampleTable:
    """Sample items as a table. more: the fields without a column. left_out: the number of items without a row."""

    names: list[str]
    rows: list[list[str]]
    more: list[str]
    left_out: int

    @classmethod
    def of(cls, items: Sequence[Mapping[str, Json]], count: int | None = None) -> SampleTable:
        names = list(dict.fromkeys(name for item in items for name in item))
        shown = names[:_MOST_COLUMNS]
        rows = [[cell_text(item.get(name)) for name in shown] for item in items[:_MOST_ROWS]]
        return cls(shown, rows, names[_MOST_COLUMNS:], (len(items) if count is None else count) - len(rows))
