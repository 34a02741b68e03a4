"""Performs `pipeline backup`, `restore`, `migrate` and `prune`, and formats what they print."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pipeline
from pipeline.errors import UsageError
from pipeline.settings import Settings
from pipeline.store import Store, open_store_of
from pipeline.store.database import migrate as migrations
from pipeline.store.database.engine import prepare_store
from pipeline.store.files.archive_files import files_of
from pipeline.store.files.object_storage import storage_of
from pipeline.store.maintenance import backup, retention
from pipeline.store.maintenance.clock_trust import ClockTrust
from pipeline.store.maintenance.instance_lock import hold_instance_lock
from pipeline.store.maintenance.restore import restore_backup
from pipeline.text import counted, size_for_people


def back_up(settings: Settings, file: Path, *, without_files: bool) -> str:
    """Write a backup to `file`, and return a line that describes the backup.

    without_files: whether to write only a list of the files in the object store. Raises StoreError, DiskFullError, UsageError.
    """
    if without_files and settings.pipeline.storage is None:
        raise UsageError("the files are in data_dir, and not in an object store", where="--without-files", fix="leave out --without-files")
    store = open_store_of(settings)
    try:
        done = backup.back_up(store, file, now=datetime.now(UTC), version=pipeline.__version__, without_files=without_files)
    finally:
        store.close()
    size = size_for_people(done.size_bytes)
    listed = f", and a list of {counted(done.listed, 'file')} in {settings.pipeline.storage}, which are not in the backup" if without_files else ""
    return f"wrote {file}: the database and {counted(done.files, 'file')}, {size}{listed}; keep the backup secret, because it contains cookies"


def restore(settings: Settings, file: Path, *, replace: bool, resend: bool) -> Iterator[str]:
    """Restore a backup from `file`, and yield lines that describe the result.

    replace: whether existing data may be replaced. resend: whether messages that were waiting at the time of the backup are sent;
    otherwise they are parked, because they may have been sent after the backup. Raises StoreError, DiskFullError.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with hold_instance_lock(settings.data_dir):
        done = restore_backup(settings.data_dir, settings.database_url, file, replace=replace, resend=resend,
                              now=datetime.now(UTC), storage=storage_of(settings))
    yield f"restored the backup of {done.made_at}: the database and {counted(done.files, 'file')}"
    if done.kept is not None:
        yield f"the previous data is in {done.kept}; delete this folder when you no longer need the data"
        if left := _left_in_archive(done.kept, settings.data_dir):
            yield (f"{counted(left, 'file')} of the web archive are only in the previous data: `cp -an {done.kept}/archive {settings.data_dir}/`, before the service "
                   "starts, keeps them; the service then adds them to the database")
    if done.missing:
        some = ", ".join(done.missing[:5])
        yield (f"{counted(len(done.missing), 'file')} that the backup lists are missing from the object store, or have changed: {some}"
               f"{', …' if len(done.missing) > 5 else ''}; restore these versions from the history of the bucket")
    if done.parked:
        yield (f"{counted(done.parked, 'message')} of the outbox may have been sent since the backup was made, and will not be sent automatically: "
               "`pipeline outbox` lists these messages, `pipeline outbox retry N` sends message N, `pipeline outbox drop N` drops message N")
    if done.lost:
        yield f"the backup does not contain the files of {counted(done.lost, 'unsent message')}"
    yield "the next runs will find and report what has changed on the sites since the backup was made"


def _left_in_archive(kept: Path, data_dir: Path) -> int:
    """Return how many files of the archive the previous data has that the restored data has not."""
    return sum(not (data_dir / path.relative_to(kept)).exists() for path in (kept / "archive").rglob("*.warc.gz"))


def prune(settings: Settings) -> str:
    """Delete the data that [retention] does not keep, and return a text that says what was deleted.

    Raises StoreError, DiskFullError.
    """
    store = open_store_of(settings)
    try:
        now = datetime.now(UTC)
        doubt = ClockTrust(store).doubt(now)
        done = retention.prune(store, retention.RetentionRules.of(settings), now=now, by_age=not doubt)
        left = _prune_browsers(settings.data_dir)
        archive = _prune_archive(store, settings, now=now, by_age=not doubt)
    finally:
        store.close()
    browsers = f"deleted {counted(left, 'temporary folder')} of browsers that were killed" if left else ""
    told = "\n".join(filter(None, (f"deleted {done}" if done else "", *archive, browsers))) or "nothing to delete: [retention] keeps everything that is stored"
    return f"{doubt}\n{told}" if doubt else told


def _prune_archive(store: Store, settings: Settings, *, now: datetime, by_age: bool) -> list[str]:
    """Delete the files of the archive that [archive] does not keep. Return what was done, in sentences. Raises StoreError."""
    from pipeline.archive.housekeeping.housekeeping import delete_surplus_files
    from pipeline.archive.housekeeping.places import housekeeping_lock
    if not (settings.data_dir / "archive").exists() and not files_of(store):
        return []
    with housekeeping_lock(store) as is_held:
        if not is_held:
            return ["the files of the archive are being merged or deleted by another process, which applies [archive] keep, too"]
        report = delete_surplus_files(store, settings, now=now, by_age=by_age)
    return [*report.done, *report.problems]


def _prune_browsers(data_dir: Path) -> int:
    """Delete the temporary folders of browsers whose processes were killed. Return how many there were."""
    if not (data_dir / "cache" / "browsers").exists():
        return 0
    from pipeline.session.browser.process.profile import FOLDER, delete_left_profiles
    return delete_left_profiles(data_dir / FOLDER)


def migrate(settings: Settings, *, copy: bool) -> str:
    """Migrate the database to the schema of this version, and return a line that describes the result.

    copy: whether to copy the database first, if the migration may lose data. Raises StoreError, DiskFullError.
    """
    store = prepare_store(settings.data_dir, settings.database_url)
    try:
        before = migrations.revision(store)
        migrations.upgrade(store, copy=copy)
    finally:
        store.close()
    open_store_of(settings).close()  # checks the tables
    if before is not None and before >= migrations.HEAD:
        return f"nothing to migrate: the database has schema {before}"
    return f"the database was migrated from schema {before} to {migrations.HEAD}" if before else f"the tables were created with schema {migrations.HEAD}"
