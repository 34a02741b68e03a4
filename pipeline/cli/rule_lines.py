"""Show what the rules of a spider matched in a pass, as lines of text or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.store.crawl.rule_counts import RuleRow
from pipeline.text import clean_line, counted


def rule_lines(rows: Sequence[RuleRow]) -> Iterator[str]:
    """Yield a line for each rule or field, such as "items.each  matched on 3 of 3 pages, 30 matches, usually 100%"."""
    names = [clean_line(row.name, 60) for row in rows]
    width = max(map(len, names), default=0)
    for name, row in zip(names, rows, strict=True):
        count = row.count
        found = f"filled in {count.matches} of {counted(count.items, 'item')}" if count.items else \
            f"matched on {count.pages_matched} of {counted(count.pages, 'page')}, {counted(count.matches, 'match')}"
        usually = f", usually {row.usual:.0%}" if row.usual is not None else ""
        yield f"{name:<{width}}  {found}{usually}"


def rule_fields(rows: Sequence[RuleRow]) -> list[dict[str, Any]]:
    """Return the rows for a JSON document."""
    return [{"rule": row.name, **row.count._asdict(), "share": row.share, "usual": row.usual} for row in rows]
