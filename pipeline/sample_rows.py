"""Format items as a table of text, for terminals and mails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len, set_cell_size

from pipeline.model import Json
from pipeline.text import clean_line

_CELL = 40
_NARROWEST = 12
_INDENT = 3
_GAP = 2


def row_lines(rows: Sequence[Mapping[str, Json]], width: int = 0, *, more: str = "more fields: {names}") -> Iterator[str]:
    """Yield rows as a table, whose cells are cleaned and cut; columns that do not fit are named below the table.

    width: the width of the terminal in columns; 0 asks the terminal. more: the line that names the columns that do not fit.
    """
    if not rows:
        return
    room = max(_NARROWEST, (width or shutil.get_terminal_size((100, 24)).columns) - _INDENT)
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = {name: [clean_line(name, _CELL), *(cell_text(row.get(name)) for row in rows)] for name in names}
    wanted = {name: min(_CELL, max(map(cell_len, cells[name]))) for name in names}
    widths: dict[str, int] = {}
    left = room + _GAP
    for name in names:
        least = min(wanted[name], _NARROWEST)
        if left < least + _GAP:
            break
        widths[name] = least
        left -= least + _GAP
    for name, least in widths.items():
        widths[name] = min(wanted[name], least + left)
        left -= widths[name] - least
    for place in range(len(rows) + 1):
        texts = ((cells[name][place], size) for name, size in widths.items())
        yield (" " * _GAP).join(set_cell_size(text if cell_len(text) <= size else set_cell_size(text, size - 1) + "…", size) for text, size in texts).rstrip()
    if len(widths) < len(names):
        yield more.format(names=", ".join(clean_line(name, _CELL) for name in names[len(widths):]))


def cell_text(value: Json) -> str:
    """Return a value as the text of a cell: on one line, cut if it is long."""
    if isinstance(value, Mapping):  # a price has its text beside the amount
        value = value.get("text") or ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return "" if value is None else clean_line(str(value), 2 * _CELL)
