"""Alerts: problems of spiders, digests and nodes.

The start and the end of each problem are reported by mail once.
The row of an alert and its message are written in one transaction, so that an alert is neither sent twice nor lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import func, insert, select, update

from pipeline.model import DraftMessage, LoginCookie, Outcome, Run
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import alerts, runs
from pipeline.store.health import status_queries
from pipeline.store.health.nodes import nodes
from pipeline.store.mail import login_cookies
from pipeline.store.mail.outbox import insert_messages
from pipeline.store.runs.slots import run_of

NODE_GONE_FOR = timedelta(minutes=2)
"""How long a process must be gone before an alert is sent: a restart of its machine takes less."""
LONGEST_NAME = 64


class AlertKind(StrEnum):
    """The kinds of alerts.

    failing: the spider failed several times in a row.
    suspect: the result of the spider's last successful run is implausible.
    late: a slot of the spider passed without a successful run.
    login: a cookie of the spider's login expires soon.
    digest: the digest could not be rendered completely.
    node: a process of the node is gone.
    """

    FAILING = "failing"
    SUSPECT = "suspect"
    LATE = "late"
    LOGIN = "login"
    DIGEST = "digest"
    NODE = "node"


@dataclass(frozen=True)
class AlertCondition:
    """A current problem of a spider, of a digest if `kind` is DIGEST, or of a node if `kind` is NODE.

    spider: the name of the spider, of the digest or of the node.
    since: when the problem began. failures: the number of failures in a row.
    last_run: the newest run that shows the problem.
    last_success: the last successful run of the spider.
    cookie: the login cookie that expires.
    error: why the digest could not be rendered. retries: how many of the failed runs were automatic retries. next_at: when the
    program tries again: the next retry of the spider, or the next rendering of the digest; None if none is planned.
    """

    spider: str
    kind: AlertKind
    since: datetime
    failures: int = 0
    last_run: Run | None = None
    last_success: Run | None = None
    cookie: LoginCookie | None = None
    error: str = ""
    retries: int = 0
    next_at: datetime | None = None


@dataclass(frozen=True)
class Alert:
    """A problem that was reported by mail and has not ended.

    id: the number of the row in the table `alerts`.
    """

    id: int
    spider: str
    kind: AlertKind
    since: datetime
    told_at: datetime


@dataclass(frozen=True)
class EndedProblem:
    """A reported problem that has ended.

    is_removed: whether it ended because the spider or digest is no longer in the settings. suspect: the condition of the spider's last
    successful run if this run is suspect, otherwise None.
    """

    alert: Alert
    is_removed: bool
    suspect: AlertCondition | None


@dataclass(frozen=True)
class AlertHistory:
    """The alerts that were sent so far.

    open: the alerts whose problem has not ended.
    last_at: when the last alert was sent; None if none was sent.
    started_at: maps a spider or digest and a kind of alert to the time at which the start of such a problem was last reported.
    """

    open: tuple[Alert, ...]
    last_at: datetime | None
    started_at: dict[tuple[str, AlertKind], datetime]


def alert_history(store: Store) -> AlertHistory:
    with store.read() as connection:
        rows = connection.execute(select(alerts).where(alerts.c.over_at.is_(None)).order_by(alerts.c.id)).all()
        started = connection.execute(select(alerts.c.spider, alerts.c.kind, func.max(alerts.c.told_at).label("at"))
                                     .group_by(alerts.c.spider, alerts.c.kind)).all()
        over_at = connection.execute(select(func.max(alerts.c.over_at))).scalar()
    moments = [row.at for row in started] + ([over_at] if over_at is not None else [])
    return AlertHistory(tuple(Alert(row.id, row.spider, AlertKind(row.kind), row.since, row.told_at) for row in rows),
                max(moments, default=None), {(row.spider, AlertKind(row.kind)): row.at for row in started})


def run_conditions(store: Store, spider: str, *, after: int) -> list[AlertCondition]:
    """Return the current problems of a spider of the kinds FAILING and SUSPECT.

    after: the number of failures in a row from which the spider is failing.
    """
    with store.read() as connection:
        success = status_queries.last_success(connection, spider)
        since = success.ended_at if success is not None else None
        failed = select(runs).where(runs.c.spider == spider, runs.c.outcome.in_(status_queries.FAILURES))
        if since is not None:
            failed = failed.where(runs.c.ended_at > since)
        failures = status_queries.failures_since(connection, spider, since)
        found = []
        if failures >= after:
            first, last = (run_of(connection.execute(failed.order_by(order).limit(1)).one())
                           for order in (runs.c.id.asc(), runs.c.id.desc()))
            assert first.ended_at is not None
            retried = connection.execute(select(func.count()).select_from(failed.where(runs.c.reason == "retry").subquery())).scalar_one()
            next_at = connection.execute(select(func.min(runs.c.not_before)).where(
                runs.c.spider == spider, runs.c.reason == "retry", runs.c.started_at.is_(None), runs.c.ended_at.is_(None))).scalar()
            found.append(AlertCondition(spider, AlertKind.FAILING, first.ended_at, failures, last, success, retries=retried, next_at=next_at))
        if success is not None and success.suspect:
            good = connection.execute(select(runs).where(
                runs.c.spider == spider, runs.c.outcome == Outcome.SUCCEEDED.value, runs.c.suspect.is_(False),
            ).order_by(runs.c.id.desc()).limit(1)).first()
            suspects = select(func.min(runs.c.ended_at)).where(runs.c.spider == spider, runs.c.suspect)
            if good is not None:
                suspects = suspects.where(runs.c.id > good.id)
            begun = connection.execute(suspects).scalar()
            assert begun is not None
            found.append(AlertCondition(spider, AlertKind.SUSPECT, begun, 0, success,
                                 run_of(good) if good is not None else None))
        return found


def logins_ending(store: Store, *, before: timedelta, now: datetime) -> list[AlertCondition]:
    """Return a problem for each spider whose login cookie has expired, or expires in less than `before`."""
    with store.read() as connection:
        found = login_cookies.first_ends(connection, at_least=before)
    return [AlertCondition(spider, AlertKind.LOGIN, max(cookie.login_at, cookie.ends_at - before), cookie=cookie)
            for spider, cookie in found.items() if now >= cookie.ends_at - before]


def failing_digests(store: Store, names: Sequence[str]) -> list[AlertCondition]:
    """Return a problem for each of the named digests that could not be rendered, or only in part."""
    with store.read() as connection:
        found = [status_queries.digest_problem(connection, name) for name in names]
    return [AlertCondition(problem.name, AlertKind.DIGEST, problem.since, error=problem.error, next_at=problem.next_at) for problem in found if problem is not None]


def gone_nodes(store: Store) -> list[AlertCondition]:
    """Return a problem for each node of which a process has been gone for NODE_GONE_FOR."""
    gone = [node for node in nodes(store) if node.age_s > NODE_GONE_FOR.total_seconds()]
    return [AlertCondition(node.name[:LONGEST_NAME], AlertKind.NODE, node.seen_at) for node in gone]


def failures_and_success(store: Store, spider: str) -> tuple[int, Run | None]:
    """Return how often a spider failed since its last successful run, and the last successful run itself.

    The run is None if the spider never succeeded.
    """
    with store.read() as connection:
        success = status_queries.last_success(connection, spider)
        return status_queries.failures_since(connection, spider, success.ended_at if success is not None else None), success


def enqueue_alert(store: Store, started: Sequence[AlertCondition], over: Sequence[Alert], drafts: Sequence[DraftMessage], *,
                  now: datetime) -> list[int]:
    """Put the messages of an alert mail into the outbox and record the alerts that it reports, in one transaction.

    started: the problems that began. over: the alerts whose problem ended.
    Returns the ids of the messages. Returns [], and writes nothing, if another process has already reported one of the alerts.
    """
    with store.write(durable=True) as connection:
        open_now = {(row.spider, row.kind): row.id for row in connection.execute(
            select(alerts.c.id, alerts.c.spider, alerts.c.kind).where(alerts.c.over_at.is_(None)))}
        if any((trouble.spider, trouble.kind.value) in open_now for trouble in started):
            return []
        if not {alert.id for alert in over} <= set(open_now.values()):
            return []
        for trouble in started:
            connection.execute(insert(alerts).values(
                spider=trouble.spider, kind=trouble.kind.value, since=trouble.since, told_at=now,
                error=trouble.last_run.error if trouble.last_run else trouble.error))
        if over:
            connection.execute(update(alerts).where(alerts.c.id.in_([alert.id for alert in over])).values(over_at=now))
        return insert_messages(connection, drafts, now=now, digest_id=None)
