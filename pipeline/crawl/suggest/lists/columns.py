"""The columns of a table that rows belong to, and what their headings say."""

from __future__ import annotations

import re

from pipeline.crawl.suggest.lists.slots import Slot
from pipeline.crawl.suggest.lists.tree import Element

_SPANS = frozenset(map(str, range(1, 100)))


def headers_of(head: Element) -> dict[int, str]:
    """Return the headings of the columns of the table that a row is in, by the number of the column from 1."""
    if head.tag != "tr":
        return {}
    table = next((above for above in head.ancestors() if above.tag == "table"), None)
    if table is None:
        return {}
    rows = [row for part in table.children for row in (part.children if part.tag in ("thead", "tbody") else [part]) if row.tag == "tr"]
    for row in rows[:3]:
        cells = [cell for cell in row.children if cell.tag in ("th", "td")]
        in_head = row.parent is not None and row.parent.tag == "thead"
        if len(cells) > 1 and row is not head and (in_head or sum(map(_is_heading, cells)) >= max(2, len(cells) - 1)):
            return _by_column(cells)
    return {}


def _by_column(cells: list[Element]) -> dict[int, str]:
    """Return the texts of headings by the number of their column; a heading may stand above several columns."""
    found, column = {}, 1
    for cell in cells:
        found[column] = cell.whole_text
        span = cell.attributes.get("colspan") or ""
        column += int(span) if span in _SPANS else 1
    return found


def _is_heading(cell: Element) -> bool:
    """Return whether a cell is a heading of its column: <th>, a class that says so, or bold text only."""
    return cell.tag == "th" or any("head" in name for name in cell.classes) or (
        len(cell.children) == 1 and cell.children[0].tag in ("b", "strong") and cell.children[0].length == cell.length > 0)


def column_of(slot: Slot) -> int:
    match = re.match(r" > t[dh][^>\[]*\[(\d+)\]", slot.key)
    return int(match[1]) if match else 0
