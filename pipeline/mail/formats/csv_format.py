"""Write changes as CSV (RFC 4180), safe to open in a spreadsheet.

Every text is quoted. A text that a spreadsheet program would execute as a formula is written with an apostrophe in front.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.display.field_text import field_text
from pipeline.mail.formats.columns import Columns, TableFormat
from pipeline.model import Change
from pipeline.price import amount_of
from pipeline.text import clean_text

_FORMULA = re.compile(r"[\s\x00]*[=+\-@\uff1d\uff0b\uff0d\uff20|%]|[\t\r]")
_NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?%?")


def guard_formula(text: str) -> str:
    """Return a text, preceded by an apostrophe if a spreadsheet program would execute it as a formula.

    A number such as -5 is unchanged. See OWASP, "CSV injection".
    """
    text = clean_text(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def write_csv(path: Path, columns: Columns, changes: Iterable[Change], *, bom: bool = False) -> int:
    """Write the changes as CSV in UTF-8 and return the number of rows.

    bom: whether the file begins with a byte order mark, which Excel needs to detect UTF-8.
    """
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([guard_formula(name) for name in columns.head()])
        rows = 0
        for rows, change in enumerate(changes, 1):  # noqa: B007  the last count is the number of rows
            writer.writerow([_cell(value) for value in columns.row(change)])
    return rows


def _cell(value: Any) -> Any:
    amount = amount_of(value)
    return guard_formula(field_text(value)) if amount is None else amount


CSV = TableFormat(write_csv, "text/csv",
                  "UTF-8, every text quoted (`csv_bom = true` adds the byte order mark that Excel needs); an apostrophe precedes "
                  "cells that a spreadsheet would run as formulas")
