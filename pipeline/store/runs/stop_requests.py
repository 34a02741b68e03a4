"""Requests of a person to stop runs (`pipeline stop`)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from pipeline.model import Outcome, Run
from pipeline.store.crawl import members
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import runs
from pipeline.store.runs import jobs, leases
from pipeline.store.runs.slots import run_of

STOP_REQUESTED = "StopRequested"
"""The error_kind of a run that a person stopped. The next slot continues its pass, and not the next start of the service."""
STOPPED_BY_PERSON = "stopped on request"
"""The error of such a run."""


def runs_to_stop(store: Store, *, spider: str | None = None, run_id: int | None = None) -> list[Run]:
    """Return the runs of a spider, or one run, that have not ended."""
    with store.read() as connection:
        return _not_ended(connection, spider, run_id)


def request_stop(store: Store, *, spider: str | None = None, run_id: int | None = None, now: datetime) -> list[Run]:
    """Ask to stop the runs of a spider, or one run, and return those that had not ended, as they are now.

    A run that waits ends at once. The process of a run in progress stops it at a checkpoint, within seconds. A run whose process does
    not exist any more ends at once. Raises StoreError.
    """
    with store.write(durable=True) as connection:
        found = _not_ended(connection, spider, run_id)
        for run in found:
            of_run = update(runs).where(runs.c.id == run.id)
            if run.started_at is None or leases.owner_is_alive(run.lease_owner, store.owner) is False:
                connection.execute(of_run.values(
                    ended_at=now, outcome=Outcome.STOPPED.value, error_kind=STOP_REQUESTED, error=STOPPED_BY_PERSON, stop_requested_at=now,
                    lease_owner="", lease_until=None, transfers=[]))
                members.end_with_run(connection, run, now)
                jobs.defer_waiting(connection, run.spider)
            elif run.stop_requested_at is None:
                connection.execute(of_run.values(stop_requested_at=now))
        ids = [run.id for run in found]
        return [run_of(row) for row in connection.execute(select(runs).where(runs.c.id.in_(ids)).order_by(runs.c.id))]


def _not_ended(connection: Connection, spider: str | None, run_id: int | None) -> list[Run]:
    wanted = runs.c.id == run_id if run_id is not None else runs.c.spider == spider
    return [run_of(row) for row in connection.execute(select(runs).where(wanted, runs.c.ended_at.is_(None)).order_by(runs.c.id))]


def stop_is_requested(store: Store, run: Run) -> bool:
    """Return whether a person has asked to stop the run."""
    with store.read() as connection:
        return connection.execute(select(runs.c.stop_requested_at).where(runs.c.id == run.id)).scalar() is not None
