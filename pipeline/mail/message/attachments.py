"""The attachments of a digest: tables of changes, downloaded files, saved pages with changed items."""

from __future__ import annotations

import mimetypes
import re
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.mail.formats.columns import Columns, table_format
from pipeline.model import Change, StoredFile
from pipeline.store import Store
from pipeline.text import clean_line

_TYPE = re.compile(r"(?!(?:multipart|message)/)[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_IN_NAME = re.compile(r"[/\\:*?\"<>|]")
NAME_LENGTH = 120
MAX_PAGES = 10
"""If a digest has more saved pages than this, the pages are attached as one ZIP archive."""
_ZIP = "application/zip"
_PROGRAMS = frozenset({
    ".ade", ".adp", ".apk", ".appx", ".appxbundle", ".bat", ".cab", ".chm", ".cmd", ".com", ".cpl", ".diagcab", ".diagcfg", ".diagpkg",
    ".dll", ".dmg", ".ex", ".ex_", ".exe", ".hta", ".img", ".ins", ".iso", ".isp", ".jar", ".jnlp", ".js", ".jse", ".lib", ".lnk",
    ".mde", ".mjs", ".msc", ".msi", ".msix", ".msixbundle", ".msp", ".mst", ".nsh", ".pif", ".ps1", ".ps1xml", ".ps2", ".psc1",
    ".psc2", ".reg", ".scr", ".sct", ".shb", ".sh", ".sys", ".url", ".vb", ".vbe", ".vbs", ".vhd", ".vxd", ".wsc", ".wsf", ".wsh",
    ".xll",
})
"""Extensions of files that Gmail and Outlook refuse as attachments."""


@dataclass(frozen=True)
class Attachment:
    """A file on disk to attach to a mail.

    ours: whether this program wrote the file. A text file that this program wrote is encoded in UTF-8.
    """

    path: Path
    name: str
    content_type: str
    size_bytes: int
    ours: bool = False


@dataclass(frozen=True)
class LeftOut:
    """A file that is not attached because it exceeds the size limit.

    key: key of the file in the file store; "" if the file store does not contain the file.
    """

    name: str
    size_bytes: int
    key: str


@dataclass
class Packed:
    """The attachments of each mail of a digest, and the files that are left out.

    attachments: the files attached to the first mail. further: for each further mail, the files attached to it. tables, pages: the
    attached files that are tables, and those that are saved pages. attached_files: maps the id of each attached download to the
    number of the mail and the attachment there. programs: the ids of downloads that are not attached because they are programs or scripts.
    older: the ids of downloads that are not attached because a newer version of the same file is. no_room: the ids of downloads for which no mail has room. missing: the ids of downloads that are no longer stored. limit_bytes:
    maximum size of the attachments of each mail.
    rows_left_out: number of changes that a table does not contain because of the row limit of its format.
    """

    attachments: list[Attachment] = field(default_factory=list)
    further: list[list[Attachment]] = field(default_factory=list)
    tables: list[Attachment] = field(default_factory=list)
    pages: list[Attachment] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    attached_files: dict[int, tuple[int, Attachment]] = field(default_factory=dict)
    programs: set[int] = field(default_factory=set)
    older: set[int] = field(default_factory=set)
    no_room: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    limit_bytes: int = 0
    rows_left_out: int = 0

    @property
    def table(self) -> str:
        """The name of the first attached table, or "" if no table is attached."""
        return self.tables[0].name if self.tables else ""


Oversize = Literal["list", "zip", "split"]


class Packer:
    """Distributes attachments over mails, with at most `limit_bytes` of attachments in each mail.

    A table or saved page for which the first mail has no room is zipped, and is listed in `Packed.left_out` if no mail has room for the
    ZIP file. oversize: "split" adds mails for files for which the first mail has no room; "zip" zips downloaded files that are too
    large; "list" does neither. stem: file name of the tables, without extension. keep_under: beginning of the keys under which the file
    store keeps tables and archives that are not attached; "" does not keep them. scratch: folder for temporary files.
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
        self._free_bytes = [limit_bytes]
        self._names: set[str] = set()
        self.packed = Packed(limit_bytes=limit_bytes)

    def pack(self, wanted: Sequence[str], *, changes: Iterable[Change], total: int, columns: Columns,
             files: Sequence[StoredFile], programs: bool = False) -> Packed:
        """Write the requested tables, choose the requested files, and return the attachments.

        wanted: what to attach: "downloads", "pages" and names of table formats. total: number of changes. columns: the columns of
        the tables. files: the downloaded files, which are attached if `wanted` contains "downloads", of several versions
        of one file only the newest.
        programs: whether programs and scripts are attached, too.
        """
        for name in dict.fromkeys(wanted):
            if name == "downloads":
                newest = {(file.spider, file.url): file.id for file in sorted(files, key=lambda file: (file.fetched_at, file.id))}
                for file in files:
                    if newest[file.spider, file.url] != file.id:
                        self.packed.older.add(file.id)
                    elif programs or not is_program(file.name):
                        self._add_file(file)
                    else:
                        self.packed.programs.add(file.id)
            elif name == "pages":
                self._add_pages(dict.fromkeys(change.page_key for change in changes if change.page_key))
            elif total:
                self._add_table(name, changes, total, columns)
        return self.packed

    def _add_table(self, name: str, changes: Iterable[Change], total: int, columns: Columns) -> None:
        path = self._scratch / f"{self._stem}.{name}"
        table = table_format(name)
        rows = table.write(path, columns, changes, bom=self._csv_bom)
        self.packed.rows_left_out = max(self.packed.rows_left_out, total - rows)
        found = Attachment(path, path.name, table.content_type, path.stat().st_size, ours=True)
        self._put_or_keep(found, self.packed.tables)

    def _add_pages(self, keys: Iterable[str]) -> None:
        """Attach each saved page, or one archive of all pages if there are more than `MAX_PAGES`."""
        found = {}
        for key in keys:
            with suppress(FileNotFoundError):
                path = self._store.files.local(key)
                found[key] = Attachment(path, safe_name(PurePosixPath(key).name.partition("-")[2]), "text/html", path.stat().st_size)
        if len(found) > MAX_PAGES:
            named = [replace(page, name=PurePosixPath(key).name) for key, page in found.items()]
            self._put_or_keep(_archive(named, self._scratch / f"{self._stem}-pages.zip"), self.packed.pages)
        else:
            for key, page in found.items():
                self._put_or_keep(page, self.packed.pages, key=key)

    def _put_or_keep(self, found: Attachment, attached: list[Attachment], *, key: str = "") -> None:
        """Attach a file, zipped if necessary; list the file in `Packed.left_out` if no mail has room for it.

        attached: the list to which the file is added if it is attached. key: key of the file in the file store; "" if the file store
        does not contain the file yet.
        """
        original = found
        if self._fits(found.size_bytes) != 1 and found.content_type != _ZIP:  # a ZIP file in the first mail is better than a second mail
            found = _zipped(found, self._scratch)
        number, named = self._put(found)
        if number:
            attached.append(named)
            return
        if key:  # the file store contains the file as it was, not zipped
            found = original
        elif self._keep_under:
            key = f"{self._keep_under}-{found.name}"
            with found.path.open("rb") as source, self._store.files.writing(key) as target:
                shutil.copyfileobj(source, target, 1 << 20)
        self.packed.left_out.append(LeftOut(found.name, found.size_bytes, key))

    def _add_file(self, file: StoredFile) -> None:
        try:
            size_bytes = self._store.files.size(file.key)
            if self._oversize != "zip" and not self._fits(size_bytes):  # the file itself, which may be large and far away, is not needed
                self.packed.no_room.add(file.id)
                return
            path = self._store.files.local(file.key)
        except FileNotFoundError:
            self.packed.missing.add(file.id)
            return
        name = safe_name(file.name)
        found = Attachment(path, name, media_type(file.content_type, name), size_bytes)
        if self._oversize == "zip" and not self._fits(found.size_bytes):
            found = _zipped(found, self._scratch)
        number, named = self._put(found)
        if number:
            self.packed.attached_files[file.id] = number, named
        else:
            self.packed.no_room.add(file.id)

    def _fits(self, size_bytes: int) -> int:
        """Return the number of the first mail, counted from 1, that has room for a file of this size.

        If another mail is needed, this is the number of the new mail. If no mail can contain the file, this is 0.
        """
        for number, free_bytes in enumerate(self._free_bytes, 1):
            if size_bytes <= free_bytes:
                return number
        return len(self._free_bytes) + 1 if self._oversize == "split" and size_bytes <= self._limit_bytes else 0

    def _put(self, found: Attachment) -> tuple[int, Attachment]:
        """Add a file to the first mail that has room; return the mail's number and the attachment.

        The attachment has a name that no other attachment has. The number is 0 if no mail can contain the file.
        """
        number = self._fits(found.size_bytes)
        if not number:
            return 0, found
        if number > len(self._free_bytes):
            self._free_bytes.append(self._limit_bytes)
            self.packed.further.append([])
        self._free_bytes[number - 1] -= found.size_bytes
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
    """Return a safe file name of at most `NAME_LENGTH` characters that has the same extension as `name`.

    Folder separators, control characters and direction marks are replaced or removed.
    """
    name = _IN_NAME.sub("_", clean_line(name)).replace("\N{REPLACEMENT CHARACTER}", "_").lstrip(". ") or "file"
    if len(name) > NAME_LENGTH:
        extension = Path(name).suffix[:16]
        name = name[:NAME_LENGTH - len(extension)] + extension
    return name


def is_program(name: str) -> bool:
    """Return whether a file is a program or a script by its name. Mail servers refuse a whole message with such a file."""
    return Path(name.rstrip(". ")).suffix.lower() in _PROGRAMS


def _unused(name: str, taken: set[str]) -> str:
    found, count = name, 1
    while found.casefold() in taken:
        count += 1
        found = f"{Path(name).stem} ({count}){Path(name).suffix}"
    taken.add(found.casefold())
    return found


def media_type(claimed: str, name: str) -> str:
    """Return the media type for an attached file.

    claimed: the media type that the web server sent with the file; used if it is safe in a mail. Otherwise the media type is guessed
    from the file name.
    """
    bare = claimed.partition(";")[0].strip().lower()
    if _TYPE.fullmatch(bare):
        return bare
    guess = mimetypes.guess_type(name)[0] or ""
    return guess if _TYPE.fullmatch(guess) else "application/octet-stream"
