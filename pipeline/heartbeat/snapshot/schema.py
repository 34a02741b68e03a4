"""The schema of a status snapshot: what `status`, `/status.json` and `pipeline status --json` answer.

`SCHEMA` is raised when a name is removed or changes its meaning, and not for additions. status.schema.json is generated from
these types (`json_schema`); a test compares the two. Instants are ISO 8601 with the offset of the settings' time zone; `_s`
is seconds, `_bytes` is bytes.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict

SCHEMA = 1

HealthWord = Literal["ok", "degraded", "failing"]
OutcomeWord = Literal["succeeded", "failed", "timed_out", "killed", "stopped", "abandoned", "skipped"]


class RunStatus(TypedDict):
    """One run. ended_at and outcome are null while it is at work; error is "" without an error."""

    id: int
    spider: str
    reason: str
    due_at: str
    started_at: str | None
    ended_at: str | None
    duration_s: float | None
    outcome: OutcomeWord | None
    complete: bool
    suspect: bool
    error: str
    progress: dict[str, int]


class PastRun(TypedDict):
    """An ended run in short."""

    id: int
    ended_at: str
    outcome: OutcomeWord
    duration_s: float | None
    pages: int
    items: int
    error: str


class DayStatus(TypedDict):
    """What the runs that ended in the last 24 hours did: how many by outcome, and the sums of their figures."""

    runs: dict[str, int]
    progress: dict[str, int]


class SpiderStatus(TypedDict):
    """One spider of the settings. late: its slot and its grace have passed, and no run has succeeded since.

    next_due is null without a schedule. paused: its slots are not claimed, so it is never late. recent: ended
    runs, newest first. login_ends: when the first cookie of its login expires, null when none expires.
    """

    health: HealthWord
    reasons: list[str]
    schedule: str | None
    proxy: str | None
    next_due: str | None
    late: bool
    paused: bool
    last_success: str | None
    failures_in_a_row: int
    running: list[int]
    last_run: RunStatus | None
    recent: list[PastRun]
    day: DayStatus
    login_ends: str | None


class OutboxStatus(TypedDict):
    """Messages not yet accepted (waiting), and those given up until a person retries or drops them (parked)."""

    waiting: int
    oldest_age_s: float | None
    parked: int
    last_error: str


class TransferStatus(TypedDict):
    """A file that is being downloaded, as of its run's last report. total_bytes: null when the server did not say; left_s: null
    when it cannot be estimated."""

    run: int
    spider: str
    name: str
    done_bytes: int
    total_bytes: int | None
    rate_bytes_s: float
    left_s: float | None


class DownloadsStatus(TypedDict):
    """Files that wait, that were given up, and that are being downloaded."""

    waiting: int
    failed: int
    active: list[TransferStatus]


class DiskStatus(TypedDict):
    """The file system that holds data_dir. keep_free_bytes: what downloads leave free."""

    free_bytes: int | None
    total_bytes: int | None
    keep_free_bytes: int


class RestingProxy(TypedDict):
    """A proxy of a pool that failed or was banned, and is not used before `until`. failures: in a row."""

    spider: str
    proxy: str
    failures: int
    until: str


class StoreStatus(TypedDict):
    """The state of the database.

    writable: the last test write succeeded, ten seconds ago at most. error: why the database cannot be read or written.
    size_bytes: null when it cannot be read."""

    readable: bool
    writable: bool
    error: str
    size_bytes: int | None


class LoopStatus(TypedDict):
    """The health of the event loop and of the wall clock.

    lag_s: the longest lag of the service's event loop in the last minute. clock_jump_s: how far the wall clock jumped in the
    last ten minutes, 0 when it did not."""

    lag_s: float
    clock_jump_s: float


class JobStatus(TypedDict):
    """Work at an interval. next_at: null when it is over."""

    name: str
    every_s: float
    next_at: str | None


class JobsStatus(TypedDict):
    """The scheduler's jobs: those of schedules, and work at intervals. late: starts more than one second after they were due,
    since the service started; skipped: starts left out because the work before still ran."""

    schedules: int
    next_schedule_at: str | None
    intervals: list[JobStatus]
    late: int
    longest_late_s: float
    skipped: int


class Snapshot(TypedDict):
    """The status of the whole pipeline at one moment. runs: those at work, including spiders no longer in the settings."""

    schema: int
    at: str
    version: str
    started_at: str
    uptime_s: float
    health: HealthWord
    reasons: list[str]
    spiders: dict[str, SpiderStatus]
    runs: list[RunStatus]
    outbox: OutboxStatus
    downloads: DownloadsStatus
    proxies: dict[str, list[str]]
    resting_proxies: list[RestingProxy]
    disk: DiskStatus
    store: StoreStatus
    loop: LoopStatus
    jobs: JobsStatus


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a snapshot, as status.schema.json has it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(Snapshot).json_schema()}
