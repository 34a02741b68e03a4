"""Writes the archive of a spider as one WACZ file (WACZ 1.1.1, specs.webrecorder.net).

WARC files are copied as they are, without compressing them again, so that their checksums and timestamps remain valid. Memory is the same for
any size: indexes are sorted files, which are merged line by line.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

import pipeline
from pipeline.archive.errors import ArchiveError
from pipeline.archive.format import cdxj
from pipeline.atomic_write import replacing
from pipeline.store import Store
from pipeline.store.files.archive_files import ArchiveFile, files_of

VERSION = "1.1.1"
_INDEX, _INDEX_OF_INDEX, _PAGES = "indexes/index.cdx.gz", "indexes/index.idx", "pages/pages.jsonl"
_NOT_MODIFIED = b'"status": "304"'
"""Lines that the index of the package lacks: replay tools would show an empty page instead of the page that was confirmed."""
_METHOD = b'"method": "'
"""In lines of requests other than GET."""
_LINES = 3000
"""Lines of a block of the compressed index: what a replay tool reads to find a page."""
_CHUNK_BYTES = 1024 * 1024
_GZIP = 31
_ATTEMPTS = 3
_OPEN = 200
"""How many indexes are open at once."""


@dataclass(frozen=True)
class Exported:
    """What an export contains. referred: the files of earlier days, outside of the range, to which the others refer."""

    files: int
    referred: int
    records: int
    size_bytes: int


def export(store: Store, spider: str, path: Path, *, now: datetime, first_day: str = "", last_day: str = "") -> Exported:
    """Write the archive of a spider to `path`, as a part that is renamed at the end. Raises ArchiveError, StoreError, OSError.

    first_day, last_day: as 2026-11-30, both inclusive; "" means no limit.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path.parent))
    for attempt in range(1, _ATTEMPTS + 1):
        wanted, referred = files_to_export(store, spider, first_day=first_day, last_day=last_day)
        if not wanted:
            limits = f" between {first_day or 'the beginning'} and {last_day or 'today'}" if first_day or last_day else ""
            raise ArchiveError(f"the archive has no pages of this spider{limits}", where=spider, fix=f"`pipeline archive list {spider}` lists its days")
        try:
            size_bytes = _written(store, spider, path, [*referred, *wanted], now)
            return Exported(len(wanted), len(referred), sum(file.records for file in (*referred, *wanted)), size_bytes)
        except FileNotFoundError as error:  # a day file has replaced these segments meanwhile
            if attempt == _ATTEMPTS:
                nodes = sorted({file.node for file in (*referred, *wanted) if file.node})
                raise ArchiveError(f"a file of the archive is missing: {error}", where=spider, fix=(
                    f"files of these days are on the nodes {', '.join(nodes)}: export them there" if nodes else "`pipeline doctor` says what is wrong")) from error
    raise AssertionError("unreachable")


def files_to_export(store: Store, spider: str, *, first_day: str = "", last_day: str = "") -> tuple[list[ArchiveFile], list[ArchiveFile]]:
    """Return the files of the days, and those of earlier days to which their revisit records refer. Raises StoreError."""
    wanted = files_of(store, spider, first_day=first_day, last_day=last_day)
    oldest = min((file.oldest_day for file in wanted), default="")
    if not first_day or not wanted or oldest >= first_day:
        return wanted, []
    return wanted, [file for file in files_of(store, spider, first_day=oldest, last_day=first_day) if file.day < first_day]


def _written(store: Store, spider: str, path: Path, files: Sequence[ArchiveFile], now: datetime) -> int:
    """Write the files to a part, and rename it. Return its size in bytes."""
    with replacing(path) as part, part.open("wb") as out:
        _write(out, store, spider, files, folder=path.parent, now=now)
        return out.tell() if out.seekable() else 0


