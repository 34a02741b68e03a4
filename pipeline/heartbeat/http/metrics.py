"""The snapshot as metrics, in the Prometheus text format or OpenMetrics, whichever the scraper accepts.

Every metric is a gauge. The figures of the last day and the last run come from the store, so they survive a restart and
may go down; a counter over all time would go wrong once old runs are pruned.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.model import ChangeKind, Health, Outcome

_CHANGES = tuple(kind.value for kind in ChangeKind)
_OUTCOMES = tuple(outcome.value for outcome in Outcome)


def exposition(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """Body and Content-Type for a scraper that sent this Accept header."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(snapshot))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Snapshot(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from _service(self._snapshot)
        if self._snapshot["store"]["readable"]:
            yield from _spiders(self._snapshot)
            yield from _day(self._snapshot)
            yield from _queues(self._snapshot)


def _service(snapshot: Snapshot) -> Iterator[Metric]:
    info = InfoMetricFamily("pipeline", "Version of the program")
    info.add_metric([], {"version": snapshot["version"], "schema": str(snapshot["schema"])})
    yield info
    health = GaugeMetricFamily("pipeline_health", "1 for the state the pipeline is in", labels=["state"])
    for state in Health:
        health.add_metric([state.value], float(snapshot["health"] == state.value))
    yield health
    yield GaugeMetricFamily("pipeline_store_readable", "Whether the database can be read",
                            value=float(snapshot["store"]["readable"]))
    yield GaugeMetricFamily("pipeline_store_writable", "Whether the database takes a write",
                            value=float(snapshot["store"]["writable"]))
    if snapshot["store"]["size_bytes"] is not None:
        yield GaugeMetricFamily("pipeline_store_size_bytes", "Size of the database",
                                value=float(snapshot["store"]["size_bytes"]))
    yield GaugeMetricFamily("pipeline_uptime_seconds", "Since the service started", value=snapshot["uptime_s"])
    yield GaugeMetricFamily("pipeline_loop_lag_seconds", "Longest hold-up of the service's loop in the last minute",
                            value=snapshot["loop"]["lag_s"])


def _spiders(snapshot: Snapshot) -> Iterator[Metric]:
    def gauge(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"pipeline_spider_{name}", text, labels=["spider"])

    ok = gauge("ok", "1 when nothing is wrong with the spider")
    late = gauge("late", "1 when its slot passed without a success")
    paused = gauge("paused", "1 while its slots are not claimed")
    failures = gauge("failures_in_a_row", "Failed runs since the last success")
    success = gauge("last_success_timestamp_seconds", "When a run last succeeded; absent when none ever did")
    due = gauge("next_due_timestamp_seconds", "Its next slot; absent without a schedule")
    running = gauge("runs_at_work", "Runs at work now")
    duration = gauge("last_run_duration_seconds", "How long the last run took")
    for name, spider in snapshot["spiders"].items():
        ok.add_metric([name], float(spider["health"] == "ok"))
        late.add_metric([name], float(spider["late"]))
        paused.add_metric([name], float(spider["paused"]))
        failures.add_metric([name], spider["failures_in_a_row"])
        running.add_metric([name], len(spider["running"]))
        if spider["last_success"]:
            success.add_metric([name], datetime.fromisoformat(spider["last_success"]).timestamp())
        if spider["next_due"]:
            due.add_metric([name], datetime.fromisoformat(spider["next_due"]).timestamp())
        if spider["last_run"] and spider["last_run"]["duration_s"] is not None:
            duration.add_metric([name], spider["last_run"]["duration_s"])
    yield from (ok, late, paused, failures, success, due, running, duration)


def _day(snapshot: Snapshot) -> Iterator[Metric]:
    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"pipeline_day_{name}", f"{text} in the last 24 hours", labels=["spider", *labels])

    runs = gauge("runs", "Runs ended", "outcome")
    changes = gauge("changes", "Changes of items", "kind")
    pages = gauge("pages", "Pages fetched")
    downloads = gauge("downloads", "Files downloaded")
    size = gauge("download_bytes", "Bytes downloaded")
    for name, spider in snapshot["spiders"].items():
        day = spider["day"]
        for outcome in _OUTCOMES:
            runs.add_metric([name, outcome], day["runs"].get(outcome, 0))
        for kind in _CHANGES:
            changes.add_metric([name, kind], day["progress"].get(kind, 0))
        for family, figure in ((pages, "pages"), (downloads, "downloads"), (size, "download_bytes")):
            family.add_metric([name], day["progress"].get(figure, 0))
    yield from (runs, changes, pages, downloads, size)


def _queues(snapshot: Snapshot) -> Iterator[Metric]:
    def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"pipeline_{name}", text, value=value)

    outbox, disk = snapshot["outbox"], snapshot["disk"]
    yield gauge("outbox_waiting", "Messages not yet accepted", outbox["waiting"])
    yield gauge("outbox_parked", "Messages given up until someone looks", outbox["parked"])
    yield gauge("outbox_oldest_age_seconds", "Age of the oldest waiting message, 0 when none waits",
                outbox["oldest_age_s"] or 0.0)
    yield gauge("downloads_waiting", "Downloads waiting", snapshot["downloads"]["waiting"])
    yield gauge("downloads_failed", "Downloads given up", snapshot["downloads"]["failed"])
    active = snapshot["downloads"]["active"]
    yield gauge("downloads_active", "Files under way", len(active))
    yield gauge("downloads_rate_bytes", "Bytes a second of the files under way", sum(each["rate_bytes_s"] for each in active))
    if disk["free_bytes"] is not None:
        yield gauge("disk_free_bytes", "Free where data_dir is", disk["free_bytes"])
