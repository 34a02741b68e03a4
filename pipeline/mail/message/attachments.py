"""What travels with a digest: its changes as a table, and the files its runs downloaded.

Every cell holds scraped text, and a spreadsheet runs what begins like a formula: CSV cells are guarded with an
apostrophe (OWASP, CSV injection), XLSX cells are written as strings. A format is one writer and one line in
`WRITERS`.
"""

from __future__ import annotations

import csv
import json
import mimetypes
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import xlsxwriter

from pipeline.mail.field_text import field_text, safe_link
from pipeline.model import Change, ChangeKind, StoredFile
from pipeline.price import amount_of, currency_of, same
from pipeline.store import Store
from pipeline.text import clean_line, clean_text

_FORMULA = re.compile(r"[\s\x00]*[=+\-@\uff1d\uff0b\uff0d\uff20|%]|[\t\r]")
_NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?%?")
_TYPE = re.compile(r"(?!(?:multipart|message)/)[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_IN_NAME = re.compile(r"[/\\:*?\"<>|]")
XLSX_ROWS = 1_048_576
XLSX_CELL = 32_767
XLSX_LINKS = 65_000
XLSX_EXACT = 10**15  # a sheet keeps 15 digits: longer numbers are written as text
NAME_LENGTH = 120
MAX_PAGES = 10
"""More pages than this go into one archive."""
_ZIP = "application/zip"


@dataclass(frozen=True)
class Attachment:
    """A file on disk that goes into a mail. ours: written here, and so in UTF-8 where it is text."""

    path: Path
    name: str
    content_type: str
    size_bytes: int
    ours: bool = False


@dataclass(frozen=True)
class LeftOut:
    """A file that did not fit. key: where it is in the file store."""

    name: str
    size_bytes: int
    key: str


@dataclass(frozen=True)
class Columns:
    """The fields a table shows. changed: those that also get a column with what was before; priced: those that are
    prices, and get one with their currency."""

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
        """The cells of one change, as the fields' own values."""
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


def guarded(text: str) -> str:
    """`text` so that no spreadsheet takes it for a formula; numbers are left alone."""
    text = clean_text(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def write_csv(path: Path, columns: Columns, changes: Iterable[Change], *, bom: bool = False) -> int:
    """RFC 4180, UTF-8, with a byte order mark where wanted (Excel asks for one); how many rows."""
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([guarded(name) for name in columns.head()])
        rows = 0
        for rows, change in enumerate(changes, 1):  # noqa: B007  the count is what is left
            writer.writerow([_plain(value) for value in columns.row(change)])
    return rows


def _plain(value: Any) -> Any:
    amount = amount_of(value)
    return guarded(field_text(value)) if amount is None else amount


def write_xlsx(path: Path, columns: Columns, changes: Iterable[Change]) -> int:
    """One sheet with a frozen, filtered header; numbers as numbers, http(s) links as links; how many rows."""
    options = {"constant_memory": True, "tmpdir": str(path.parent), "strings_to_formulas": False,
               "strings_to_urls": False, "strings_to_numbers": False}
    head = columns.head()
    with xlsxwriter.Workbook(str(path), options) as book:
        bold = book.add_format({"bold": True, "bottom": 1})
        sheet = book.add_worksheet("changes")
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, 0, 10)
        sheet.set_column(1, len(head) - 1, 24)
        for column, name in enumerate(head):
            sheet.write_string(0, column, clean_text(name)[:XLSX_CELL], bold)
        rows = links = 0
        for change in changes:
            if rows + 1 == XLSX_ROWS:
                break
            rows += 1
            for column, value in enumerate(columns.row(change)):
                links += _write_cell(sheet, rows, column, value, link=links < XLSX_LINKS)
        sheet.autofilter(0, 0, rows, len(head) - 1)
    return rows


def _write_cell(sheet: Any, row: int, column: int, value: Any, *, link: bool) -> int:
    """Write one cell by the type of its value; 1 when it became a link."""
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif (amount := amount_of(value)) is not None and abs(amount) < XLSX_EXACT:
        sheet.write_number(row, column, amount)
    elif (text := clean_text(field_text(value))[:XLSX_CELL]):
        url = safe_link(value) if link else ""
        if url and sheet.write_url(row, column, url, string=text) == 0:
            return 1
        sheet.write_string(row, column, text)
    return 0


def write_jsonl(path: Path, columns: Columns, changes: Iterable[Change]) -> int:
    """One JSON object a line, before and after whole; how many lines."""
    rows = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for rows, change in enumerate(changes, 1):  # noqa: B007  the count is what is left
            file.write(json.dumps({"change": change.kind.value, "spider": change.spider, "key": change.key,
                                   "at": change.at.isoformat(), "before": change.before, "after": change.after},
                                  ensure_ascii=False).encode("utf-8", "replace").decode())
            file.write("\n")
    return rows


@dataclass(frozen=True)
class Format:
    """A way to write changes: its writer and its media type."""

    write: Callable[[Path, Columns, Iterable[Change]], int]
    content_type: str


WRITERS: dict[str, Format] = {
    "csv": Format(write_csv, "text/csv"),
    "xlsx": Format(write_xlsx, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    "jsonl": Format(write_jsonl, "application/jsonl"),
}


@dataclass
class Packed:
    """What goes along and what does not. further: attachments of the mails that follow this one.

    pages: those on which changes were found. attached_files: by id of a download, the number of the mail it is in.
    rows_left_out: changes that a sheet had no room for.
    """

    attachments: list[Attachment] = field(default_factory=list)
    further: list[list[Attachment]] = field(default_factory=list)
    tables: list[Attachment] = field(default_factory=list)
    pages: list[Attachment] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    attached_files: dict[int, int] = field(default_factory=dict)
    rows_left_out: int = 0

    @property
    def table(self) -> str:
        """Name of the first table that goes along."""
        return self.tables[0].name if self.tables else ""


Oversize = Literal["list", "zip", "split"]


class Packer:
    """Fills one mail, or with oversize = "split" as many as it takes, each with at most `limit_bytes`.

    A table or page that is too large is tried as a ZIP, a downloaded file with oversize = "zip", too. What still does not
    fit is listed; a table is then kept in the store under `keep_under` ("" keeps nothing).
    """

    def __init__(self, store: Store, *, stem: str, keep_under: str, scratch: Path, limit_bytes: int,
                 oversize: Oversize = "list", csv_bom: bool = False) -> None:
        self._store = store
        self._stem = stem
        self._keep_under = keep_under
        self._scratch = scratch
        self._limit_bytes = limit_bytes
        self._oversize = oversize
        self._csv_bom = csv_bom
        self._rooms = [limit_bytes]
        self._names: set[str] = set()
        self.packed = Packed()

    def pack(self, wanted: Sequence[str], *, changes: Iterable[Change], total: int, columns: Columns,
             files: Sequence[StoredFile]) -> Packed:
        """Write the wanted tables and choose the files. total: how many changes there are."""
        for name in dict.fromkeys(wanted):
            if name == "downloads":
                for file in files:
                    self._add_file(file)
            elif name == "pages":
                self._add_pages(dict.fromkeys(change.page_key for change in changes if change.page_key))
            elif total:
                self._add_table(name, changes, total, columns)
        return self.packed

    def _add_table(self, name: str, changes: Iterable[Change], total: int, columns: Columns) -> None:
        path = self._scratch / f"{self._stem}.{name}"
        write = WRITERS[name].write if name != "csv" else partial(write_csv, bom=self._csv_bom)
        rows = write(path, columns, changes)
        self.packed.rows_left_out = max(self.packed.rows_left_out, total - rows)
        found = Attachment(path, path.name, WRITERS[name].content_type, path.stat().st_size, ours=True)
        self._put_or_keep(found, self.packed.tables)

    def _add_pages(self, keys: Iterable[str]) -> None:
        """Each page as an attachment of its own, or many of them as one archive."""
        found = {}
        for key in keys:
            path = self._store.files.path(key)
            if path.is_file():
                found[key] = Attachment(path, safe_name(path.name.partition("-")[2]), "text/html", path.stat().st_size)
        if len(found) > MAX_PAGES:
            named = [replace(page, name=page.path.name) for page in found.values()]
            self._put_or_keep(_archive(named, self._scratch / f"{self._stem}-pages.zip"), self.packed.pages)
        else:
            for key, page in found.items():
                self._put_or_keep(page, self.packed.pages, key=key)

    def _put_or_keep(self, found: Attachment, attached: list[Attachment], *, key: str = "") -> None:
        """Attach what was found, zipped where that helps; else list it. key: where it is in the store already."""
        if self._fits(found.size_bytes) != 1 and found.content_type != _ZIP:  # one mail with a ZIP is better than two
            found = _zipped(found, self._scratch)
        number, named = self._put(found)
        if number:
            attached.append(named)
            return
        if self._keep_under and not key:
            key = f"{self._keep_under}-{found.name}"
            with found.path.open("rb") as source, self._store.files.writing(key) as target:
                shutil.copyfileobj(source, target, 1 << 20)
        self.packed.left_out.append(LeftOut(found.name, found.size_bytes, key))

    def _add_file(self, file: StoredFile) -> None:
        path = self._store.files.path(file.key)
        if not path.is_file():
            return
        name = safe_name(file.name)
        found = Attachment(path, name, media_type(file.content_type, name), path.stat().st_size)
        if self._oversize == "zip" and not self._fits(found.size_bytes):
            found = _zipped(found, self._scratch)
        number, _ = self._put(found)
        if number:
            self.packed.attached_files[file.id] = number

    def _fits(self, size_bytes: int) -> int:
        """Number of the mail that has room, from 1; one beyond them for a new one; 0 when there is none."""
        for number, room in enumerate(self._rooms, 1):
            if size_bytes <= room:
                return number
        return len(self._rooms) + 1 if self._oversize == "split" and size_bytes <= self._limit_bytes else 0

    def _put(self, found: Attachment) -> tuple[int, Attachment]:
        """The number of the mail it went into, and it with a name no other attachment has; 0 when there is no room."""
        number = self._fits(found.size_bytes)
        if not number:
            return 0, found
        if number > len(self._rooms):
            self._rooms.append(self._limit_bytes)
            self.packed.further.append([])
        self._rooms[number - 1] -= found.size_bytes
        named = replace(found, name=_unused(found.name, self._names))
        (self.packed.attachments if number == 1 else self.packed.further[number - 2]).append(named)
        return number, named


def _zipped(found: Attachment, scratch: Path) -> Attachment:
    return replace(_archive([found], scratch / f"{found.path.name}.zip"), name=f"{found.name}.zip")


def _archive(found: Iterable[Attachment], path: Path) -> Attachment:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in found:
            archive.write(one.path, one.name)
    return Attachment(path, path.name, _ZIP, path.stat().st_size)


def safe_name(name: str) -> str:
    """A file name without folders, control and bidi characters, at most 120 characters with its ending."""
    name = _IN_NAME.sub("_", clean_line(name)).replace("\N{REPLACEMENT CHARACTER}", "_").lstrip(". ") or "file"
    if len(name) > NAME_LENGTH:
        ending = Path(name).suffix[:16]
        name = name[:NAME_LENGTH - len(ending)] + ending
    return name


def _unused(name: str, taken: set[str]) -> str:
    found, count = name, 1
    while found.casefold() in taken:
        count += 1
        found = f"{Path(name).stem} ({count}){Path(name).suffix}"
    taken.add(found.casefold())
    return found


def media_type(claimed: str, name: str) -> str:
    """The type a server claimed where it can stand in a mail, else the one its name suggests."""
    bare = claimed.partition(";")[0].strip().lower()
    if _TYPE.fullmatch(bare):
        return bare
    guess = mimetypes.guess_type(name)[0] or ""
    return guess if _TYPE.fullmatch(guess) else "application/octet-stream"
