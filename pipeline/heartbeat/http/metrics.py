"""Returns the snapshot as metrics, in the Prometheus text format or in OpenMetrics.

The figures of the last day and of the last run are gauges, because they may decrease. They are read from the store, so
they survive a restart. There are no counters over all time, because the store deletes old runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pipeline.heartbeat.snapshot.schema import NodeStatus, Snapshot
from pipeline.model import ChangeKind, Health, Outcome

_CHANGES = tuple(kind.value for kind in ChangeKind)
_OUTCOMES = tuple(outcome.value for outcome in Outcome)


def exposition(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """Return the body and Content-Type of the metrics for a client that sent this Accept header."""
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
            yield from _rules(self._snapshot)
            yield from _day(self._snapshot)
            yield from _queues(self._snapshot)
            yield from _archive(self._snapshot)
            yield from _nodes(self._snapshot)
            yield from _language_model(self._snapshot)


def _service(snapshot: Snapshot) -> Iterator[Metric]:
    info = InfoMetricFamily("pipeline", "Version of the program")
    info.add_metric([], {"version": snapshot["version"], "schema": str(snapshot["schema"])})
    yield info
    health = GaugeMetricFamily("pipeline_health", "1 for the current health of the pipeline, 0 for the others", labels=["state"])
    for state in Health:
        health.add_metric([state.value], float(snapshot["health"] == state.value))
    yield health
    yield GaugeMetricFamily("pipeline_store_readable", "1 if the database can be read",
                            value=float(snapshot["store"]["readable"]))
    yield GaugeMetricFamily("pipeline_store_writable", "1 if the database can be written",
                            value=float(snapshot["store"]["writable"]))
    if snapshot["store"]["size_bytes"] is not None:
        yield GaugeMetricFamily("pipeline_store_size_bytes", "Size of the database",
                                value=float(snapshot["store"]["size_bytes"]))
    yield GaugeMetricFamily("pipeline_uptime_seconds", "Time since the service started", value=snapshot["uptime_s"])
    yield GaugeMetricFamily("pipeline_loop_lag_seconds", "Longest lag of the service's event loop in the last minute",
                            value=snapshot["loop"]["lag_s"])


def _spiders(snapshot: Snapshot) -> Iterator[Metric]:
    def gauge(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"pipeline_spider_{name}", text, labels=["spider"])

    ok = gauge("ok", "1 if the spider's health is ok")
    late = gauge("late", "1 if the spider is late: its slot and grace passed without a success")
    paused = gauge("paused", "1 if the spider is paused")
    failures = gauge("failures_in_a_row", "Number of failed runs since the last success")
    success = gauge("last_success_timestamp_seconds", "Time of the last success; absent if there is none")
    due = gauge("next_due_timestamp_seconds", "Time of the next slot; absent without a schedule")
    running = gauge("runs_at_work", "Number of runs that are running")
    duration = gauge("last_run_duration_seconds", "Duration of the last run")
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


def _rules(snapshot: Snapshot) -> Iterator[Metric]:
    pages = GaugeMetricFamily("pipeline_rule_pages", "Pages to which a rule was applied in the pass of the spider's last run",
                              labels=["spider", "rule"])
    matched = GaugeMetricFamily("pipeline_rule_pages_matched", "Pages on which a rule matched in the pass of the spider's last run",
                                labels=["spider", "rule"])
    filled = GaugeMetricFamily("pipeline_field_filled_ratio", "Share of the items of the spider's last run that have a field",
                               labels=["spider", "field"])
    for name, spider in snapshot["spiders"].items():
        for rule in spider["rules"]:
            pages.add_metric([name, rule["rule"]], rule["pages"])
            matched.add_metric([name, rule["rule"]], rule["pages_matched"])
        for field in spider["fields"]:
            filled.add_metric([name, field["field"]], field["filled"] / field["items"])
    yield from (pages, matched, filled)


def _day(snapshot: Snapshot) -> Iterator[Metric]:
    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"pipeline_day_{name}", f"{text} in the last 24 hours", labels=["spider", *labels])

    runs = gauge("runs", "Runs ended", "outcome")
    changes = gauge("changes", "Changes of items", "kind")
    pages = gauge("pages", "Pages fetched")
    downloads = gauge("downloads", "Files downloaded")
    size = gauge("download_bytes", "Bytes downloaded")
    archived, archived_size = gauge("archived_pages", "Pages archived"), gauge("archived_bytes", "Bytes written to the archive")
    not_archived = gauge("not_archived", "Pages that could not be archived")
    for name, spider in snapshot["spiders"].items():
        day = spider["day"]
        for outcome in _OUTCOMES:
            runs.add_metric([name, outcome], day["runs"].get(outcome, 0))
        for kind in _CHANGES:
            changes.add_metric([name, kind], day["progress"].get(kind, 0))
        for family, figure in ((pages, "pages"), (downloads, "downloads"), (size, "download_bytes"), (archived, "archived_pages"),
                               (archived_size, "archived_bytes"), (not_archived, "not_archived")):
            family.add_metric([name], day["progress"].get(figure, 0))
    yield from (runs, changes, pages, downloads, size, archived, archived_size, not_archived)


def _queues(snapshot: Snapshot) -> Iterator[Metric]:
    def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"pipeline_{name}", text, value=value)

    outbox, disk = snapshot["outbox"], snapshot["disk"]
    yield gauge("outbox_waiting", "Messages waiting in the outbox", outbox["waiting"])
    yield gauge("outbox_parked", "Messages parked in the outbox", outbox["parked"])
    yield gauge("outbox_refused_addresses", "Addresses that a mail server refused for good, not marked as seen", outbox["refused"])
    yield gauge("outbox_oldest_age_seconds", "Age of the oldest waiting message, 0 when none waits",
                outbox["oldest_age_s"] or 0.0)
    yield gauge("downloads_waiting", "Downloads waiting", snapshot["downloads"]["waiting"])
    yield gauge("downloads_failed", "Failed downloads", snapshot["downloads"]["failed"])
    active = snapshot["downloads"]["active"]
    yield gauge("downloads_active", "Files that are being downloaded", len(active))
    yield gauge("downloads_rate_bytes", "Bytes per second of the files that are being downloaded", sum(each["rate_bytes_s"] for each in active))
    if disk["free_bytes"] is not None:
        yield gauge("disk_free_bytes", "Free space of the file system of data_dir", disk["free_bytes"])


def _archive(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the figures of the archive, which exist only if pages are archived."""
    def gauge(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"pipeline_archive_{name}", text, labels=["spider"])

    size = gauge("size_bytes", "Size of the archived pages")
    waiting = gauge("without_timestamp", "Files of the archive that have no timestamp yet, although a timestamp server is set")
    for name, found in snapshot.get("archive", {}).items():
        size.add_metric([name], found["size_bytes"])
        waiting.add_metric([name], found["without_timestamp"])
    if "archive" in snapshot:
        yield from (size, waiting)


