"""Determines the health of one spider: whether its runs fail, whether it is late, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from sqlalchemy import Connection

from pipeline.heartbeat.snapshot.history import HistoryReader, KnownStatus, SpiderHistory
from pipeline.heartbeat.snapshot.schema import PastRun, ReasonKind, ReasonStatus, SpiderStatus
from pipeline.model import LoginCookie, Run
from pipeline.settings import Settings, SpiderTable, quiet_between
from pipeline.store.crawl.mendings import MendingState
from pipeline.store.health.status_queries import RunTotals
from pipeline.store.runs.host_pauses import paused_until
from pipeline.store.runs.paused_spiders import Pause
from pipeline.store.runs.runs import QUIET
from pipeline.text import counted, iso, quoted

DueAfter = Callable[[str, datetime], datetime | None]
"""Function that returns the first due time of a spider after a given time; None for a spider without a schedule."""


@dataclass(frozen=True)
class SpiderFacts:
    """What the store contains about all spiders at one moment."""

    at_work: list[Run]
    paused: Mapping[str, Pause]
    paused_hosts: dict[str, datetime]
    logins: Mapping[str, LoginCookie]
    mendings: Mapping[str, tuple[int, MendingState, str]]


@dataclass(frozen=True)
class DueTimes:
    """The times at which spiders are due, by which the snapshot decides whether a spider is late.

    now: the time of the snapshot. next_slots: maps each spider's name to its next due time. due_after: function that returns
    a spider's first due time after a given time; None means that a spider is late when its time in `next_slots` has passed.
    """

    next_slots: Mapping[str, datetime | None]
    started_at: datetime
    now: datetime
    due_after: DueAfter | None = None


def spider_status(connection: Connection, settings: Settings, name: str, facts: SpiderFacts, due_times: DueTimes, *,
                  history: HistoryReader) -> SpiderStatus:
    known = history.known_statuses.get(name)
    past, table, pause = history.of(connection, name), settings.spiders[name], facts.paused.get(name)
    running = [run.id for run in facts.at_work if run.spider == name]
    pause_ends, next_due, day = paused_until(table, facts.paused_hosts), due_times.next_slots.get(name), history.totals(connection, name)
    others = (running, pause, pause_ends, next_due, day, facts.logins.get(name), facts.mendings.get(name), due_times.due_after is None)
    if known is not None and known.past is past and known.others == others and not table.quiet \
            and known.status["late"] == (known.late_at is not None and due_times.now > known.late_at):
        history.statuses[name] = known
        return known.status
    due = due_for_success(name, past.success, due_times.started_at, next_due, due_times.due_after)
    if pause_ends is not None:
        due = max(due, pause_ends) if due is not None else None
        next_due = max(next_due, pause_ends) if next_due is not None else None
    late_at = _late_at(settings, name, due, due_times, last=past.last, running=running) \
        if pause is None and due is not None else None
    late = late_at is not None and due_times.now > late_at
    reasons = list(_reasons(past.recent, past.failures, last=past.last, pause_ends=pause_ends, late_since=due if late else None, success=past.success, zone=settings.zone,
                            mend=_mending(name, past.success, facts)))
    status = _status(settings, table, past, pause, login=facts.logins.get(name), reasons=reasons, late=late, next_due=next_due, running=running, day=day)
    history.statuses[name] = KnownStatus(past, others, late_at, status)
    return status


def _status(settings: Settings, table: SpiderTable, past: SpiderHistory, pause: Pause | None, *, login: LoginCookie | None, reasons: list[tuple[ReasonStatus, str]],
            late: bool, next_due: datetime | None, running: list[int], day: RunTotals | None) -> SpiderStatus:
    zone, success = settings.zone, past.success
    return {
        "health": "failing" if past.failures >= settings.alerts.after else "degraded" if reasons else "ok",
        "reasons": [text for _, text in reasons],
        "problems": [problem for problem, _ in reasons],
        "schedule": "; ".join(entry.name for entry in table.schedule) or None,
        "proxy": table.proxy,
        "next_due": iso(next_due, zone) if next_due and pause is None else None,
        "late": late,
        "paused": pause is not None,
        "paused_until": iso(pause.until, zone) if pause is not None and pause.until is not None else None,
        "pause_reason": pause.reason if pause is not None else "",
        "last_success": iso(success.ended_at, zone) if success and success.ended_at else None,
        "failures_in_a_row": past.failures,
        "running": running,
        "last_run": past.shown,
        "recent": past.recent,
        "day": {"runs": day.outcomes if day else {}, "progress": day.progress if day else {}},
        "login_ends": iso(login.ends_at, zone) if login else None,
        "rules": past.figures.rules,
        "fields": past.figures.fields,
    }


def _reasons(recent: Sequence[PastRun], failures: int, *, last: Run | None, pause_ends: datetime | None, late_since: datetime | None,
             success: Run | None, zone: tzinfo, mend: tuple[MendingState | None, str]) -> Iterator[tuple[ReasonStatus, str]]:
    """Yield the reasons why a spider is not ok, each as a code and in words. mend: the state of the new rules after a suspect run, and a note about them."""
    if failures:
        why = next((run["error"] for run in recent if run["error"]), "")
        yield _reason("failed", why), ("the last run failed" if failures == 1 else f"the last {failures} runs failed") + (f" ({why})" if why else "")
    if pause_ends is not None:
        yield _reason("host", iso(pause_ends, zone)), f"requests to its host are paused until {iso(pause_ends, zone)}"
    if late_since is not None:
        last_success = iso(success.ended_at, zone) if success and success.ended_at else "never"
        yield _reason("late", iso(late_since, zone)), f"late: a run was due at {iso(late_since, zone)}; last success: {last_success}"
    if success is not None and success.suspect:  # a run that was stopped or failed later says nothing about what the rules find
        state, note = mend
        why = quoted(success.error)
        yield _reason("proposed" if state is MendingState.PROPOSED else "suspect", why), f"run {success.id} is suspect" + (f" ({why})" if why else "") + note
    if last is not None and last.progress.not_archived:
        pages = last.progress.not_archived
        yield _reason("archive", str(pages)), f"{counted(pages, 'page')} of run {last.id} not archived"


def _reason(kind: ReasonKind, detail: str) -> ReasonStatus:
    return {"kind": kind, "detail": detail}


def _mending(name: str, success: Run | None, facts: SpiderFacts) -> tuple[MendingState | None, str]:
    """Return the state of the new rules after the last successful run, and a note about them; None and "" if there are none."""
    pass_id, state, not_applied = facts.mendings.get(name, (0, None, ""))
    if state is None or success is None or success.pass_id != pass_id:
        return None, ""
    why = f" (not written: {quoted(not_applied)})" if not_applied else ""
    return state, {MendingState.PROPOSED: f"; a mend is proposed: `pipeline mend {name}`{why}", MendingState.APPLIED: "; new rules were applied"}.get(state, "")


def due_for_success(name: str, success: Run | None, started_at: datetime, next_due: datetime | None,
                    due_after: DueAfter | None) -> datetime | None:
    """Return when a spider should next have succeeded; this time may be in the past.

    This is the first due time after the slot of `success`, the last successful run; without one, the first due time after the
    start of the service. due_after: computes due times; if it is None, the result is `next_due`.
    """
    if due_after is None:
        return next_due
    return due_after(name, success.due_at if success else started_at)


def _late_at(settings: Settings, name: str, due: datetime, due_times: DueTimes, *, last: Run | None, running: list[int]) -> datetime:
    table, grace = settings.spiders[name], settings.heartbeat.late_after
    begun = running or (last is not None and last.error_kind == QUIET)
    return late_after(due + quiet_between(table.quiet, due.astimezone(settings.zone), due_times.now),
                      grace_s=grace if grace is not None else _grace_s(name, due, due_times.due_after),
                      time_limit_s=table.time_limit if begun else 0.0)


def late_after(due: datetime, *, grace_s: float, time_limit_s: float = 0.0) -> datetime:
    """Return the time at which the due time and the grace period after it have passed.

    time_limit_s: additional time, for a run that is in progress or waits for the end of quiet hours.
    """
    return due + timedelta(seconds=grace_s + time_limit_s)


def _grace_s(name: str, due: datetime, due_after: DueAfter | None) -> float:
    """Return the grace period: half the time until the next slot, at least one minute, at most one hour."""
    following = due_after(name, due) if due_after else None
    return 3600.0 if following is None else min(3600.0, max(60.0, (following - due).total_seconds() / 2))
