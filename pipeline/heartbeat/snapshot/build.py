"""The snapshot: every fact the heartbeat tells, read from the store at one moment, and what to think of it.

Truth here is about success, not about being alive: a spider whose last run failed, or whose slot passed
without a success, is not ok, however well the service itself does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Connection

from pipeline.errors import PipelineError
from pipeline.heartbeat.snapshot.history import Past, Reading, duration_s
from pipeline.heartbeat.snapshot.schema import (
    SCHEMA,
    DiskStatus,
    HealthWord,
    OutboxStatus,
    RestingProxy,
    RunStatus,
    Snapshot,
    SpiderStatus,
    TransferStatus,
)
from pipeline.model import Health, LoginCookie, Outcome, Run
from pipeline.settings import Proxy, ProxyTable, Settings, quiet_between
from pipeline.store.database.engine import Store
from pipeline.store.health import status_queries as queries
from pipeline.store.health.proxy_health import pool_file, read_pool
from pipeline.store.mail.login_cookies import first_ends
from pipeline.store.runs.host_pauses import paused_hosts_of, paused_until
from pipeline.store.runs.paused_spiders import paused_since
from pipeline.store.runs.runs import QUIET
from pipeline.text import iso, quoted, size_for_people, span_for_people

RECENT = 20
"""Ended runs of each spider in a snapshot: enough for a sparkline."""

DueAfter = Callable[[str, datetime], datetime | None]
"""The first due time of a spider after a moment; None when it has no schedule."""


def snapshot(store: Store, settings: Settings, *, next_slots: Mapping[str, datetime | None], started_at: datetime,
             now: datetime, version: str, due_after: DueAfter | None = None,
             mask: Callable[[str], str] = str, past: Past | None = None) -> Snapshot:
    """All facts at `now`. Blocks on the store: call it off the loop. Raises nothing for a store that cannot be read.

    next_slots: the next due time by spider. due_after: tells lateness; without it a spider is late once its
    entry in next_slots is overdue. mask: takes secrets out of errors. past: what the snapshot before this one read;
    given it, a spider costs the same whatever its history. shape.py documents what comes back.
    """
    zone = settings.zone
    past = past or Past()
    ended = past.reading(settings, mask)
    try:
        with store.read() as connection:
            at_work = _masked(queries.running(connection), mask)
            paused = paused_since(connection)
            hosts = paused_hosts_of(connection, now=now)
            logins = first_ends(connection, at_least=timedelta(seconds=settings.alerts.login_before))
            days = ended.day(connection, now - timedelta(days=1))
            spiders = {name: _spider(connection, settings, name, ended=ended, at_work=at_work, next_due=next_slots.get(name),
                                     day=days.get(name), started_at=started_at, now=now, due_after=due_after,
                                     paused=name in paused, left_alone=paused_until(settings.spiders[name], hosts), login=logins.get(name))
                       for name in settings.spiders}
            outbox = _outbox(queries.outbox(connection), now, mask)
            digests = [queries.digest_problem(connection, name) for name in settings.digests]
            downloads = queries.download_counts(connection)
            size_bytes = store.size_bytes(connection)
    except PipelineError as error:
        return unreadable(str(error), started_at=started_at, now=now, version=version, zone=zone)
    past.keep(ended)
    disk = _disk(store.data_dir, settings.pipeline.keep_free)
    below = settings.heartbeat.disk_below
    reasons = [f"{name}: {reason}" for name, found in spiders.items() for reason in found["reasons"]]
    reasons += _outbox_reasons(outbox, settings.heartbeat.outbox_after)
    reasons += [_digest_reason(problem, mask, zone) for problem in digests if problem is not None]
    reasons += _disk_reasons(disk, settings.pipeline.keep_free if below is None else below)
    health = worst([*(found["health"] for found in spiders.values()), "degraded" if reasons else "ok"])
    if not _is_writable(store.data_dir):
        health, reasons = "failing", ["store: data_dir cannot be written; see its mount and its owner", *reasons]
    return {
        **_frame(health, reasons, started_at=started_at, now=now, version=version, zone=zone),
        "spiders": spiders,
        "runs": [_run(run, now, zone) for run in at_work],
        "outbox": outbox,
        "downloads": {"waiting": downloads.get("waiting", 0), "failed": downloads.get("failed", 0),
                      "active": _transfers(at_work, mask)},
        "proxies": {name: [shown_proxy(one) for one in _pool(proxy)] for name, proxy in settings.proxies.items()},
        "resting_proxies": _resting(store.data_dir, settings, now),
        "disk": disk, "store": {"readable": True, "writable": True, "error": "", "size_bytes": size_bytes},
    }


def unreadable(why: str, *, started_at: datetime, now: datetime, version: str,
               zone: tzinfo | None = None) -> Snapshot:
    """What is true when the store cannot be read: failing, and why."""
    why = quoted(why)
    return {
        **_frame("failing", [f"store: {why}"], started_at=started_at, now=now, version=version, zone=zone),
        "store": {"readable": False, "writable": False, "error": why, "size_bytes": None},
    }


def worst(words: list[HealthWord]) -> HealthWord:
    order = [one.value for one in Health]
    return max(words, key=order.index, default="ok")


def _frame(health: HealthWord, reasons: list[str], *, started_at: datetime, now: datetime, version: str,
           zone: tzinfo | None) -> Snapshot:
    """A snapshot of nothing, to be filled."""
    return {
        "schema": SCHEMA, "at": iso(now, zone), "version": version, "started_at": iso(started_at, zone),
        "uptime_s": round((now - started_at).total_seconds(), 1), "health": health, "reasons": reasons,
        "spiders": {}, "runs": [], "outbox": {"waiting": 0, "oldest_age_s": None, "parked": 0, "last_error": ""},
        "downloads": {"waiting": 0, "failed": 0, "active": []}, "proxies": {},
        "resting_proxies": [],
        "disk": {"free_bytes": None, "total_bytes": None, "keep_free_bytes": 0},
        "store": {"readable": True, "writable": True, "error": "", "size_bytes": None},
        "loop": {"lag_s": 0.0, "clock_jump_s": 0.0},
    }


def _spider(connection: Connection, settings: Settings, name: str, *, ended: Reading, at_work: list[Run],
            next_due: datetime | None, day: queries.RunTotals | None, started_at: datetime, now: datetime,
            due_after: DueAfter | None, paused: bool, left_alone: datetime | None, login: LoginCookie | None) -> SpiderStatus:
    table = settings.spiders[name]
    told = ended.recent(connection, name, RECENT)
    recent = [each.run for each in told]
    success, failures = _success_and_failures(connection, name, recent)
    running = [run for run in at_work if run.spider == name]
    last = recent[0] if recent else None
    grace = settings.heartbeat.late_after
    due = due_for_success(name, success, started_at, next_due, due_after)
    if left_alone is not None:
        due = max(due, left_alone) if due is not None else None
        next_due = max(next_due, left_alone) if next_due is not None else None
    begun = running or (last is not None and last.error_kind == QUIET)
    late = not paused and due is not None and is_late(
        due + quiet_between(table.quiet, due.astimezone(settings.zone), now), now,
        grace_s=grace if grace is not None else _grace_s(name, due, due_after),
        time_limit_s=table.time_limit if begun else 0.0)
    reasons = []
    if failures:
        why = quoted(next((run.error for run in recent if run.error), ""))
        reasons.append(("the last run failed" if failures == 1 else f"the last {failures} runs failed")
                       + (f" ({why})" if why else ""))
    if left_alone is not None:
        reasons.append(f"its host asks to be left alone until {iso(left_alone, settings.zone)}")
    if late and due is not None:
        reasons.append(f"late: due {iso(due, settings.zone)}, last success "
                       + (iso(success.ended_at, settings.zone) if success and success.ended_at else "never"))
    if last is not None and last.suspect:
        reasons.append(f"run {last.id} is suspect" + (f" ({quoted(last.error)})" if last.error else ""))
    many = failures >= settings.alerts.after
    return {
        "health": "failing" if many else "degraded" if reasons else "ok",
        "reasons": reasons,
        "schedule": "; ".join(entry.name for entry in table.schedule) or None,
        "proxy": table.proxy,
        "next_due": iso(next_due, settings.zone) if next_due and not paused else None,
        "late": late,
        "paused": paused,
        "last_success": iso(success.ended_at, settings.zone) if success and success.ended_at else None,
        "failures_in_a_row": failures,
        "running": [run.id for run in running],
        "last_run": _run(last, now, settings.zone) if last else None,
        "recent": [each.shown for each in told],
        "day": {"runs": day.outcomes if day else {}, "progress": day.progress if day else {}},
        "login_ends": iso(login.ends_at, settings.zone) if login else None,
    }


def _success_and_failures(connection: Connection, name: str, recent: list[Run]) -> tuple[Run | None, int]:
    """The last success, and how many runs failed since; the store is asked only where `recent` does not reach."""
    for position, run in enumerate(recent):
        if run.outcome is Outcome.SUCCEEDED:
            return run, sum(earlier.outcome in queries.FAILURES for earlier in recent[:position])
    if len(recent) < RECENT:  # there are no more
        return None, sum(run.outcome in queries.FAILURES for run in recent)
    success = queries.last_success(connection, name)
    return success, queries.failures_since(connection, name, success.ended_at if success else None)


def due_for_success(name: str, success: Run | None, started_at: datetime, next_due: datetime | None,
                    due_after: DueAfter | None) -> datetime | None:
    """When the spider's next success is, or was, due: the first slot after the last one that was done.

    A spider that never succeeded owes the slots since the service started.
    """
    if due_after is None:
        return next_due
    return due_after(name, success.due_at if success else started_at)


def is_late(due: datetime, now: datetime, *, grace_s: float, time_limit_s: float = 0.0) -> bool:
    """Whether `due` passed with its grace. A run at work, or held by quiet hours, has its time limit on top, and no more."""
    return now > due + timedelta(seconds=grace_s + time_limit_s)


def _grace_s(name: str, due: datetime, due_after: DueAfter | None) -> float:
    """Half the time to the following slot, from one minute to one hour."""
    following = due_after(name, due) if due_after else None
    return 3600.0 if following is None else min(3600.0, max(60.0, (following - due).total_seconds() / 2))


def _masked(runs: list[Run], mask: Callable[[str], str]) -> list[Run]:
    return [replace(run, error=mask(run.error)) if run.error else run for run in runs]


def _transfers(at_work: list[Run], mask: Callable[[str], str]) -> list[TransferStatus]:
    return [{"run": run.id, "spider": run.spider, "name": mask(each.name), "done_bytes": each.done_bytes,
             "total_bytes": each.total_bytes, "rate_bytes_s": round(each.rate_bytes_s, 1),
             "left_s": None if each.left_s is None else round(each.left_s, 1)}
            for run in at_work for each in run.transfers]


def _outbox(found: queries.OutboxTotals, now: datetime, mask: Callable[[str], str]) -> OutboxStatus:
    age = (now - found.oldest_at).total_seconds() if found.oldest_at else None
    return {"waiting": found.waiting, "oldest_age_s": None if age is None else round(max(0.0, age), 1),
            "parked": found.parked, "last_error": quoted(mask(found.last_error))}


def _outbox_reasons(outbox: OutboxStatus, after_s: float) -> list[str]:
    reasons = []
    if outbox["oldest_age_s"] is not None and outbox["oldest_age_s"] > after_s:
        why = f" ({outbox['last_error']})" if outbox["last_error"] else ""
        reasons.append(f"outbox: the oldest message waits for {span_for_people(outbox['oldest_age_s'])}{why}")
    if outbox["parked"]:
        reasons.append(f"outbox: {outbox['parked']} parked; see `pipeline outbox`")
    return reasons


def _digest_reason(problem: queries.DigestProblem, mask: Callable[[str], str], zone: tzinfo) -> str:
    again = "sent with less than its settings ask for" if problem.next_at is None else \
        f"not rendered, tried again {iso(problem.next_at, zone)}"
    return f"digest {problem.name}: {again} ({quoted(mask(problem.error))})"


def _is_writable(folder: Path) -> bool:
    """Asked of the file system: writing to find out would add to what is wrong."""
    try:
        return os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY
    except OSError:
        return False


def _disk(folder: Path, keep_free_bytes: int) -> DiskStatus:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:  # told as a reason: free_bytes is null
        return {"free_bytes": None, "total_bytes": None, "keep_free_bytes": keep_free_bytes}
    return {"free_bytes": usage.free, "total_bytes": usage.total, "keep_free_bytes": keep_free_bytes}


def _disk_reasons(disk: DiskStatus, below: int) -> list[str]:
    free, keep = disk["free_bytes"], disk["keep_free_bytes"]
    if free is None:
        return ["disk: data_dir cannot be examined"]
    if free < max(below, keep):
        name, least = ("pipeline.keep_free", keep) if keep >= below else ("heartbeat.disk_below", below)
        return [f"disk: {size_for_people(free)} free, {name} is {size_for_people(least)}"]
    return []


def _run(run: Run, now: datetime, zone: tzinfo) -> RunStatus:
    return {
        "id": run.id, "spider": run.spider, "reason": run.reason, "due_at": iso(run.due_at, zone),
        "started_at": iso(run.started_at, zone) if run.started_at else None,
        "ended_at": iso(run.ended_at, zone) if run.ended_at else None,
        "duration_s": duration_s(run, run.ended_at or now),
        "outcome": run.outcome.value if run.outcome else None, "complete": run.complete, "suspect": run.suspect,
        "error": quoted(run.error), "progress": dict(vars(run.progress)),
    }


def _pool(proxy: Proxy) -> tuple[str | ProxyTable, ...]:
    return proxy if isinstance(proxy, tuple) else (proxy,)


def shown_proxy(proxy: str | ProxyTable) -> str:
    """A proxy's URL without its credentials."""
    parts = urlsplit(proxy if isinstance(proxy, str) else proxy.url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _resting(data_dir: Path, settings: Settings, now: datetime) -> list[RestingProxy]:
    """The proxies of pools that failed and rest. A file that cannot be read is the run's to complain about."""
    found: list[RestingProxy] = []
    for name in settings.spiders:
        try:
            pool = read_pool(pool_file(data_dir, name))
        except OSError:
            continue
        found += [{"spider": name, "proxy": quoted(proxy), "failures": each.failures,
                   "until": iso(datetime.fromtimestamp(each.resting_until_s, UTC), settings.zone)}
                  for proxy, each in pool.health.items() if each.resting_until_s > now.timestamp()]
    return found