def _nodes(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the figures of nodes and of queues of runs, which exist only with PostgreSQL.

    The processes of a node that have the same roles are counted together.
    """
    if "nodes" not in snapshot:
        return

    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"pipeline_{name}", text, labels=labels)

    up = gauge("node_up", "Number of processes of the node that are alive; 0 if they are gone", "node", "roles")
    running = gauge("node_running", "Runs in progress on the node", "node", "roles")
    concurrency = gauge("node_concurrency", "Maximum number of runs in progress on the node", "node", "roles")
    leader = gauge("node_leader", "1 if the node has the leader of the schedulers", "node", "roles")
    skew = gauge("node_clock_skew_seconds", "How far the clock of the node is ahead of the database's clock", "node", "roles")
    processes: dict[tuple[str, str], list[NodeStatus]] = {}
    for each in snapshot["nodes"]:
        processes.setdefault((each["name"], ",".join(each["roles"])), []).append(each)
    for labels, found in processes.items():
        alive = [each for each in found if each["state"] != "gone"]
        up.add_metric(labels, len(alive))
        running.add_metric(labels, sum(each["running"] for each in alive))
        concurrency.add_metric(labels, sum(each["concurrency"] for each in alive if each["state"] == "alive"))
        leader.add_metric(labels, float(any(each["leader"] for each in alive)))
        skew.add_metric(labels, max((each["clock_skew_s"] for each in found), key=abs))
    waiting = gauge("runs_waiting", "Runs that could start now: add workers for a queue in which runs wait", "queue")
    oldest = gauge("runs_waiting_oldest_seconds", "How long the first of these runs has waited, 0 when none waits", "queue")
    workers = gauge("queue_workers", "Processes that perform runs of the queue", "queue")
    for queue in snapshot.get("queues", []):
        waiting.add_metric([queue["name"]], queue["waiting"])
        oldest.add_metric([queue["name"]], queue["oldest_wait_s"] or 0.0)
        workers.add_metric([queue["name"]], queue["workers"])
    yield from (up, running, concurrency, leader, skew, waiting, oldest, workers)


def _language_model(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the figures of the language model, which exist only if the settings have one. They begin anew each day."""
    if "language_model" not in snapshot:
        return
    found = snapshot["language_model"]
    tokens = GaugeMetricFamily("pipeline_model_tokens_today", "Tokens of the language model used today, in the time zone of the settings", labels=["direction"])
    tokens.add_metric(["input"], found["input_tokens"])
    tokens.add_metric(["output"], found["output_tokens"])
    cost = GaugeMetricFamily("pipeline_model_cost_today", "Cost of these tokens by the prices in the settings", labels=["currency"])
    cost.add_metric([found["currency"]], found["cost"])
    requests = GaugeMetricFamily("pipeline_model_requests_today", "Requests to the language model today", labels=["outcome"])
    for state, number in found["requests"].items():
        requests.add_metric([state], number)
    yield from (tokens, cost, requests)
    yield GaugeMetricFamily("pipeline_model_tokens_limit", "Tokens that the language model may use in a day", value=found["limit_tokens"])
    yield GaugeMetricFamily("pipeline_model_failing", "1 if the last request to the language model in the last 24 hours failed", value=float(found["failing"]))
