"""Gets timestamp tokens for the files of days, stores them beside these, and tries again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.archive.housekeeping.places import is_within_reach, node_of
from pipeline.archive_names import token_of
from pipeline.errors import FetchError, PipelineError
from pipeline.settings import Secret, Settings
from pipeline.store import Store
from pipeline.store.files import archive_files
from pipeline.store.files.archive_files import DAY, ArchiveFile
from pipeline.text import counted

if TYPE_CHECKING:
    from pipeline.archive.timestamps.token import Timestamp

RETRY_AFTER = tuple(timedelta(minutes=minutes) for minutes in (0, 5, 20, 60, 180, 360))
"""How long after the file was made the first attempts take place. Later ones follow every RETRY_EVERY."""
RETRY_EVERY = timedelta(hours=12)
MOST_AT_ONCE = 20
"""Maximum number of tokens that one call gets. After a failure, the server is left alone until the next call."""


def without_timestamp(store: Store, settings: Settings, *, now: datetime) -> list[ArchiveFile]:
    """Return the day files for which a timestamp is to be asked for now, the oldest first. Raises StoreError."""
    if settings.archive.timestamp_url is None:
        return []
    node = node_of(store, settings)
    return [row for row in archive_files.files_of(store, state=DAY) if not row.timestamp_key and is_within_reach(row, node)
            and row.created_at + _wait(row.timestamp_attempts) <= now]


def add_timestamps(store: Store, settings: Settings, *, now: datetime, go_on: Callable[[], bool] = lambda: True) -> tuple[list[str], list[str]]:
    """Get and store the timestamps that are due. Return what was done, and what failed, in sentences. Raises StoreError."""
    done = 0
    problems: list[str] = []
    for row in without_timestamp(store, settings, now=now)[:MOST_AT_ONCE]:
        if problems or not go_on():
            break
        try:
            _add(store, settings, row)
        except (PipelineError, OSError) as error:
            problems.append(f"{row.spider}: no timestamp for {row.key}: {error}")
            archive_files.note_failed_timestamp(store, row.id, str(error))
        else:
            done += 1
    return ([f"got {counted(done, 'timestamp')} for files of the archive"] if done else []), problems


def ask_server(settings: Settings, sha256: str, *, not_before: datetime | None = None) -> Timestamp:
    """Get a timestamp from the server of the settings. Raises FetchError, UsageError; neither names a URL that is a secret."""
    from pipeline.archive.timestamps.token import get_timestamp  # noqa: PLC0415  loads cryptography
    found = settings.archive.timestamp_url
    url = found.reveal().strip() if isinstance(found, Secret) else str(found)
    try:
        return get_timestamp(url, sha256, authorities=_authorities(settings), not_before=not_before)
    except FetchError as error:
        if isinstance(found, Secret):
            raise FetchError(error.what, where="archive.timestamp_url", fix=error.fix, retry=error.retry) from error
        raise


def _add(store: Store, settings: Settings, row: ArchiveFile) -> None:
    from pipeline.archive.timestamps.token import verify  # noqa: PLC0415  loads cryptography
    key = token_of(row.key)
    if (stored := store.files.info(key)) is not None:  # a kill, or a restored database, left it without its note
        with suppress(FetchError):
            at = verify(store.files.read(key, 0, stored.size_bytes), row.sha256, authorities=_authorities(settings))
            archive_files.note_timestamp(store, row.id, key, at=at)
            return
    found = ask_server(settings, row.sha256, not_before=datetime.combine(date.fromisoformat(row.day), time(), UTC))
    store.files.write(key, found.content)
    archive_files.note_timestamp(store, row.id, key, at=found.at)


def _authorities(settings: Settings) -> Path | None:
    name = settings.archive.timestamp_ca
    return settings.folder / name if name is not None else None


def _wait(attempts: int) -> timedelta:
    """Return how long after the file was made the next attempt takes place."""
    if attempts < len(RETRY_AFTER):
        return RETRY_AFTER[attempts]
    return RETRY_AFTER[-1] + RETRY_EVERY * (attempts - len(RETRY_AFTER) + 1)
