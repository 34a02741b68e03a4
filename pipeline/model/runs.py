"""Records of runs: how they ended, and their progress."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum

from pipeline.model.files import Transfer


class Outcome(StrEnum):
    """How one run ended.

    killed: the run's process was killed, or ended unexpectedly. abandoned: the run's lease expired, because the service that
    supervised the run ended as well. skipped: the run was never started.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    KILLED = "killed"
    STOPPED = "stopped"
    ABANDONED = "abandoned"
    SKIPPED = "skipped"


DRY_RUN = "dry-run"
"""The `reason` of a dry run (`pipeline run --dry-run`), which downloads no files and whose store is deleted afterwards."""


class Health(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"


@dataclass
class Progress:
    """Counters of a run, which `pipeline run`, `pipeline history` and the heartbeat show."""

    pages: int = 0
    pages_failed: int = 0
    items: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    back: int = 0
    unchanged: int = 0
    duplicates: int = 0
    rejected: int = 0
    downloads: int = 0
    downloads_unchanged: int = 0
    downloads_failed: int = 0
    download_bytes: int = 0
    waiting: int = 0
    archived_pages: int = 0
    archived_bytes: int = 0
    not_archived: int = 0

    def add(self, more: Progress, *, known: Progress | None = None) -> None:
        """Add the counters of `more` to these. known: what `more` contains and was added before."""
        for each in fields(Progress):
            value = getattr(more, each.name) - (getattr(known, each.name) if known is not None else 0)
            setattr(self, each.name, getattr(self, each.name) + value)


@dataclass(frozen=True)
class Run:
    """One attempt at a pass.

    reason: why the run was created: schedule, catch-up, after, manual, resume or retry. not_before: earliest time at which the run may
    start; None means now. transfers: the downloads in progress when the run last reported its progress. queue: only workers with this
    queue perform the run. stop_requested_at: when a person asked to stop the run; None means never.
    """

    id: int
    pass_id: int
    spider: str
    attempt: int
    reason: str
    due_at: datetime
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    complete: bool = False
    suspect: bool = False
    error_kind: str = ""
    error: str = ""
    progress: Progress = field(default_factory=Progress)
    transfers: tuple[Transfer, ...] = ()
    lease_owner: str = ""
    lease_until: datetime | None = None
    slot_id: int = 0
    not_before: datetime | None = None
    queue: str = "default"
    stop_requested_at: datetime | None = None

    @property
    def running(self) -> bool:
        return self.started_at is not None and self.ended_at is None
