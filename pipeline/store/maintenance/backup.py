"""One archive of a store, made while it is worked on, and the way back.

The database is copied as it is at one moment, then the files of data_dir: those it names were there before it named
them. The manifest with every file's hash comes last, so that an archive cut short is known for what it is.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, cast

from sqlalchemy import delete, select, update

from pipeline.atomic_write import sync_folder
from pipeline.errors import DiskFullError, StoreError
from pipeline.model import MessageState
from pipeline.store.database import migrate, postgresql
from pipeline.store.database.engine import Store, prepare_store
from pipeline.store.database.schema import messages, metadata, pulse, runs
from pipeline.store.maintenance.clock_trust import FILE as CLOCK
from pipeline.store.opening import UNFINISHED_RESTORE as UNFINISHED
from pipeline.store.opening import open_store
from pipeline.store.runs import leases

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "database"
FILES = "files/"
SQLITE_FILES = ("pipeline.sqlite3", "pipeline.sqlite3-wal", "pipeline.sqlite3-shm")
STAGING = ".restoring"
REPLACED = "replaced"
# The lock, what was seen of this machine's clock and the database's files belong to this place; logs are long and
# nobody's truth.
NOT_BACKED_UP = frozenset({*SQLITE_FILES, "logs", "serve.lock", CLOCK, migrate.KEPT_BEFORE, STAGING, UNFINISHED})
SERVICE_IS_GONE_S = 60.0
"""A service writes its pulse every few seconds; one that has not for so long is gone."""
MOST_FILES = 1_000_000
"""Of one archive: what is kept of each while it is read takes about a kilobyte."""
_CHUNK = 1 << 20
_MOST_AT_ONCE = 16 << 20
"""Bytes that a header of the archive may make us read at once."""
_GZIP = b"\x1f\x8b"


@dataclass
class Manifest:
    """What an archive holds. files: SHA-256 by name; revision: the migration its database is at."""

    format: int
    version: str
    kind: str
    revision: str
    made_at: str
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BackedUp:
    files: int
    size_bytes: int


@dataclass(frozen=True)
class Restored:
    """made_at: of the backup, ISO 8601. parked: messages that waited then, and may have been sent since. lost: files
    the database names and the archive lacks. kept: where what was there before has gone, None when nothing was."""

    made_at: str
    files: int
    parked: int
    lost: int
    kept: Path | None


def back_up(store: Store, target: Path, *, now: datetime, version: str) -> BackedUp:
    """Write the archive, whole or not at all; 0600, since jars and the token are in it. `.gz` at its end compresses.

    Raises StoreError, DiskFullError.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    database = target.with_name(f".{target.name}.{os.getpid()}.database.tmp")
    manifest = Manifest(FORMAT, version, store.kind, migrate.revision(store) or "", now.isoformat())
    try:
        store.dump(database)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with _packing(file, compressed=target.suffix in (".gz", ".tgz")) as archive:
                _add(archive, database, DATABASE, manifest)
                for path in _files(store.data_dir, besides={temporary, database, target}):
                    _add(archive, path, FILES + path.relative_to(store.data_dir).as_posix(), manifest)
                    if len(manifest.files) > MOST_FILES:
                        raise StoreError(f"there are more than {MOST_FILES} files, which no archive of ours holds", where=str(target),
                                         fix="keep fewer ([retention], downloads.keep_for), or copy data_dir with the service stopped")
                content = json.dumps(asdict(manifest), indent=1).encode()
                head = tarfile.TarInfo(MANIFEST)
                head.size = len(content)
                archive.addfile(head, io.BytesIO(content))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync_folder(target.absolute().parent)
    except OSError as error:
        raise DiskFullError(f"the backup cannot be written: {error.strerror}", where=str(target),
                            fix="free some disk space, or name a place that can be written") from error
    finally:
        temporary.unlink(missing_ok=True)
        database.unlink(missing_ok=True)
    return BackedUp(len(manifest.files) - 1, target.stat().st_size)


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
    """Everything the program keeps but the database, logs, locks, and what is only half there."""
    away = {path.absolute() for path in besides}
    for folder, folders, names in os.walk(data_dir):
        top = Path(folder) == data_dir
        folders[:] = sorted(name for name in folders if not top or _is_kept(name))
        for name in sorted(names):
            path = Path(folder, name)
            half = name.endswith((".part", ".lock")) or (name.startswith(".") and name.endswith(".tmp"))
            if not half and (not top or _is_kept(name)) and not path.is_symlink() and path.is_file() \
                    and path.absolute() not in away:
                yield path


