"""Write changes as an XLSX sheet: typed numbers and links, a frozen header with filters, no formulas."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xlsxwriter
from xlsxwriter.exceptions import FileCreateError

from pipeline.display.field_text import field_text, safe_link
from pipeline.mail.formats.columns import Columns, TableFormat
from pipeline.model import Change
from pipeline.price import amount_of
from pipeline.text import clean_text

MAX_ROWS = 1_048_576
MAX_CELL = 32_767
MAX_LINKS = 65_000
EXACT_BELOW = 10**15
"""Numbers of this size and larger are written as text, because a spreadsheet keeps only the first 15 digits of a number."""


def write_xlsx(path: Path, columns: Columns, changes: Iterable[Change], *, bom: bool = False) -> int:
    """Write a file with one sheet and return the number of rows. The sheet has at most `MAX_ROWS` rows."""
    options = {"constant_memory": True, "tmpdir": str(path.parent), "strings_to_formulas": False,
               "strings_to_urls": False, "strings_to_numbers": False}
    try:
        with xlsxwriter.Workbook(str(path), options) as book:
            return _write_sheet(book, columns, changes)
    except FileCreateError as error:  # what xlsxwriter makes of an OSError, such as that of a full disk
        raise error.args[0] if error.args and isinstance(error.args[0], OSError) else OSError(str(error)) from None


def _write_sheet(book: Any, columns: Columns, changes: Iterable[Change]) -> int:
    """Write the only sheet, and return the number of rows."""
    head = columns.head()
    bold = book.add_format({"bold": True, "bottom": 1})
    sheet = book.add_worksheet("changes")
    sheet.freeze_panes(1, 0)
    sheet.set_column(0, 0, 10)
    sheet.set_column(1, len(head) - 1, 24)
    for column, name in enumerate(head):
        sheet.write_string(0, column, clean_text(name)[:MAX_CELL], bold)
    rows = links = 0
    for change in changes:
        if rows + 1 == MAX_ROWS:
            break
        rows += 1
        for column, value in enumerate(columns.row(change)):
            links += _write_cell(sheet, rows, column, value, link=links < MAX_LINKS)
    sheet.autofilter(0, 0, rows, len(head) - 1)
    return rows


def _write_cell(sheet: Any, row: int, column: int, value: Any, *, link: bool) -> int:
    """Write one cell with the type that fits its value; return 1 if the cell becomes a link, otherwise 0."""
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif (amount := amount_of(value)) is not None and abs(amount) < EXACT_BELOW:
        sheet.write_number(row, column, amount)
    elif (text := clean_text(field_text(value))[:MAX_CELL]):
        url = safe_link(value) if link else ""
        if url and sheet.write_url(row, column, url, string=text) == 0:
            return 1
        sheet.write_string(row, column, text)
    return 0


XLSX = TableFormat(write_xlsx, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                   "typed numbers and links, a frozen header with filters; scraped text never becomes a formula", is_text=False)
