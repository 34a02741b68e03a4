"""The backup archive: its manifest, its file names, and how to unpack it safely.

The archive may be damaged, or may not come from this program at all.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, cast

from pipeline.errors import DiskFullError, StoreError
from pipeline.store.console.item_index import FILES as ITEM_INDEX
from pipeline.store.database import migrate
from pipeline.store.database.engine import Store
from pipeline.store.maintenance.clock_trust import FILE as CLOCK
from pipeline.store.moved import SUFFIX as MOVED
from pipeline.store.open import UNFINISHED_RESTORE as UNFINISHED

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "database"
OBJECTS = "objects"
"""The list of the files that are in an object store and not in the archive: a line of JSON for each, with key, size and SHA-256."""
FILES = "files/"
PARTS = ".parts"
"""The name of the folders of partial downloads. A finished download may have any name, such as "yarn.lock"."""
SQLITE_FILES = ("pipeline.sqlite3", "pipeline.sqlite3-wal", "pipeline.sqlite3-shm")
STAGING = ".restoring"
REPLACED = "replaced"
# Not copied into a backup: the database, of which a snapshot is taken instead; the mark of a database that was moved; the lock and
# the record of the clock, which belong to this machine; the search index, which the service builds; and logs, which a restore does not need.
NOT_BACKED_UP = frozenset({*SQLITE_FILES, *ITEM_INDEX, SQLITE_FILES[0] + MOVED, "logs", "serve.lock", CLOCK, migrate.KEPT_BEFORE, STAGING, UNFINISHED})
MOST_FILES = 1_000_000
"""The maximum number of files in an archive: reading an archive takes about a kilobyte of memory for each file."""
CHUNK_BYTES = 1 << 20
_MOST_AT_ONCE = 16 << 20
"""The maximum size in bytes of one read from the archive. A damaged header could otherwise fill the memory."""
_GZIP = b"\x1f\x8b"


@dataclass
class Manifest:
    """The description of an archive's contents.

    version: the version of the program that made the archive. kind: the kind of its database.
    revision: the number of the last migration of its database. files: the SHA-256 of each file, by name.
    """

    format: int
    version: str
    kind: str
    revision: str
    made_at: str
    files: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of files in the archive, apart from the database and the list of objects."""
        return len(self.files.keys() - {DATABASE, OBJECTS})


class HashingReader:
    """A readable file that computes the SHA-256 of the data that was read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        found = self._file.read(size)
        self._sum.update(found)
        return found

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()


def unpack(source: Path, staging: Path, store: Store) -> Manifest:
    """Unpack an archive into the folder `staging`, verify it completely, and return its manifest.

    Raises StoreError if the archive is damaged, incomplete, not from this program, or from another kind of database.
    """
    staging.mkdir(mode=0o700)
    found: dict[str, str] = {}
    content = b""
    try:
        with _opened(source) as archive:
            for head in archive:
                file = archive.extractfile(head) if head.isreg() else None
                if file is None:
                    raise StoreError(f"the archive contains {head.name!r}, which is not a regular file", where=str(source), fix="use a file that `pipeline backup` wrote")
                if len(found) > MOST_FILES:
                    raise StoreError(f"the archive contains more than {MOST_FILES} files", where=str(source), fix="use a file that `pipeline backup` wrote")
                if head.name == MANIFEST:
                    content = _manifest_text(file, head, found, source)
                else:
                    _refuse_what_does_not_fit(head, staging)
                    found[head.name] = _unpack_one(file, staging, head, source)
    except FileNotFoundError as error:
        raise StoreError("the file does not exist", where=str(source)) from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, OverflowError) as error:
        raise StoreError(f"the file cannot be read as a backup: {error}", where=str(source),
                         fix="use another backup, because this file is damaged or incomplete") from error
    manifest = _manifest(content, source)
    wrong = [name for name in manifest.files if found.get(name) != manifest.files[name]]
    if wrong or set(found) != set(manifest.files):
        raise StoreError(f"the backup is damaged: {(wrong or ['the list of files'])[0]} does not match the manifest of the backup",
                         where=str(source), fix="use another backup")
    if manifest.kind != store.kind:
        raise StoreError(f"the backup contains a {manifest.kind} database, but the settings name a {store.kind} database", where=str(source),
                         fix=f"set [pipeline] database to a {manifest.kind} database")
    migrate.refuse_newer(manifest.revision, str(source))
    return manifest


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive, whether compressed or not, so that no single read exceeds _MOST_AT_ONCE bytes."""
    with source.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if packed else nullcontext(raw) as file, \
                tarfile.open(fileobj=cast("IO[bytes]", _LimitedReader(cast("IO[bytes]", file))), mode="r:") as archive:
            yield archive


class _LimitedReader:
    """A readable file that refuses to read more than _MOST_AT_ONCE bytes at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError(f"an entry has a header of {size} bytes, which is too large")
        return self._file.read(size)


def _manifest_text(file: IO[bytes], head: tarfile.TarInfo, found: dict[str, str], source: Path) -> bytes:
    """Return the bytes of the manifest.

    Raises StoreError if the manifest is larger than expected for the files before it in the archive.
    """
    most = 4096 + sum(6 * len(name) + 100 for name in found)
    if head.size > most:
        raise StoreError("the manifest of the archive is larger than expected for the number of files", where=str(source), fix="use a file that `pipeline backup` wrote")
    return b"".join(iter(lambda: file.read(CHUNK_BYTES), b""))


def _manifest(content: bytes, source: Path) -> Manifest:
    """Parse the JSON of a manifest.

    Raises StoreError if the manifest is missing, malformed or of another format version.
    """
    try:
        found = json.loads(content)
        number = found["format"]
        if number != FORMAT:
            raise StoreError(f"the backup has the format {number!r}; this version can read only format {FORMAT}", where=str(source),
                             fix="restore the backup with the version of the program that made the backup")
        manifest = Manifest(**found)
        datetime.fromisoformat(manifest.made_at)
        known = all(isinstance(text, str) for pair in manifest.files.items() for text in pair)
        if not known or not isinstance(manifest.kind, str) or not re.fullmatch(r"\d{4}|", manifest.revision):
            raise ValueError  # noqa: TRY301
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError("the archive has no valid manifest at its end", where=str(source),
                         fix="use another file: this one is incomplete, or was not written by `pipeline backup`") from error
    return manifest


def _refuse_what_does_not_fit(head: tarfile.TarInfo, staging: Path) -> None:
    free = shutil.disk_usage(staging).free
    if head.size > free:
        raise DiskFullError(f"{head.name!r} needs {head.size} bytes, but only {free} bytes are free", where=str(staging),
                            fix="free some disk space, and start the restore again")


def _unpack_one(file: IO[bytes], staging: Path, head: tarfile.TarInfo, source: Path) -> str:
    parts = Path(head.name).parts
    if head.name not in (DATABASE, OBJECTS) and (parts[:1] != ("files",) or len(parts) < 2 or ".." in parts
                                  or parts[1] in NOT_BACKED_UP):
        raise StoreError(f"the archive contains {head.name!r}, which does not belong in data_dir", where=str(source), fix="use a file that `pipeline backup` wrote")
    target = staging.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    reading = HashingReader(file)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
        while chunk := reading.read(CHUNK_BYTES):
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    os.chmod(target, head.mode & 0o700)  # never readable by others
    os.utime(target, (head.mtime, head.mtime))
    return reading.sha256