def _is_kept(name: str) -> bool:
    return name not in NOT_BACKED_UP and not name.startswith(REPLACED)


def _add(archive: tarfile.TarFile, path: Path, name: str, manifest: Manifest) -> None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # deleted since the folder was listed: the retention's, or a jar that was replaced
    with file:
        about = os.fstat(file.fileno())
        head = tarfile.TarInfo(name)
        head.size, head.mode, head.mtime = about.st_size, about.st_mode & 0o777, int(about.st_mtime)
        reading = _Hashing(file)
        archive.addfile(head, cast("IO[bytes]", reading))  # it reads, and no more is asked of it
    manifest.files[name] = reading.sha256


class _Hashing:
    """A file read through its hash."""

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


# The way back


def restore(data_dir: Path, url: str | None, source: Path, *, replace: bool, resend: bool, now: datetime) -> Restored:
    """Put an archive in the place of what is there. The caller holds the data_dir for itself.

    Everything is unpacked and verified beside it first. replace: what is there is moved to a folder of its own
    (SQLite, files) or dumped to it (PostgreSQL); without it, data that is there is an error. resend: messages that
    waited when the backup was made are sent; without it they are parked, since they may have been sent since.
    Killed in between, it is started again. Raises StoreError, DiskFullError.
    """
    store = prepare_store(data_dir, url)
    try:
        unfinished = (data_dir / UNFINISHED).exists()
        occupied = _occupied(store)
        if occupied and not replace and not unfinished:
            raise StoreError(f"there is data already: {occupied}", where=str(data_dir),
                             fix="restore to an empty data_dir, or say --replace (what is there is kept beside it)")
        _refuse_running(store, now)
        staging = data_dir / STAGING
        shutil.rmtree(staging, ignore_errors=True)
        try:
            manifest = _unpack(source, staging, store)
            kept = _put_in_place(store, staging, manifest, now=now)
        except OSError as error:
            raise DiskFullError(f"cannot be restored: {error.strerror}", where=str(error.filename or data_dir),
                                fix="free some disk space, and start it again") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    finally:
        store.close()
    return _afterwards(data_dir, url, manifest, kept, resend=resend)


def _occupied(store: Store) -> str:
    """What there is that a restore would lose; "" for nothing."""
    if store.kind == "sqlite":
        return SQLITE_FILES[0] if (store.data_dir / SQLITE_FILES[0]).exists() else ""
    with store.read() as connection:
        found = migrate.revision_of(connection)
    return "" if found is None else f"the tables in {store.where}"


def _refuse_running(store: Store, now: datetime) -> None:
    """A service of another machine holds no lock that we see, but shows its pulse; a run in a terminal its lease."""
    try:
        if not _occupied(store) or migrate.revision(store) != migrate.HEAD:
            return
        with store.read() as connection:
            beats = connection.execute(select(pulse)).all() if store.shared else []
            leased = connection.execute(select(runs).where(runs.c.ended_at.is_(None), runs.c.lease_until > now)).all()
    except StoreError:
        return  # a damaged database is what a restore is for
    for row in beats:
        if abs((now - row.at).total_seconds()) < SERVICE_IS_GONE_S:
            raise StoreError(f"a service on {row.host} works on it", where=store.where,
                             fix=f"stop it, and wait {SERVICE_IS_GONE_S:.0f} s", retry=True)
    for row in leased:
        if leases.owner_is_alive(row.lease_owner, store.owner) is not False:
            raise StoreError(f"run {row.id} of {row.spider} is at work on it", where=store.where,
                             fix="wait for its end, or stop it", retry=True)


