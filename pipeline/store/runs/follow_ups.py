"""What to start when a run ends: a retry, or the spiders that run `after` the spider of this run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from pipeline.model import Outcome, Run
from pipeline.settings import Settings
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import passes, runs, slots
from pipeline.store.runs.slots import COUNTED_ATTEMPT, PASS_MAX_RUNS, Overlap, claim_after, insert_run


def is_tried_again(store: Store, run: Run) -> bool:
    """Return whether a retry of the run is waiting or in progress.

    Digests of the run are built only after the retry.
    """
    with store.read() as connection:
        return connection.execute(select(runs.c.id).where(
            runs.c.slot_id == run.slot_id, runs.c.reason == "retry", runs.c.ended_at.is_(None))).first() is not None


@dataclass(frozen=True)
class FollowUps:
    """What to start when a run of a spider ends.

    times: the maximum number of retries of one slot.
    wait_s: the pause before the first retry; the pause doubles with each retry, up to max_wait_s.
    outcomes: the outcomes after which the run is retried.
    followers: maps each spider that runs after a successful pass of this spider to its `overlap` setting.
    """

    times: int = 0
    wait_s: float = 60.0
    max_wait_s: float = 3600.0
    outcomes: frozenset[Outcome] = frozenset()
    followers: Mapping[str, Overlap] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, spider: str) -> FollowUps:
        """Return the follow-ups of a spider, from its settings."""
        retry = settings.spiders[spider].retry
        return cls(retry.times, retry.wait, retry.max_wait, frozenset(map(Outcome, retry.outcomes)),
                   {name: settings.spiders[name].overlap for name in settings.followers(spider)})

    def begin(self, connection: Connection, run: Run, *, outcome: Outcome, open_pass: bool, can_help: bool,
              now: datetime) -> None:
        """Create the runs that follow this run.

        open_pass: whether the pass stays open, because the run did not finish it. can_help: whether a retry may succeed, because the
        cause of the failure may be temporary.
        """
        if outcome is Outcome.SUCCEEDED and not open_pass:
            claim_after(connection, run, self.followers, now=now)
        elif can_help and outcome in self.outcomes:
            self._again(connection, run, open_pass=open_pass, now=now)

    def _again(self, connection: Connection, run: Run, *, open_pass: bool, now: datetime) -> None:
        """Create a retry of the run if a retry is allowed.

        A manual run is not retried. No retry is created if a limit is reached, or if another run of the spider has not ended.
        """
        of_slot = select(func.count()).where(runs.c.slot_id == run.slot_id, runs.c.reason == "retry")
        tried = connection.execute(of_slot).scalar_one()
        attempts = connection.execute(select(func.count()).where(runs.c.pass_id == run.pass_id, COUNTED_ATTEMPT)).scalar_one()
        manual = connection.execute(select(slots.c.reason).where(slots.c.id == run.slot_id)).scalar_one() == "manual"
        others = connection.execute(select(runs.c.id).where(
            runs.c.spider == run.spider, runs.c.ended_at.is_(None), runs.c.id != run.id)).first()
        if manual or others is not None or tried >= self.times or attempts >= PASS_MAX_RUNS:
            return
        if not open_pass:  # the run ended its pass: open the pass again, and start it over
            connection.execute(update(passes).where(passes.c.id == run.pass_id).values(
                closed_at=None, complete=False, resumable=False))
        wait_s = min(self.max_wait_s, self.wait_s * 2.0**tried)
        insert_run(connection, pass_id=run.pass_id, slot_id=run.slot_id, spider=run.spider, reason="retry",
                   due_at=run.due_at, created_at=now, not_before=now + timedelta(seconds=wait_s))
