"""The schema of the status snapshot that `status`, `/status.json` and `pipeline status --json` return.

The version number `SCHEMA` is increased when a key is removed or changes its meaning, not when a key is added. The file
status.schema.json is generated from these types by `json_schema`, and a test checks that the file is current. Times are
in ISO 8601 with the UTC offset of the time zone in the settings. Keys ending in `_s` are in seconds, keys ending in
`_bytes` in bytes.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

SCHEMA = 1

HealthWord = Literal["ok", "degraded", "failing"]
OutcomeWord = Literal["succeeded", "failed", "timed_out", "killed", "stopped", "abandoned", "skipped"]
ReasonKind = Literal["failed", "host", "late", "suspect", "proposed", "archive"]


class RunStatus(TypedDict):
    """A run. ended_at and outcome are null until the run has ended; error is "" if there was no error."""

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

    runs: the number of these runs by outcome. progress: the sums of the counters of these runs.
    """

    runs: dict[str, int]
    progress: dict[str, int]


class RuleStatus(TypedDict):
    """What a rule of a spider matched in a pass.

    pages: number of pages to which the rule was applied. pages_matched: number of these pages on which it matched. matches:
    number of matches; for a field, the number of items in which it found a value. items: number of items to which the rule
    was applied; 0 for a rule that is applied to whole pages.
    """

    rule: str
    pages: int
    pages_matched: int
    matches: int
    items: int


class FieldStatus(TypedDict):
    """A field of the items that a pass found. filled: number of items that have a value in the field."""

    field: str
    items: int
    filled: int


class ReasonStatus(TypedDict):
    """What a reason why a spider is not ok is about, as a code.

    kind: failed: its last runs. host: requests to its host are paused. late: it has not succeeded since a due time. suspect: the result of its last
    successful run; proposed: the same, and new rules are proposed. archive: pages that were not archived. detail: the error of the run for failed,
    suspect and proposed, "" if there is none; the time at which the pause ends for host; the due time for late; the number of pages for archive.
    """

    kind: ReasonKind
    detail: str


class SpiderStatus(TypedDict):
    """A spider of the settings.

    reasons: why it is not ok, in words. problems: what each of these reasons is about, in the same order.

    late: whether the spider is late: a slot and its grace period have passed, and no run has succeeded since the slot.
    next_due: the next due time; null if the spider has no schedule or is paused. paused: whether the spider is paused;
    slots of a paused spider are not claimed, so the spider is never late. paused_until: when the pause ends by itself; null if it does not.
    pause_reason: what was said about the pause. recent: ended runs, newest first. login_ends:
    when the first login cookie expires; null if no login cookie has an expiry time. rules, fields: what the rules of the
    spider matched in the pass of its last ended run, and how many items have each field; at most 50 rules and 50 fields.
    """

    health: HealthWord
    reasons: list[str]
    problems: list[ReasonStatus]
    schedule: str | None
    proxy: str | None
    next_due: str | None
    late: bool
    paused: bool
    paused_until: str | None
    pause_reason: str
    last_success: str | None
    failures_in_a_row: int
    running: list[int]
    last_run: RunStatus | None
    recent: list[PastRun]
    day: DayStatus
    login_ends: str | None
    rules: list[RuleStatus]
    fields: list[FieldStatus]


class RefusedAddress(TypedDict):
    """An address that a mail server refused for good.

    messages: number of messages that were refused. message, at: the newest of them, and when it was refused. reason: the server's reply.
    """

    address: str
    messages: int
    message: int
    at: str
    reason: str


class OutboxStatus(TypedDict):
    """The outbox.

    waiting: number of messages that are still to be delivered. parked: number of messages that are not tried again until
    a person runs `pipeline outbox retry`. refused: number of addresses that a mail server refused for good, and that no person
    has marked as seen. refused_addresses: at most 20 of them, those that were refused last first.
    """

    waiting: int
    oldest_age_s: float | None
    parked: int
    last_error: str
    refused: int
    refused_addresses: list[RefusedAddress]


class TransferStatus(TypedDict):
    """A file that is being downloaded. The values are those that the run last reported.

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

    waiting: number of files that wait to be downloaded. failed: number of files whose download failed and is not tried
    again. active: the files that are being downloaded.
    """

    waiting: int
    failed: int
    active: list[TransferStatus]


class DiskStatus(TypedDict):
    """The file system that contains data_dir. keep_free_bytes: the space that downloads must leave free."""

    free_bytes: int | None
    total_bytes: int | None
    keep_free_bytes: int