def _unpack(source: Path, staging: Path, store: Store) -> Manifest:
    """Unpack and verify everything. Raises StoreError for an archive that is not ours, not whole or not for here."""
    staging.mkdir(mode=0o700)
    found: dict[str, str] = {}
    content = b""
    try:
        with _opened(source) as archive:
            for head in archive:
                file = archive.extractfile(head) if head.isreg() else None
                if file is None:
                    raise StoreError(f"{head.name!r} in it is no file", where=str(source), fix="it is no backup of ours")
                if len(found) > MOST_FILES:
                    raise StoreError(f"has more than {MOST_FILES} files", where=str(source), fix="it is no backup of ours")
                if head.name == MANIFEST:
                    content = _manifest_text(file, head, found, source)
                else:
                    _refuse_what_does_not_fit(head, staging)
                    found[head.name] = _unpack_one(file, staging, head, source)
    except FileNotFoundError as error:
        raise StoreError("no such file", where=str(source)) from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, OverflowError) as error:
        raise StoreError(f"cannot be read as a backup: {error}", where=str(source),
                         fix="it is damaged or cut short: take another") from error
    manifest = _manifest(content, source)
    wrong = [name for name in manifest.files if found.get(name) != manifest.files[name]]
    if wrong or set(found) != set(manifest.files):
        raise StoreError(f"is damaged: {(wrong or ['more files than it says'])[0]} is not what was backed up",
                         where=str(source), fix="take another")
    if manifest.kind != store.kind:
        raise StoreError(f"is a backup of {manifest.kind}; this store is on {store.kind}", where=str(source),
                         fix="change [pipeline] database")
    migrate.refuse_newer(manifest.revision, str(source))
    return manifest


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    """The archive, of which no header has us read more than so much at once."""
    with source.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if packed else nullcontext(raw) as file, \
                tarfile.open(fileobj=cast("IO[bytes]", _Sips(cast("IO[bytes]", file))), mode="r:") as archive:
            yield archive


