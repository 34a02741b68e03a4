"""Restore a backup: unpack and verify it, move the existing data away, put the backup in place."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import delete, select, update

from pipeline.atomic_write import sync_folder
from pipeline.errors import DiskFullError, StoreError
from pipeline.model import MessageState
from pipeline.store.database import migrate, postgresql
from pipeline.store.database.engine import Store, prepare_store
from pipeline.store.database.schema import messages, metadata, nodes, pulse, runs
from pipeline.store.database.schema_version import count_as_restored
from pipeline.store.files.object_storage import ObjectStorage
from pipeline.store.files.open_files import open_files
from pipeline.store.files.prefix_owner import forget_owner
from pipeline.store.maintenance.archive import DATABASE, OBJECTS, REPLACED, SQLITE_FILES, STAGING, Manifest, unpack
from pipeline.store.maintenance.stored_files import Upload, missing_objects
from pipeline.store.open import UNFINISHED_RESTORE as UNFINISHED
from pipeline.store.open import open_store
from pipeline.store.runs import leases

SERVICE_IS_GONE_S = 60.0
"""A service that has not written its row of the table `pulse` for this long is not running.

A running service writes this row every few seconds.
"""


@dataclass(frozen=True)
class Restored:
    """The result of a restore.

    made_at: when the backup was made, in ISO 8601.
    files: the number of restored files.
    parked: the number of messages that were waiting when the backup was made, and are now parked, because they may have been sent
    since then.
    lost: the number of unsent messages whose file is not in the backup.
    kept: the folder that holds the previous data; None if there was none.
    missing: the keys of the files that the backup only lists, and that the object store does not have, or has in another form.
    """

    made_at: str
    files: int
    parked: int
    lost: int
    kept: Path | None
    missing: list[str] = field(default_factory=list)


def restore_backup(data_dir: Path, url: str | None, source: Path, *, replace: bool, resend: bool, now: datetime,
                   storage: ObjectStorage | None = None) -> Restored:
    """Replace the data of a store with a backup. The caller must hold the instance lock of data_dir.

    The backup is unpacked and verified completely before any data is replaced. If the process is killed, start the restore
    again.

    replace: whether existing data may be replaced. If True, existing files and an existing SQLite database are moved to a new folder
    in data_dir, and an existing PostgreSQL database is dumped to this folder. If False, the function raises StoreError if data exists.
    resend: whether to send the messages that were waiting when the backup was made. If False, these messages are parked, because
    they may have been sent since then.
    storage: the object store for the files; None puts them into data_dir. Objects are replaced only with `replace`, and none is deleted.
    Raises StoreError, DiskFullError.
    """
    store = prepare_store(data_dir, url, open_files(data_dir, storage))
    try:
        unfinished = (data_dir / UNFINISHED).exists()
        occupied = _occupied(store)
        if occupied and not replace and not unfinished:
            raise StoreError(f"data already exists: {occupied}", where=str(data_dir),
                             fix="restore to an empty data_dir, or use --replace, which first moves the existing data to a folder in data_dir")
        if occupied:
            refuse_running(store, now)
        staging = data_dir / STAGING
        shutil.rmtree(staging, ignore_errors=True)
        try:
            manifest = unpack(source, staging, store)
            if store.files.is_remote and not replace:
                Upload(staging / "files", store.files).refuse_others()
            missing = missing_objects(store.files, staging / OBJECTS) if OBJECTS in manifest.files else []
            kept = _put_in_place(store, staging, manifest, now=now)
        except OSError as error:
            raise DiskFullError(f"the backup cannot be restored: {error.strerror}", where=str(error.filename or data_dir),
                                fix="free some disk space, and start the restore again") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    finally:
        store.close()
    restored = _settle(data_dir, url, storage, manifest, resend=resend)
    return replace_fields(restored, kept=kept, missing=missing)


def _occupied(store: Store) -> str:
    """Return a description of the data that a restore would replace, or an empty string if there is none."""
    if store.kind == "sqlite":
        return SQLITE_FILES[0] if (store.data_dir / SQLITE_FILES[0]).exists() else ""
    with store.read() as connection:
        found = migrate.revision_of(connection)
    return "" if found is None else f"the tables in {store.where}"


def refuse_running(store: Store, now: datetime) -> None:
    """Raise StoreError while a service or a run uses the data.

    A service on another machine is recognized by its recent row in the table `pulse`, a run in progress by its lease.
    """
    try:
        if (migrate.revision(store) or "") < migrate.HEAD:
            return
        with store.read() as connection:
            beats = [*connection.execute(select(pulse.c.host, pulse.c.at)), *connection.execute(
                select(nodes.c.name.label("host"), nodes.c.seen_at.label("at")))] if store.shared else []
            leased = connection.execute(select(runs).where(runs.c.ended_at.is_(None), runs.c.lease_until > now)).all()
    except StoreError:
        return  # a damaged database may be replaced
    for row in beats:
        if abs((now - row.at).total_seconds()) < SERVICE_IS_GONE_S:
            raise StoreError(f"the database is in use by a service on {row.host}", where=store.where,
                             fix=f"stop the service, wait {SERVICE_IS_GONE_S:.0f} s, and start this command again", retry=True)
    for row in leased:
        if leases.owner_is_alive(row.lease_owner, store.owner) is not False:
            raise StoreError(f"the database is in use by run {row.id} of {row.spider}", where=store.where,
                             fix="wait until the run has ended, or stop the run", retry=True)


def _put_in_place(store: Store, staging: Path, manifest: Manifest, *, now: datetime) -> Path | None:
    """Move the existing data to another folder, and put the backup in its place.

    Returns the folder with the previous data, or None.
    While data is being moved, data_dir contains a marker file. If the restore is interrupted, the marker file stays, and the program
    does not open the store until the restore is repeated.
    """
    data_dir = store.data_dir
    database = staging / DATABASE
    if store.kind == "sqlite":
        _verify_sqlite(database, data_dir)
    kept = data_dir / f"{REPLACED}-{now:%Y%m%d-%H%M%S}"
    (data_dir / UNFINISHED).touch(mode=0o600)
    sync_folder(data_dir)
    if store.kind == "sqlite":
        store.close()  # merges the WAL into the file where possible
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
    if store.files.is_remote:
        Upload(staging / "files", store.files).perform()
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
        damage = copy.check()
    finally:
        copy.close()
        for suffix in ("-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
    if damage:
        raise StoreError(f"the database in the backup is damaged: {damage[0]}", where=str(database),
                         fix="use another backup")


def _load(store: Store, database: Path, manifest: Manifest) -> None:
    """Replace all tables of a PostgreSQL database with the tables in a backup, in one transaction."""
    with store.write(durable=True) as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
        migrate.run(connection, to=manifest.revision)
        postgresql.load(connection, database)


def _settle(data_dir: Path, url: str | None, storage: ObjectStorage | None, manifest: Manifest, *, resend: bool) -> Restored:
    store = open_store(data_dir, url, storage=storage)
    try:
        with store.write(durable=True) as connection:
            connection.execute(delete(pulse))
            connection.execute(delete(nodes))
            count_as_restored(connection, datetime.now(UTC))
            waiting = messages.c.state == MessageState.WAITING.value
            parked = 0
            if not resend:
                parked = connection.execute(update(messages).where(waiting).values(
                    state=MessageState.PARKED.value, lease_owner="", lease_until=None,
                    last_error=f"the message was waiting when the backup was made ({manifest.made_at}), and may have been sent since")).rowcount
            keys = connection.execute(select(messages.c.file_key).where(
                messages.c.state.in_((MessageState.WAITING.value, MessageState.PARKED.value)))).scalars().all()
            lost = sum(not store.files.exists(key) for key in keys)
        if store.files.is_remote:
            forget_owner(store.files)  # the restored database has another id
    finally:
        store.close()
    return Restored(manifest.made_at, manifest.count, parked, lost, kept=None)
