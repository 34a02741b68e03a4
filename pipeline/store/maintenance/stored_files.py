"""The files of an object store in a backup.

Put into the archive, listed with their checksums, verified, and uploaded by a restore.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, cast

from pipeline.errors import StoreError
from pipeline.store.files.file_store import FOLDERS, FileStore, StoredFileInfo
from pipeline.store.maintenance.archive import CHUNK_BYTES, FILES, HashingReader

PREFIXES = tuple(f"{folder}/" for folder in FOLDERS)
"""The files of an object store that a backup contains. As with files in data_dir, logs are left out."""
_THREADS = 8
_AT_ONCE = 1000

class ObjectReader:
    """A readable file over one object, of which only a part is in memory."""

    def __init__(self, files: FileStore, found: StoredFileInfo) -> None:
        self._files = files
        self._found = found
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        end = self._found.size_bytes if size < 0 else min(self._at + size, self._found.size_bytes)
        content = self._files.read(self._found.key, self._at, end, etag=self._found.etag) if end > self._at else b""
        self._at = end
        return content


class _BufferedReader:
    """Reads from an ObjectReader in large parts, because each read is a request, and tarfile reads in small parts."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._buffer = memoryview(b"")

    def fill(self) -> None:
        if not self._buffer:
            self._buffer = memoryview(self._reader.read(8 * CHUNK_BYTES))

    def read(self, size: int) -> bytes:
        self.fill()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return bytes(taken) if len(taken) == size or not taken else bytes(taken) + self.read(size - len(taken))


def add_objects(archive: tarfile.TarFile, files: FileStore) -> Iterator[tuple[str, str]]:
    """Copy the objects into the archive; yield the name in the archive and the SHA-256 of each. An object deleted meanwhile is left out.

    The beginning of an object, which is most often all of it, is read before the archive gets its head: it may be replaced or deleted
    between two requests.
    """
    for key in (each.key for each in list_objects(files)):
        opened = _opened(files, key)
        if opened is None:
            continue
        found, content = opened
        head = tarfile.TarInfo(FILES + key)
        head.size, head.mode, head.mtime = found.size_bytes, 0o600, int(found.modified_at.timestamp())
        reading = HashingReader(cast("IO[bytes]", content))
        archive.addfile(head, cast("IO[bytes]", reading))  # addfile only calls read()
        yield head.name, reading.sha256


def _opened(files: FileStore, key: str) -> tuple[StoredFileInfo, _BufferedReader] | None:
    """Read the beginning of the newest version of an object. Return None if there is no such object any more."""
    for last in (False, False, True):
        found = files.info(key)
        if found is None:
            return None
        content = _BufferedReader(ObjectReader(files, found))
        try:
            content.fill()
        except FileNotFoundError:
            return None
        except StoreError as error:
            if last or not error.retry:
                raise
        else:
            return found, content
    raise AssertionError("unreachable: the last attempt returns or raises")


def list_objects(files: FileStore) -> Iterator[StoredFileInfo]:
    for prefix in PREFIXES:
        yield from files.list(prefix)


def write_list(files: FileStore, target: Path) -> int:
    """Write a line with key, size and SHA-256 of each object to a file, without reading the objects; return their number."""
    count = 0
    names = (each.key for each in list_objects(files))
    with target.open("w", encoding="utf-8") as lines, ThreadPoolExecutor(_THREADS, thread_name_prefix="objects") as pool:
        while keys := list(islice(names, _AT_ONCE)):
            for found in pool.map(files.info, keys):
                if found is not None:
                    count += 1
                    lines.write(json.dumps([found.key, found.size_bytes, found.sha256]) + "\n")
    return count


def missing_objects(files: FileStore, listed: Path) -> list[str]:
    """Return the keys of the files in a list that are missing, or have another size or SHA-256."""
    def is_missing(line: str) -> str | None:
        key, size_bytes, sha256 = json.loads(line)
        found = files.info(key)
        is_same = found is not None and found.size_bytes == size_bytes and (not sha256 or sha256 == (found.sha256 or _sha256(files, found)))
        return None if is_same else str(key)

    missing: list[str] = []
    with listed.open(encoding="utf-8") as lines, ThreadPoolExecutor(_THREADS, thread_name_prefix="objects") as pool:
        while some := list(islice(lines, _AT_ONCE)):
            missing += [key for key in pool.map(is_missing, some) if key is not None]
    return missing


def _sha256(files: FileStore, found: StoredFileInfo) -> str:
    """Read an object that another program has stored, without its SHA-256."""
    reading = HashingReader(cast("IO[bytes]", ObjectReader(files, found)))
    while reading.read(8 * CHUNK_BYTES):
        pass
    return reading.sha256


@dataclass(frozen=True)
class Upload:
    """The unpacked files of a backup that belong into an object store. folder: where they are."""

    folder: Path
    files: FileStore

    def refuse_others(self) -> None:
        """Raise StoreError if the object store has another file under the key of one of the files."""
        for path, key in self._found():
            there = self.files.info(key)
            if there is not None and not _is_same(path, there):
                raise StoreError(f"the object store has another file {key}", where="pipeline.storage",
                                 fix="restore to an empty prefix of the bucket, or use --replace, which overwrites such files")

    def perform(self) -> None:
        """Upload the files that the object store does not have, and delete them from the folder."""
        for path, key in self._found():
            there = self.files.info(key)
            if there is None or not _is_same(path, there):
                with path.open("rb") as file, self.files.writing(key) as copy:
                    while chunk := file.read(CHUNK_BYTES):
                        copy.write(chunk)
            path.unlink()

    def _found(self) -> Iterator[tuple[Path, str]]:
        for path in sorted(self.folder.rglob("*")):
            key = path.relative_to(self.folder).as_posix()
            if path.is_file() and key.startswith(PREFIXES):
                yield path, key


def _is_same(path: Path, there: StoredFileInfo) -> bool:
    if path.stat().st_size != there.size_bytes or not there.sha256:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == there.sha256
