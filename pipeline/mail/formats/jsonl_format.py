"""Write changes as JSON lines: one object per change, with the complete `before` and `after`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.mail.formats.columns import Columns, TableFormat
from pipeline.model import Change, ChangeKind


def write_jsonl(path: Path, columns: Columns, changes: Iterable[Change], *, bom: bool = False) -> int:
    """Write one JSON object per line and return the number of lines."""
    rows = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for rows, change in enumerate(changes, 1):  # noqa: B007  the last count is the number of rows
            before = {} if change.kind is ChangeKind.NEW else change.before
            file.write(json.dumps({"change": change.kind.value, "spider": change.spider, "key": change.key,
                                   "at": change.at.isoformat(), "before": before, "after": change.after},
                                  ensure_ascii=False).encode("utf-8", "replace").decode())
            file.write("\n")
    return rows


JSONL = TableFormat(write_jsonl, "application/jsonl", "one change per line, with `before` and `after` complete")