class _Sips:
    """A file of which only so much is read at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _manifest_text(file: IO[bytes], head: tarfile.TarInfo, found: dict[str, str], source: Path) -> bytes:
    """A manifest is no longer than what it says of the files before it."""
    most = 4096 + sum(6 * len(name) + 100 for name in found)
    if head.size > most:
        raise StoreError("has a manifest that is too long for its files", where=str(source), fix="it is no backup of ours")
    return b"".join(iter(lambda: file.read(_CHUNK), b""))


def _manifest(content: bytes, source: Path) -> Manifest:
    """What it says, in the types it must have. Raises StoreError for one that we cannot read, or may not believe."""
    try:
        found = json.loads(content)
        number = found["format"]
        if number != FORMAT:
            raise StoreError(f"is of format {number!r}; this version reads {FORMAT}", where=str(source),
                             fix="it was made by another version: restore it with that one")
        manifest = Manifest(**found)
        datetime.fromisoformat(manifest.made_at)
        known = all(isinstance(text, str) for pair in manifest.files.items() for text in pair)
        if not known or not isinstance(manifest.kind, str) or not re.fullmatch(r"\d{4}|", manifest.revision):
            raise ValueError  # noqa: TRY301
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError("has no manifest at its end", where=str(source),
                         fix="it is no backup of ours, or was cut short: take another") from error
    return manifest


def _refuse_what_does_not_fit(head: tarfile.TarInfo, staging: Path) -> None:
    free = shutil.disk_usage(staging).free
    if head.size > free:
        raise DiskFullError(f"{head.name!r} has {head.size} bytes, and {free} are free", where=str(staging),
                            fix="free some disk space, and start it again")


def _unpack_one(file: IO[bytes], staging: Path, head: tarfile.TarInfo, source: Path) -> str:
    parts = Path(head.name).parts
    if head.name != DATABASE and (parts[:1] != ("files",) or len(parts) < 2 or ".." in parts
                                  or parts[1] in NOT_BACKED_UP):
        raise StoreError(f"{head.name!r} in it has no place here", where=str(source), fix="it is no backup of ours")
    target = staging.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    reading = _Hashing(file)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
        while chunk := reading.read(_CHUNK):
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    os.chmod(target, head.mode & 0o700)  # never for others, whatever it was
    os.utime(target, (head.mtime, head.mtime))
    return reading.sha256


def _put_in_place(store: Store, staging: Path, manifest: Manifest, *, now: datetime) -> Path | None:
    """From here on a kill leaves half of both, and a mark that says so until the restore is started again."""
    data_dir = store.data_dir
    database = staging / DATABASE
    if store.kind == "sqlite":
        _verify_sqlite(database, data_dir)
    kept = data_dir / f"{REPLACED}-{now:%Y%m%d-%H%M%S}"
    (data_dir / UNFINISHED).touch(mode=0o600)
    sync_folder(data_dir)
    if store.kind == "sqlite":
        store.close()  # folds the WAL into the file, where that can be done
    moved = [path for path in data_dir.iterdir()
             if path.name not in (STAGING, UNFINISHED, "serve.lock", migrate.KEPT_BEFORE)
             and not path.name.startswith(REPLACED)]
    occupied = bool(moved) or (store.kind != "sqlite" and bool(_occupied(store)))
    if occupied:
        kept.mkdir(mode=0o700)
    if store.kind != "sqlite":
        if _occupied(store):
            store.dump(kept / f"{DATABASE}.{store.kind}")
        _load(store, database, manifest)
    for path in moved:
        os.replace(path, kept / path.name)
    for path in sorted((staging / "files").iterdir()) if (staging / "files").is_dir() else []:
        os.replace(path, data_dir / path.name)
    if store.kind == "sqlite":
        os.replace(database, data_dir / SQLITE_FILES[0])
    sync_folder(data_dir)
    (data_dir / UNFINISHED).unlink()
    sync_folder(data_dir)
    return kept if occupied else None


def _verify_sqlite(database: Path, data_dir: Path) -> None:
    copy = prepare_store(data_dir, f"sqlite:///{database}")
    try:
        faults = copy.check()
    finally:
        copy.close()
        for suffix in ("-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
    if faults:
        raise StoreError(f"the database in the backup is damaged: {faults[0]}", where=str(database),
                         fix="take another backup")


def _load(store: Store, database: Path, manifest: Manifest) -> None:
    """The tables of the backup instead of ours, all in one transaction."""
    with store.write(durable=True) as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
        migrate.run(connection, to=manifest.revision)
        postgresql.load(connection, database)


def _afterwards(data_dir: Path, url: str | None, manifest: Manifest, kept: Path | None, *, resend: bool) -> Restored:
    store = open_store(data_dir, url)
    try:
        with store.write(durable=True) as connection:
            connection.execute(delete(pulse))
            waiting = messages.c.state == MessageState.WAITING.value
            parked = 0
            if not resend:
                parked = connection.execute(update(messages).where(waiting).values(
                    state=MessageState.PARKED.value, lease_owner="", lease_until=None,
                    last_error=f"waited in the backup of {manifest.made_at}, and may have been sent since")).rowcount
            keys = connection.execute(select(messages.c.file_key).where(
                messages.c.state.in_((MessageState.WAITING.value, MessageState.PARKED.value)))).scalars().all()
            lost = sum(not store.files.exists(key) for key in keys)
    finally:
        store.close()
    return Restored(manifest.made_at, len(manifest.files) - 1, parked, lost, kept)
