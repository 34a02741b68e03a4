"""The schema of the status snapshot that `status`, `/status.json` and `pipeline status --json` return.

`SCHEMA` is increased when a key is removed or changes its meaning, not when a key is added. status.schema.json is
generated from these types by `json_schema`, and a test compares the two. Times are in ISO 8601 with the UTC offset of
the time zone in the settings. Keys ending in `_s` are in seconds, keys ending in `_bytes` in bytes.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict

SCHEMA = 1

HealthWord = Literal["ok", "degraded", "failing"]
OutcomeWord = Literal["succeeded", "failed", "timed_out", "killed", "stopped", "abandoned", "skipped"]


class RunStatus(TypedDict):
    """A run. ended_at and outcome are null while the run is at work; error is "" if there was no error."""

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
    """A summary of an ended run."""

    id: int
    ended_at: str
    outcome: OutcomeWord
    duration_s: float | None
    pages: int
    items: int
    error: str


class DayStatus(TypedDict):
    """The runs of a spider that ended in the last 24 hours.

    runs: the number of runs by outcome. progress: the sums of the figures of these runs.
    """

    runs: dict[str, int]
    progress: dict[str, int]


class SpiderStatus(TypedDict):
    """A spider of the settings.

    late: whether a slot and its grace period have passed and no run has succeeded since. next_due: null without a
    schedule, and while the spider is paused. paused: whether the spider is paused; slots of a paused spider are not
    claimed, so that the spider is never late. recent: ended runs, newest first. login_ends: when the first cookie of
    the login expires; null if no cookie expires.
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
    """The outbox.

    waiting: number of messages that have not been accepted yet. parked: number of messages that are not tried again
    until a person retries or drops them.
    """

    waiting: int
    oldest_age_s: float | None
    parked: int
    last_error: str


class TransferStatus(TypedDict):
    """A file that is being downloaded, as last reported by its run.

    total_bytes: null if the server did not send the size. left_s: the remaining time; null if it cannot be estimated.
    """

    run: int
    spider: str
    name: str
    done_bytes: int
    total_bytes: int | None
    rate_bytes_s: float
    left_s: float | None


class DownloadsStatus(TypedDict):
    """The downloads.

    waiting: number of files that wait. failed: number of files that were given up. active: the files that are being
    downloaded.
    """

    waiting: int
    failed: int
    active: list[TransferStatus]


class DiskStatus(TypedDict):
    """The file system that contains data_dir. keep_free_bytes: the free space that downloads must leave."""

    free_bytes: int | None
    total_bytes: int | None
    keep_free_bytes: int


class RestingProxy(TypedDict):
    """A proxy that failed or was banned, and is not used before `until`.

    spider: the spider in whose pool the proxy is. failures: number of consecutive failures.
    """

    spider: str
    proxy: str
    failures: int
    until: str


class StoreStatus(TypedDict):
    """The state of the database.

    writable: whether the last test write, at most ten seconds ago, succeeded. error: why the database cannot be read or
    written. size_bytes: null if the size cannot be read.
    """

    readable: bool
    writable: bool
    error: str
    size_bytes: int | None


class LoopStatus(TypedDict):
    """The health of the event loop and of the wall clock.

    lag_s: the longest lag of the event loop in the last minute. clock_jump_s: how far the wall clock jumped in the last
    ten minutes; 0 if it did not jump.
    """

    lag_s: float
    clock_jump_s: float


class JobStatus(TypedDict):
    """A job that runs at a fixed interval. next_at: null if the job does not run again."""

    name: str
    every_s: float
    next_at: str | None


class JobsStatus(TypedDict):
    """The scheduler's jobs.

    schedules: number of jobs that belong to schedules. intervals: the jobs that run at a fixed interval. late: number
    of starts, since the service started, that were more than one second late. skipped: number of starts left out
    because the previous start of the same job was still at work.
    """

    schedules: int
    next_schedule_at: str | None
    intervals: list[JobStatus]
    late: int
    longest_late_s: float
    skipped: int


class SettingsStatus(TypedDict):
    """The settings of the service.

    error: why the settings file was not reloaded, or why the service could not start with it; "" if there is no error.
    waiting_for_restart: the keys whose new values need a restart of the service.
    """

    error: str
    waiting_for_restart: list[str]


class DataStatus(TypedDict):
    """The data_dir of the service.

    id: identifies the data_dir, even if commands find it at another path; "" if unknown. folder: the path that the service uses.
    """

    id: str
    folder: str


class Snapshot(TypedDict):
    """The status of the whole pipeline at one moment.

    runs: the runs at work, including runs of spiders that are no longer in the settings.
    """

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
    settings: SettingsStatus
    data: DataStatus


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a snapshot, which is the content of status.schema.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(Snapshot).json_schema()}
