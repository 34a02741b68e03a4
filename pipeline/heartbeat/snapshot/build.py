"""Builds the status snapshot: reads the store in one transaction and determines the pipeline's health.

The health depends on success. A spider is not ok if its last run failed, or if no run has succeeded since its last slot,
even if the service itself works well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Connection

from pipeline.errors import PipelineError
from pipeline.heartbeat.snapshot.archive_status import archive_reasons, archive_status
from pipeline.heartbeat.snapshot.history import HistoryReader, RunHistory, run_status
from pipeline.heartbeat.snapshot.language_model import language_model_status
from pipeline.heartbeat.snapshot.nodes import ClusterFacts, cluster_reasons, node_status, queue_status
from pipeline.heartbeat.snapshot.schema import (
    SCHEMA,
    ArchiveStatus,
    DiskStatus,
    HealthWord,
    LanguageModelStatus,
    OutboxStatus,
    RestingProxy,
    Snapshot,
    SpiderStatus,
    TransferStatus,
)
from pipeline.heartbeat.snapshot.spider_status import DueTimes, SpiderFacts, spider_status
from pipeline.model import Health, Run
from pipeline.settings import Proxy, ProxyTable, Settings
from pipeline.store.crawl import mendings
from pipeline.store.database.engine import Store
from pipeline.store.health import status_queries as queries
from pipeline.store.health.proxy_health import PoolHealth, pools
from pipeline.store.mail import refused_addresses
from pipeline.store.mail.login_cookies import first_ends
from pipeline.store.runs.host_pauses import paused_hosts_of
from pipeline.store.runs.paused_spiders import pauses
from pipeline.text import counted, iso, quoted, size_for_people, span_for_people

MOST_REFUSED = 20
"""Maximum number of refused addresses in a snapshot."""


@dataclass(frozen=True)
class _Read:
    """The data that one transaction has read from the store."""

    at_work: list[Run]
    spiders: dict[str, SpiderStatus]
    outbox: OutboxStatus
    digest_problems: list[queries.DigestProblem]
    downloads: dict[str, int]
    pools: dict[str, PoolHealth]
    size_bytes: int | None
    cluster: ClusterFacts
    language_model: LanguageModelStatus | None
    archive: dict[str, ArchiveStatus]


def build_snapshot(store: Store, settings: Settings, due_times: DueTimes, *, version: str, mask: Callable[[str], str] = str,
                   history: RunHistory | None = None) -> Snapshot:
    """Return the snapshot at the time `due_times.now`.

    The module schema.py describes the keys of a snapshot. Call this function in a thread, because it blocks while it
    reads the store. If the store cannot be read, the function returns a snapshot with the health `failing` instead of
    raising an error. mask: masks secrets in error texts. history: a cache of ended runs, so that only new runs are read
    from the store; None reads all runs.
    """
    zone, now, started_at = settings.zone, due_times.now, due_times.started_at
    history = history or RunHistory()
    reader = history.reader(settings, mask, due_times.now)
    try:
        with store.read() as connection:
            found = _read(connection, store, settings, due_times, mask=mask, reader=reader)
    except PipelineError as error:
        return unreadable_snapshot(str(error), started_at=started_at, now=now, version=version, zone=zone)
    history.keep(reader)
    disk = _disk(store.data_dir, settings.pipeline.keep_free)
    health, reasons = _health(found, settings, disk, mask, now)
    if not _is_writable(store.data_dir):
        health, reasons = "failing", ["store: data_dir is not writable; check the mount options and the owner of the directory", *reasons]
    snapshot: Snapshot = {
        **_empty(health, reasons, started_at=started_at, now=now, version=version, zone=zone),
        "spiders": found.spiders,
        "runs": [run_status(run, now, zone) for run in found.at_work],
        "outbox": found.outbox,
        "downloads": {"waiting": found.downloads.get("waiting", 0), "failed": found.downloads.get("failed", 0),
                      "active": _transfers(found.at_work, mask)},
        "proxies": {name: [_without_credentials(one) for one in _pool(proxy)] for name, proxy in settings.proxies.items()},
        "resting_proxies": _resting_proxies(found.pools, settings.zone, now),
        "disk": disk, "store": {"readable": True, "writable": True, "error": "", "size_bytes": found.size_bytes},
    }
    if found.archive:
        snapshot["archive"] = found.archive
    if store.shared:
        snapshot["nodes"] = [node_status(node, found.at_work, zone) for node in found.cluster.nodes]
        snapshot["queues"] = queue_status(found.cluster, now)
    if found.language_model is not None:
        snapshot["language_model"] = found.language_model
    return snapshot


def _read(connection: Connection, store: Store, settings: Settings, due_times: DueTimes, *,
          mask: Callable[[str], str], reader: HistoryReader) -> _Read:
    now = due_times.now
    at_work = [replace(run, error=mask(run.error)) if run.error else run for run in queries.running(connection)]
    reader.begin(connection, at_work)
    facts = SpiderFacts(
        at_work, pauses(connection, now=now), paused_hosts_of(connection, now=now),
        first_ends(connection, at_least=timedelta(seconds=settings.alerts.login_before)), mendings.states(connection))
    problems = [queries.digest_problem(connection, name) for name in settings.digests]
    spiders = {name: spider_status(connection, settings, name, facts, due_times, history=reader) for name in settings.spiders}
    return _Read(at_work, spiders,
                 _outbox(connection, now, mask, settings.zone), [problem for problem in problems if problem is not None],
                 queries.download_counts(connection), pools(store, connection, _with_proxy(settings)), store.size_bytes(connection),
                 ClusterFacts.read(connection, settings, now), language_model_status(connection, settings, now, mask), archive_status(connection, settings))


def _health(found: _Read, settings: Settings, disk: DiskStatus, mask: Callable[[str], str],
            now: datetime) -> tuple[HealthWord, list[str]]:
    """Return the health of the pipeline, and the reasons why the health is not ok."""
    below = settings.heartbeat.disk_below
    reasons = [f"{name}: {reason}" for name, spider in found.spiders.items() for reason in spider["reasons"]]
    reasons += _outbox_reasons(found.outbox, settings.heartbeat.outbox_after)
    reasons += [_digest_reason(problem, mask, settings.zone) for problem in found.digest_problems]
    reasons += cluster_reasons(found.cluster, now, settings.zone)
    reasons += archive_reasons(found.archive, settings, now)
    reasons += _disk_reasons(disk, settings.pipeline.keep_free if below is None else below)
    return worst([*(spider["health"] for spider in found.spiders.values()), "degraded" if reasons else "ok"]), reasons


def unreadable_snapshot(why: str, *, started_at: datetime, now: datetime, version: str,
                        zone: tzinfo | None = None) -> Snapshot:
    """Return the snapshot for a time at which the store cannot be read. Its health is `failing`.

    why: why the store cannot be read; the snapshot contains this reason.
    """
    why = quoted(why)
    return {
        **_empty("failing", [f"store: {why}"], started_at=started_at, now=now, version=version, zone=zone),
        "store": {"readable": False, "writable": False, "error": why, "size_bytes": None},
    }


def worst(words: list[HealthWord]) -> HealthWord:
    order = [one.value for one in Health]
    return max(words, key=order.index, default="ok")


def _empty(health: HealthWord, reasons: list[str], *, started_at: datetime, now: datetime, version: str,
           zone: tzinfo | None) -> Snapshot:
    """Return a snapshot without any spiders, runs and figures."""
    return {
        "schema": SCHEMA, "at": iso(now, zone), "version": version, "started_at": iso(started_at, zone),
        "uptime_s": round((now - started_at).total_seconds(), 1), "health": health, "reasons": reasons,
        "spiders": {}, "runs": [], "outbox": {"waiting": 0, "oldest_age_s": None, "parked": 0, "last_error": "", "refused": 0, "refused_addresses": []},
        "downloads": {"waiting": 0, "failed": 0, "active": []}, "proxies": {},
        "resting_proxies": [],
        "disk": {"free_bytes": None, "total_bytes": None, "keep_free_bytes": 0},
        "store": {"readable": True, "writable": True, "error": "", "size_bytes": None},
        "loop": {"lag_s": 0.0, "clock_jump_s": 0.0},
        "jobs": {"schedules": 0, "next_schedule_at": None, "intervals": [], "late": 0, "longest_late_s": 0.0, "skipped": 0},
        "settings": {"error": "", "waiting_for_restart": []},
        "data": {"id": "", "folder": ""},
    }


def _transfers(at_work: list[Run], mask: Callable[[str], str]) -> list[TransferStatus]:
    return [{"run": run.id, "spider": run.spider, "name": mask(each.name), "done_bytes": each.done_bytes,
             "total_bytes": each.total_bytes, "rate_bytes_s": round(each.rate_bytes_s, 1),
             "left_s": None if each.left_s is None else round(each.left_s, 1)}
            for run in at_work for each in run.transfers]


def _outbox(connection: Connection, now: datetime, mask: Callable[[str], str], zone: tzinfo) -> OutboxStatus:
    found = queries.outbox(connection)
    refused = refused_addresses.count(connection)
    age = (now - found.oldest_at).total_seconds() if found.oldest_at else None
    return {"waiting": found.waiting, "oldest_age_s": None if age is None else round(max(0.0, age), 1),
            "parked": found.parked, "last_error": quoted(mask(found.last_error)), "refused": refused,
            "refused_addresses": [
                {"address": quoted(mask(each.address)), "messages": each.messages, "message": each.message_id, "at": iso(each.at, zone),
                 "reason": quoted(mask(f"{each.code} {each.answer}" if each.code else each.answer))}
                for each in (refused_addresses.read(connection, limit=MOST_REFUSED) if refused else ())]}


def _outbox_reasons(outbox: OutboxStatus, after_s: float) -> list[str]:
    reasons = []
    if outbox["oldest_age_s"] is not None and outbox["oldest_age_s"] > after_s:
        why = f" ({outbox['last_error']})" if outbox["last_error"] else ""
        reasons.append(f"outbox: the oldest message has waited for {span_for_people(outbox['oldest_age_s'])}{why}")
    if outbox["parked"]:
        reasons.append(f"outbox: {counted(outbox['parked'], 'parked message')}, not sent before a retry is requested; see `pipeline outbox`")
    if outbox["refused"]:
        first = outbox["refused_addresses"][0]
        more = f" and {outbox['refused'] - 1} more" if outbox["refused"] > 1 else ""
        reasons.append(f"outbox: {counted(outbox['refused'], 'address')} refused for good: {first['address']} ({first['reason']}){more}; "
                       "see `pipeline outbox`, and mark as seen with `pipeline outbox seen --all`")
    return reasons


def _digest_reason(problem: queries.DigestProblem, mask: Callable[[str], str], zone: tzinfo) -> str:
    what = "sent with less content" if problem.next_at is None else \
        f"not sent, because rendering failed; next attempt at {iso(problem.next_at, zone)}"
    return f"digest {problem.name}: {what} ({quoted(mask(problem.error))})"


def _is_writable(folder: Path) -> bool:
    """Return whether data_dir is writable, judged by its permissions and mount options.

    Nothing is written, because writing could make the state of a full or broken disk worse.
    """
    try:
        return os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY
    except OSError:
        return False


def _disk(folder: Path, keep_free_bytes: int) -> DiskStatus:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:  # _disk_reasons reports the problem if free_bytes is None
        return {"free_bytes": None, "total_bytes": None, "keep_free_bytes": keep_free_bytes}
    return {"free_bytes": usage.free, "total_bytes": usage.total, "keep_free_bytes": keep_free_bytes}


def _disk_reasons(disk: DiskStatus, below: int) -> list[str]:
    free, keep = disk["free_bytes"], disk["keep_free_bytes"]
    if free is None:
        return ["disk: the free space of data_dir cannot be determined"]
    if free < max(below, keep):
        name, least = ("pipeline.keep_free", keep) if keep >= below else ("heartbeat.disk_below", below)
        return [f"disk: only {size_for_people(free)} free; {name} requires {size_for_people(least)}"]
    return []


def _pool(proxy: Proxy) -> tuple[str | ProxyTable, ...]:
    return proxy if isinstance(proxy, tuple) else (proxy,)


def _without_credentials(proxy: str | ProxyTable) -> str:
    parts = urlsplit(proxy if isinstance(proxy, str) else proxy.url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _with_proxy(settings: Settings) -> list[str]:
    """Return the spiders that use a proxy: for each of them, a file is read."""
    return [name for name, table in settings.spiders.items() if table.proxy is not None]


def _resting_proxies(found: dict[str, PoolHealth], zone: tzinfo, now: datetime) -> list[RestingProxy]:
    """Return the proxies that are currently not used, because they failed or were banned."""
    return [{"spider": name, "proxy": quoted(proxy), "failures": each.failures,
             "until": iso(datetime.fromtimestamp(each.resting_until_s, UTC), zone)}
            for name, pool in found.items() for proxy, each in pool.health.items() if each.resting_until_s > now.timestamp()]