def _write(out: BinaryIO, store: Store, spider: str, files: Sequence[ArchiveFile], *, folder: Path, now: datetime) -> None:
    """Write the package. folder: for temporary files."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as package:
        pack = _Packer(package, now)
        for file in files:
            found = pack.copy(f"archive/{_name(file.key)}", store.files.local(file.key))
            if found != file.sha256:
                raise ArchiveError("the file no longer has the checksum that it was stored with: it was changed or damaged", where=file.key,
                                   fix="restore it from a backup, or export other days")
            if file.timestamp_key:
                pack.copy(f"timestamps/{_name(file.timestamp_key)}", store.files.local(file.timestamp_key))
        with ExitStack() as stack:
            indexes = _indexes(store, files, folder, stack)
            blocks = _Blocks()
            fetched = _also_fetched(_merged(indexes))
            pack.write(_INDEX, lambda to: blocks.write((line for line in _merged(indexes) if _is_replayed(line, fetched)), to))
            pack.write(_INDEX_OF_INDEX, lambda to: to.write(blocks.index))
            pack.write(_PAGES, lambda to: to.writelines(_pages(_merged(indexes))))
        pack.close(f"{spider}: {files[0].day} to {files[-1].day}")


def _indexes(store: Store, files: Sequence[ArchiveFile], folder: Path, stack: ExitStack) -> list[BinaryIO]:
    """Open the indexes of the files, which `stack` closes. Of more than _OPEN, groups are merged first: a process may not open thousands of files."""
    found: list[BinaryIO] = []
    for start in range(0, len(files), _OPEN):
        with ExitStack() as group:
            opened = [group.enter_context(store.files.local(file.index_key).open("rb")) for file in files[start:start + _OPEN]]
            if len(files) <= _OPEN:
                stack.push(group.pop_all())
                return list(opened)
            merged = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            merged.writelines(heapq.merge(*opened))
        merged.seek(0)
        found.append(cast("BinaryIO", merged))
    return found


def _merged(indexes: Sequence[BinaryIO]) -> Iterator[bytes]:
    """Yield the lines of all indexes in their order, from the first one."""
    for index in indexes:
        index.seek(0)
    return heapq.merge(*indexes)


def _also_fetched(lines: Iterator[bytes]) -> frozenset[bytes]:
    """Return the keys of pages that were fetched with GET and with other methods. The lines of a key are one after the other."""
    found = set()
    for key, same in groupby(lines, lambda line: line.partition(b" ")[0]):
        methods = [False, False]
        for line in same:
            methods[_is_get(line)] = True
        if all(methods):
            found.add(key)
    return frozenset(found)


def _is_replayed(line: bytes, fetched: Collection[bytes]) -> bool:
    """Return whether a line belongs into the index of the package. fetched: of _also_fetched.

    Replay tools that do not know the field `method` would show the response to a form in place of the page that was fetched from this URL.
    """
    return _NOT_MODIFIED not in line and (_is_get(line) or line.partition(b" ")[0] not in fetched)


def _is_get(line: bytes) -> bool:
    return _METHOD not in line or cdxj.parse(line).method == "GET"  # the parsed line is certain, and takes longer


class _Packer:
    """Writes the entries of the package with their checksums."""

    def __init__(self, package: zipfile.ZipFile, now: datetime) -> None:
        self._package = package
        self._now = now
        self._resources: list[dict[str, str | int]] = []

    def write(self, path: str, write: Callable[[_Hashed], object]) -> str:
        """Write an entry, and return its SHA-256."""
        with self._package.open(self._entry(path), "w", force_zip64=True) as file:
            hashed = _Hashed(file)
            write(hashed)
        digest = hashed.sha256.hexdigest()
        self._resources.append({"name": PurePosixPath(path).name, "path": path, "hash": f"sha256:{digest}", "bytes": hashed.size_bytes})
        return digest

    def copy(self, path: str, source: Path) -> str:
        with source.open("rb") as file:
            return self.write(path, lambda to: to.writelines(iter(lambda: file.read(_CHUNK_BYTES), b"")))

    def close(self, title: str) -> None:
        """Write the description of the package, and its checksum."""
        at = self._now.isoformat(timespec="seconds").replace("+00:00", "Z")
        package = json.dumps({"profile": "data-package", "wacz_version": VERSION, "title": title, "created": at, "modified": at,
                              "software": f"crawl-to-inbox {pipeline.__version__}", "resources": self._resources}, indent=2).encode()
        self._package.writestr(self._entry("datapackage.json"), package)
        digest = {"path": "datapackage.json", "hash": f"sha256:{hashlib.sha256(package).hexdigest()}"}
        self._package.writestr(self._entry("datapackage-digest.json"), json.dumps(digest, indent=2))

    def _entry(self, path: str) -> zipfile.ZipInfo:
        entry = zipfile.ZipInfo(path, (min(max(self._now.year, 1980), 2107), *self._now.timetuple()[1:6]))  # a ZIP file has no other years
        entry.external_attr = 0o600 << 16
        return entry


class _Hashed:
    """Writes to a file, and computes size and SHA-256 of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        self.sha256.update(data)
        self.size_bytes += len(data)
        self._file.write(data)

    def writelines(self, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            self.write(piece)


class _Blocks:
    """Writes the lines of an index in compressed blocks (ZipNum). index: where each block is."""

    def __init__(self) -> None:
        self.index = b'!meta 0 {"format": "cdxj-gzip-1.0", "filename": "index.cdx.gz"}\n'
        self._offset = 0

    def write(self, lines: Iterator[bytes], to: _Hashed) -> None:
        block: list[bytes] = []
        for line in lines:
            block.append(line)
            if len(block) == _LINES:
                self._add(block, to)
                block = []
        if block:
            self._add(block, to)

    def _add(self, block: Sequence[bytes], to: _Hashed) -> None:
        packed = zlib.compress(b"".join(block), wbits=_GZIP)
        place = {"offset": self._offset, "length": len(packed), "digest": f"sha256:{hashlib.sha256(packed).hexdigest()}"}
        self.index += b"%s %s\n" % (b" ".join(block[0].split(b" ", 2)[:2]), json.dumps(place).encode())
        self._offset += len(packed)
        to.write(packed)


def _pages(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the list of pages: each HTML page, with the times at which it was another than before. ReplayWeb.page cannot open the response to a POST by its URL."""
    yield b'{"format": "json-pages-1.0", "id": "pages", "title": "Pages"}\n'
    for line in lines:
        if b'"text/html"' in line:
            entry = cdxj.parse(line)
            if entry.mime == "text/html" and entry.status in (200, None) and entry.method == "GET" and not entry.url.startswith("urn:"):
                page = {"id": entry.digest.rpartition(":")[2][:32], "url": entry.url, "ts": f"{entry.at:%Y-%m-%dT%H:%M:%SZ}"}
                yield json.dumps(page).encode() + b"\n"


def _name(key: str) -> str:
    return PurePosixPath(key).name