class RestingProxy(TypedDict):
    """A proxy that failed or was banned, and is therefore not used before `until`.

    spider: the spider that uses the proxy. failures: number of consecutive failures.
    """

    spider: str
    proxy: str
    failures: int
    until: str


class StoreStatus(TypedDict):
    """The state of the database.

    writable: whether the last test write succeeded; a test write is performed every ten seconds. error: why the database
    cannot be read or written. size_bytes: size of the database; null if the size cannot be determined.
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
    """A job of the scheduler that runs at a fixed interval. next_at: null if the job will not run again."""

    name: str
    every_s: float
    next_at: str | None


class JobsStatus(TypedDict):
    """The scheduler's jobs.

    schedules: number of jobs that the schedules of spiders and digests define. intervals: the jobs that run at a fixed
    interval. late: number of times, since the service started, that a job started more than one second late. skipped:
    number of times that a job was not started because it was still running from its previous start.
    """

    schedules: int
    next_schedule_at: str | None
    intervals: list[JobStatus]
    late: int
    longest_late_s: float
    skipped: int


class SettingsStatus(TypedDict):
    """The settings of the service.

    error: why the settings file could not be reloaded, or why the service could not start with the file; "" if there is no
    error. waiting_for_restart: the keys whose new values take effect only after a restart of the service.
    """

    error: str
    waiting_for_restart: list[str]


class DataStatus(TypedDict):
    """The data_dir of the service.

    id: identifies the data_dir, even if other processes use a different path to it; "" if unknown. folder: the path that
    the service uses.
    """

    id: str
    folder: str


class LanguageModelStatus(TypedDict):
    """The language model of [ai]: what all digests together have used today, in the time zone of the settings.

    host: its server. input_tokens, output_tokens: sent and received; tokens of requests in progress are estimates. limit_tokens: the limit of
    a day. cost: in `currency`, by the prices in the settings; 0 without prices. requests: number by state: done, failed, or reserved for
    those in progress, or whose process was killed. failing: whether the last request of the last 24 hours failed. last_error, last_error_at,
    last_error_digest: of the last request in the last 24 hours that failed; "" and null if none did.
    """

    model: str
    host: str
    input_tokens: int
    output_tokens: int
    limit_tokens: int
    cost: float
    currency: str
    requests: dict[str, int]
    failing: bool
    last_error: str
    last_error_at: str | None
    last_error_digest: str


class ArchiveStatus(TypedDict):
    """The archived pages of a spider.

    first_day, last_day: the days (UTC) of the first and the last pages; "" if there are none. oldest_segment: the day of the oldest pages that
    are not merged into the file of their day yet; "" if there are none. without_timestamp: number of day files without a timestamp; 0 if
    no timestamp server is set. timestamp_attempts, timestamp_error: the most attempts for one of them, and why they failed.
    """

    size_bytes: int
    files: int
    first_day: str
    last_day: str
    oldest_segment: str
    without_timestamp: int
    timestamp_attempts: int
    timestamp_error: str


class NodeStatus(TypedDict):
    """A process of a node: `pipeline serve` or `pipeline worker`.

    name: the name of the node. state: gone means that the process was not seen for 15 seconds and has not stopped cleanly. roles:
    scheduler, outbox, worker. leader: whether it is the leader of the schedulers. queues: the queues whose runs it takes; empty means
    all. concurrency: the maximum number of runs in progress. running: the number of runs in progress. runs: their ids. load: the load
    average of one minute, divided by the number of cores. clock_skew_s: how far its clock is ahead of the database's clock. age_s: the
    time since seen_at.
    """

    name: str
    state: Literal["alive", "stopping", "gone"]
    version: str
    roles: list[str]
    leader: bool
    queues: list[str]
    concurrency: int
    running: int
    runs: list[int]
    load: float
    clock_skew_s: float
    started_at: str
    seen_at: str
    age_s: float


class QueueStatus(TypedDict):
    """The runs of a queue that could start now.

    workers: the number of processes that perform runs of this queue. oldest_wait_s: null if no run waits.
    """

    name: str
    waiting: int
    workers: int
    oldest_wait_s: float | None


class Snapshot(TypedDict):
    """The status of the whole pipeline at one moment.

    runs: the runs in progress, including runs of spiders that are no longer in the settings. nodes, queues: only with PostgreSQL.
    language_model: only if the settings have [ai]. archive: the archive of each spider that has one; only if there is any.
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
    archive: NotRequired[dict[str, ArchiveStatus]]
    nodes: NotRequired[list[NodeStatus]]
    queues: NotRequired[list[QueueStatus]]
    language_model: NotRequired[LanguageModelStatus]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a snapshot, which is the content of status.schema.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(Snapshot).json_schema()}
