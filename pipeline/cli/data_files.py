"""The composition root of the commands that look after a store: backup, restore and prune."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pipeline
from pipeline.settings import Settings
from pipeline.store import open_store
from pipeline.store.maintenance import backup, retention
from pipeline.store.maintenance.clock_trust import ClockTrust
from pipeline.store.maintenance.instance_lock import hold_instance_lock
from pipeline.store.maintenance.restore import restore_backup
from pipeline.text import size_for_people


def back_up(settings: Settings, file: Path) -> str:
    """Write a backup; a line that says what is in it. Raises StoreError, DiskFullError."""
    store = open_store(settings.data_dir, settings.database_url)
    try:
        done = backup.back_up(store, file, now=datetime.now(UTC), version=pipeline.__version__)
    finally:
        store.close()
    size = size_for_people(done.size_bytes)
    return f"{file}: the database and {done.files} files, {size}; the cookies are in it: keep it to yourself"


def restore(settings: Settings, file: Path, *, replace: bool, resend: bool) -> Iterator[str]:
    """Restore a backup; what there is to say about it. Raises StoreError, DiskFullError."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with hold_instance_lock(settings.data_dir):
        done = restore_backup(settings.data_dir, settings.database_url, file, replace=replace, resend=resend,
                              now=datetime.now(UTC))
    yield f"restored the backup of {done.made_at}: the database and {done.files} files"
    if done.kept is not None:
        yield f"what was there before is in {done.kept}; delete it when it is no longer wanted"
    if done.parked:
        yield (f"{done.parked} messages waited then and may have been sent since: they are parked; `pipeline outbox` "
               "lists them, `pipeline outbox retry N` sends one, `pipeline outbox drop N` forgets it")
    if done.lost:
        yield f"the files of {done.lost} unsent messages are missing"
    yield "what the sites have changed since then is found, and told, at the next runs"


def prune(settings: Settings) -> str:
    """Delete what [retention] no longer keeps; a line that says what that was. Raises StoreError, DiskFullError."""
    store = open_store(settings.data_dir, settings.database_url)
    try:
        now = datetime.now(UTC)
        doubt = ClockTrust(store).doubt(now)
        done = retention.prune(store, retention.RetentionRules.of(settings), now=now, by_age=not doubt)
    finally:
        store.close()
    told = f"deleted {done}" if done else "nothing is beyond what [retention] keeps"
    return f"{doubt}\n{told}" if doubt else told
