"""Jobs of procrastinate: rows that wake workers when a run, a digest or a message waits.

A job carries only the id of the row to work on, and is deferred in the transaction that creates the row. Which process works on the row is
decided by the row's lease, so a job that is lost or doubled changes nothing: lost jobs are deferred again, and of two jobs for one row
the second finds nothing to do. On SQLite, or without the tables of procrastinate, no job is deferred.

Deferring calls the SQL function of procrastinate, as its documentation describes for other languages.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from pipeline.model import MessageState, Run
from pipeline.store.database.schema import runs
from pipeline.text import counted

PERFORM_RUN = "perform_run"
FOLLOW_RUN = "follow_run"
BUILD_DIGEST = "build_digest"
DELIVER = "deliver"

DIGESTS = "pipeline:digests"
"""The queue of digests. No queue of the settings has a colon in its name."""
OUTBOX = "pipeline:outbox"
DEFAULT_QUEUE = "default"

MANUAL_PRIORITY = 10
"""The priority of a run that a person requested. The other runs have the priority 0, and wait for it."""
QUEUES = "queues"
"""The execution option of an engine that maps a spider to its queue (see Store.queues)."""

_HAS_TABLES = "has the tables of procrastinate"
_EXISTS = text("SELECT to_regproc('procrastinate_defer_jobs_v1') IS NOT NULL")
_BATCH = "jobs to defer together"
_DEFER = text(
    "SELECT procrastinate_defer_jobs_v1(array_agg(ROW(queue, task, priority, lock, queueing_lock, args, at)::procrastinate_job_to_defer_v1 ORDER BY n)) "
    "FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS job (n integer, queue varchar, task varchar, priority integer, lock text, queueing_lock text, "
    "args jsonb, at timestamptz)")

_DELETE_DONE = text(f"""
    DELETE FROM procrastinate_jobs j WHERE status = 'todo' AND CASE task_name
    WHEN '{PERFORM_RUN}' THEN NOT EXISTS (
        SELECT 1 FROM runs r WHERE r.id = (j.args->>'run_id')::bigint AND r.started_at IS NULL AND r.ended_at IS NULL)
    WHEN '{FOLLOW_RUN}' THEN NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = (j.args->>'run_id')::bigint AND r.ended_at IS NULL)
    WHEN '{BUILD_DIGEST}' THEN NOT EXISTS (SELECT 1 FROM digests d WHERE d.id = (j.args->>'digest_id')::bigint AND d.closed_at IS NULL)
    WHEN '{DELIVER}' THEN NOT EXISTS (SELECT 1 FROM messages m WHERE m.id = (j.args->>'message_id')::bigint AND m.state = '{MessageState.WAITING.value}') END""")  # noqa: S608  our own tables

logger = logging.getLogger(__name__)


def queue_of(connection: Connection, spider: str) -> str:
    """Return the queue of a spider's runs, from the settings with which the store was opened."""
    queues: Mapping[str, str] = connection.get_execution_options().get(QUEUES, {})
    return queues.get(spider, DEFAULT_QUEUE)


def defer_run(connection: Connection, run: Run, *, at: datetime | None = None) -> None:
    """Defer a job that performs a waiting run.

    at: when the job is due; None means the run's `not_before`.
    """
    _defer_run(connection, run.id, run.spider, queue=run.queue, reason=run.reason, at=at or run.not_before)


def defer_waiting(connection: Connection, spider: str) -> None:
    """Defer a job for each waiting run of a spider whose run in progress has ended, because its job may have come too early."""
    if connection.dialect.name != "postgresql":
        return
    waiting = select(runs.c.id, runs.c.queue, runs.c.reason, runs.c.not_before).where(
        runs.c.spider == spider, runs.c.started_at.is_(None), runs.c.ended_at.is_(None))
    for row in connection.execute(waiting).all():
        _defer_run(connection, row.id, spider, queue=row.queue, reason=row.reason, at=row.not_before)


def _defer_run(connection: Connection, run_id: int, spider: str, *, queue: str, reason: str, at: datetime | None) -> None:
    # A job that waits for its time has no lock, because it would block the jobs of the spider that are due earlier.
    _defer(connection, PERFORM_RUN, queue, {"run_id": run_id}, priority=MANUAL_PRIORITY if reason == "manual" else 0,
           lock=f"spider:{spider}" if at is None else None, queueing_lock=run_lock(run_id), at=at)


def defer_follower(connection: Connection, run: Run) -> None:
    """Defer a job for another process that fetches pages of a run in progress."""
    _defer(connection, FOLLOW_RUN, run.queue, {"run_id": run.id})


def defer_digest(connection: Connection, digest_id: int, name: str, *, at: datetime | None = None) -> None:
    """Defer a job that builds a claimed digest. The digests of one name are built one after the other."""
    _defer(connection, BUILD_DIGEST, DIGESTS, {"digest_id": digest_id}, lock=f"digest:{name}" if at is None else None,
           queueing_lock=digest_lock(digest_id), at=at)


def defer_delivery(connection: Connection, message_id: int) -> None:
    """Defer a job that makes an outbox look for due messages. One job is enough for all messages of a transaction."""
    _defer(connection, DELIVER, OUTBOX, {"message_id": message_id})


def run_lock(run_id: int) -> str:
    """Return the queueing lock of the job of a run: of all jobs with the same queueing lock, only one waits."""
    return f"run:{run_id}"


def digest_lock(digest_id: int) -> str:
    return f"digest:{digest_id}"


def _defer(connection: Connection, task: str, queue: str, args: Mapping[str, int], *, priority: int = 0, lock: str | None = None,
           queueing_lock: str | None = None, at: datetime | None = None) -> None:
    """Defer a job, unless such a job waits already."""
    if not has_tables(connection):
        return
    job = {"queue": queue, "task": task, "priority": priority, "lock": lock, "queueing_lock": queueing_lock, "args": args,
           "at": at.isoformat() if at is not None else None}
    if _BATCH in connection.info:
        connection.info[_BATCH].append(job)
    else:
        _defer_all(connection, [job])


@contextmanager
def deferred_together(connection: Connection) -> Iterator[None]:
    """Defer the jobs of a `with` block in one statement at its end. They must be the first jobs of their rows."""
    connection.info[_BATCH] = batch = list[dict[str, Any]]()
    try:
        yield
    finally:
        del connection.info[_BATCH]
    if batch:
        _defer_all(connection, batch)


def _defer_all(connection: Connection, found: Sequence[Mapping[str, Any]]) -> None:
    """Defer jobs. No error of procrastinate's tables makes the transaction fail."""
    try:
        with connection.begin_nested():  # a savepoint, to which an error rolls back
            connection.execute(_DEFER, {"jobs": json.dumps([{**job, "n": n} for n, job in enumerate(found)])})
    except IntegrityError:  # a job with this queueing lock waits already
        pass
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        logger.warning("%s could not be deferred, and will be deferred again: %s", counted(len(found), "job"), error.orig)


def delete_done(connection: Connection) -> None:
    """Delete the waiting jobs whose work is done, because no process takes them (`dispatcher = "local"`)."""
    if has_tables(connection):
        connection.execute(_DELETE_DONE)


def has_tables(connection: Connection) -> bool:
    """Return whether the database has the tables of procrastinate. Once found, they are not looked for again on this connection."""
    if connection.dialect.name != "postgresql":
        return False
    if _HAS_TABLES not in connection.info and connection.execute(_EXISTS).scalar_one():
        connection.info[_HAS_TABLES] = True
    return _HAS_TABLES in connection.info
