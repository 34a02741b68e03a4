"""Back up a store to a single archive while other processes use the store.

A snapshot of the database is copied first, and then the files of data_dir and of the object store: a file is always written before
the database refers to it, so no file is missing. The manifest with the hash of each file is the last entry of the archive, so that a
truncated archive is recognized.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, cast

from pipeline.atomic_write import is_part_name, replacing, scratch_folder
from pipeline.errors import DiskFullError, StoreError
from pipeline.store.database import migrate
from pipeline.store.database.engine import Store
from pipeline.store.files.file_store import stays_on_node
from pipeline.store.files.object_cache import FOLDER as OBJECT_COPIES
from pipeline.store.maintenance.archive import (
    DATABASE,
    FILES,
    FORMAT,
    MANIFEST,
    MOST_FILES,
    NOT_BACKED_UP,
    OBJECTS,
    PARTS,
    REPLACED,
    HashingReader,
    Manifest,
)
from pipeline.store.maintenance.stored_files import add_objects, write_list


@dataclass(frozen=True)
class BackedUp:
    """A finished backup. files: the number of files in the archive. listed: the number of files of the object store that are only listed."""

    files: int
    size_bytes: int
    listed: int = 0


def back_up(store: Store, target: Path, *, now: datetime, version: str, without_files: bool = False) -> BackedUp:
    """Write a backup to the file `target` atomically.

    without_files: whether to write only a list of the files in the object store, with their checksums, and not the files.

    The backup is compressed if the name of the file ends in .gz or .tgz.
    The archive has mode 0600, because it contains cookies and the heartbeat token. Raises StoreError, DiskFullError.
    """
    manifest = Manifest(FORMAT, version, store.kind, _revision(store), now.isoformat())
    listed = 0
    try:
        with scratch_folder(target.absolute().parent) as scratch, replacing(target) as temporary:
            database, objects = scratch / DATABASE, scratch / OBJECTS
            store.dump(database)
            if without_files and store.files.is_remote:
                listed = write_list(store.files, objects)
            with temporary.open("wb") as file, _packing(file, compressed=target.suffix in (".gz", ".tgz")) as archive:
                _add(archive, database, DATABASE, manifest)
                if without_files and store.files.is_remote:
                    _add(archive, objects, OBJECTS, manifest)
                for path in _files(store.data_dir, besides={temporary, database, objects, target}):
                    _add(archive, path, FILES + path.relative_to(store.data_dir).as_posix(), manifest)
                    _refuse_too_many(manifest, target)
                for name, sha256 in add_objects(archive, store.files) if store.files.is_remote and not without_files else ():
                    manifest.files[name] = sha256
                    _refuse_too_many(manifest, target)
                content = json.dumps(asdict(manifest), indent=1).encode()
                head = tarfile.TarInfo(MANIFEST)
                head.size = len(content)
                archive.addfile(head, io.BytesIO(content))
    except DiskFullError as error:  # of the copy of the database, which names the database
        raise DiskFullError(f"the backup cannot be written: {error.what}", where=str(target), fix=error.fix) from error
    except OSError as error:
        raise DiskFullError(f"the backup cannot be written: {error.strerror}", where=str(target),
                            fix="free some disk space, or choose a file that can be written") from error
    return BackedUp(manifest.count, target.stat().st_size, listed)


def _revision(store: Store) -> str:
    """Return the number of the last migration. Raises StoreError if this version does not know all tables of a shared database."""
    revision = migrate.revision(store) or ""
    if store.shared and revision > migrate.HEAD:
        raise StoreError("a newer version has migrated the database, so this version does not know all its tables", where=store.where,
                         fix="make the backup with the newer version")
    return revision


def _refuse_too_many(manifest: Manifest, target: Path) -> None:
    if len(manifest.files) > MOST_FILES:
        raise StoreError(f"there are more than {MOST_FILES} files, the maximum for a backup", where=str(target),
                         fix="keep fewer files ([retention], downloads.keep_for); with an object store, use --without-files; or copy data_dir while the service is stopped")


@contextmanager
def _packing(file: IO[bytes], *, compressed: bool) -> Iterator[tarfile.TarFile]:
    if compressed:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=3) as packed, \
                tarfile.open(fileobj=packed, mode="w|") as archive:
            yield archive
    else:
        with tarfile.open(fileobj=file, mode="w") as archive:
            yield archive


def _files(data_dir: Path, *, besides: set[Path]) -> Iterator[Path]:
    """Yield the files to back up.

    These are all files except the database, logs, locks, temporary files, partial downloads, parts of the archive and copies of objects.
    """
    away = {path.absolute() for path in besides}
    downloads = data_dir / "downloads"
    for folder, folders, names in os.walk(data_dir):
        top = Path(folder) == data_dir
        folders[:] = sorted(name for name in folders if (not top or _is_kept(name)) and Path(folder, name) != data_dir / OBJECT_COPIES and not is_part_name(name))
        for name in sorted(names):
            path = Path(folder, name)
            is_part = Path(folder).name == PARTS if downloads in path.parents else name.endswith((".part", ".lock"))
            half = is_part or (name.startswith(".") and name.endswith(".tmp"))
            if not half and not stays_on_node(path.relative_to(data_dir).as_posix()) and (not top or _is_kept(name)) and not path.is_symlink() and path.is_file() \
                    and path.absolute() not in away:
                yield path


def _is_kept(name: str) -> bool:
    return name not in NOT_BACKED_UP and not name.startswith(REPLACED)


def _add(archive: tarfile.TarFile, path: Path, name: str, manifest: Manifest) -> None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # deleted since the folder was listed, by retention or because a cookie jar was replaced
    with file:
        about = os.fstat(file.fileno())
        head = tarfile.TarInfo(name)
        head.size, head.mode, head.mtime = about.st_size, about.st_mode & 0o777, int(about.st_mtime)
        reading = HashingReader(file)
        archive.addfile(head, cast("IO[bytes]", reading))  # addfile only calls read()
    manifest.files[name] = reading.sha256


