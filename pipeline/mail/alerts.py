"""Alerts about problems that started or ended, at most one per `alerts.every`.

They are sent by mail and to notification channels.

Problems that start or end at about the same time are reported in one mail. If a problem starts again less than an hour after the
last alert about it, the problem is reported only when this hour is over, and only if it still exists. The message is added to the
outbox in the transaction that records the alert.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.model import DraftMessage
from pipeline.settings import Settings
from pipeline.settings.fields.addresses import bare_address
from pipeline.store import Store
from pipeline.store.mail import alerts
from pipeline.store.mail.alerts import Alert, AlertCondition, AlertHistory, AlertKind, EndedProblem

REPEAT_AFTER = timedelta(hours=1)
"""The minimum time between two alerts about the start of the same problem."""
MAX_SHOWN = 20
"""A mail describes at most this many started problems and this many ended problems, and gives the number of further problems."""


def check(store: Store, settings: Settings, *, late: Iterable[AlertCondition], log_of: Callable[[int], Path],
          now: datetime, waiting: Collection[int] = ()) -> int | None:
    """Compare the current problems with those already reported; enqueue a mail about the differences.

    Return the id of the first enqueued message; None if no problem has started or ended, or if the last mail was sent less than
    `alerts.every` ago. late: the problems of spiders that are late. log_of: function that returns the path of a run's log. waiting:
    the ids of runs; an alert that one of them is suspect is sent later, with the result of the search for new rules. Raises
    StoreError, MailError, OSError.
    """
    table = settings.alerts
    if not table.to and not table.notify:
        return None
    history = alerts.alert_history(store)
    if history.last_at is not None and timedelta() <= now - history.last_at < timedelta(seconds=table.every):
        return None  # a problem that still exists when the next mail is due is reported in that mail
    ending = alerts.logins_ending(store, before=timedelta(seconds=table.login_before), now=now) if table.login_before else []
    current = {(condition.spider, condition.kind): condition for condition in (*late, *ending)
               if condition.spider in settings.spiders}
    current |= {(condition.spider, condition.kind): condition for condition in (*alerts.failing_digests(store, list(settings.digests)), *alerts.gone_nodes(store))}
    for spider in settings.spiders:
        current |= {(spider, condition.kind): condition for condition in alerts.run_conditions(store, spider, after=table.after)}
    started = [condition for condition in _started(current, history, now)
               if condition.kind is not AlertKind.SUSPECT or condition.last_run is None or condition.last_run.id not in waiting]
    over = [EndedProblem(alert, _is_removed(alert, settings), current.get((alert.spider, AlertKind.SUSPECT))) for alert in history.open
            if (alert.spider, alert.kind) not in current and not _still_fails(store, settings, alert)]
    if not started and not over:
        return None
    drafts = _render(store, settings, started, over, log_of=log_of, now=now)
    ids = alerts.enqueue_alert(store, started, [ended.alert for ended in over], drafts, now=now)
    return ids[0] if ids else None


def _is_removed(alert: Alert, settings: Settings) -> bool:
    if alert.kind is AlertKind.NODE:
        return False
    return alert.spider not in (settings.digests if alert.kind is AlertKind.DIGEST else settings.spiders)


def _still_fails(store: Store, settings: Settings, alert: Alert) -> bool:
    """Return whether a spider still fails, although less often in a row than `alerts.after`, because this setting was increased."""
    return alert.kind is AlertKind.FAILING and alert.spider in settings.spiders and alerts.failures_and_success(store, alert.spider)[0] > 0


def _started(current: dict[tuple[str, AlertKind], AlertCondition], history: AlertHistory, now: datetime) -> list[AlertCondition]:
    """Return the current problems that have no open alert and were not reported within REPEAT_AFTER.

    A spider that is late because its runs fail is left out, because its failed runs are reported.
    """
    known = {(alert.spider, alert.kind) for alert in history.open}
    found = []
    for (spider, kind), condition in current.items():
        last = history.started_at.get((spider, kind))
        if (spider, kind) in known or (last is not None and timedelta() <= now - last < REPEAT_AFTER):
            continue
        if kind is AlertKind.LATE and (spider, AlertKind.FAILING) in current.keys() | known:
            continue  # the spider is late because its runs fail
        found.append(condition)
    return found


def _render(store: Store, settings: Settings, started: Sequence[AlertCondition], over: Sequence[EndedProblem], *,
             log_of: Callable[[int], Path], now: datetime) -> list[DraftMessage]:
    """Render the alert mail and the text for notification channels, write them to the file store, and return their messages.

    Recipients whose addresses are not ASCII get a message of their own, because many mail servers refuse a whole message with such an
    address. The file names and the Message-IDs are derived from the alerts in the mail, so they stay the same if the mail is rendered again.
    """
    # These modules need 12 MB of memory, so a service imports them only when it sends an alert.
    from pipeline.mail.channels.drafts import channel_drafts  # noqa: PLC0415
    from pipeline.mail.channels.text import ChannelText  # noqa: PLC0415
    from pipeline.mail.message import compose  # noqa: PLC0415
    from pipeline.mail.message.dkim import signer_of  # noqa: PLC0415
    from pipeline.mail.render.alert_view import AlertViewer  # noqa: PLC0415
    from pipeline.mail.render.render import render_alert  # noqa: PLC0415
    seed = "\0".join([*(f"{t.spider} {t.kind.value} {t.since.isoformat()}" for t in started),
                      *(f"over {ended.alert.id} {ended.alert.told_at.isoformat()}" for ended in over)])
    fingerprint = hashlib.sha256(seed.encode()).hexdigest()[:24]
    viewer = AlertViewer(store, settings, log_of, now=now)
    views, ends = [viewer.started(condition) for condition in started[:MAX_SHOWN]], [viewer.ended(problem) for problem in over[:MAX_SHOWN]]
    left = len(started) + len(over) - len(views) - len(ends)
    subject = viewer.subject(started, over)
    rendered = render_alert(subject, views, ends, preheader=viewer.preheader([*views, *ends]),
                            more=viewer.words.more.format(n=left) if left else "", footer=viewer.footer, words=viewer.words)
    drafts, signer = [], signer_of(settings)
    for number, recipients in enumerate(compose.by_alphabet(settings.alerts.to), 1):
        part = fingerprint if number == 1 else f"{fingerprint}.{number}"
        envelope = compose.Envelope(
            sender=settings.mail.from_, to=recipients, reply_to=settings.mail.reply_to,
            on_behalf=settings.mail.sender, subject=subject, date=now.astimezone(settings.alerts.zone(settings.zone)), list_name="alerts",
            message_id=f"<alert.{part}@{compose.domain_of(settings.mail.from_)}>")
        key = f"messages/alert-{part}.eml"
        with store.files.writing(key) as file:
            compose.write(file, envelope, text=rendered.text, html=rendered.html, signer=signer)
        drafts.append(DraftMessage(
            message_id=envelope.message_id, subject=subject, sender=bare_address(settings.mail.envelope_sender),
            recipients=tuple(dict.fromkeys(map(bare_address, recipients))), file_key=key,
            size_bytes=store.files.size(key)))
    text = ChannelText.of(subject, [view.brief(viewer.words) for view in (*views, *ends)], total=len(started) + len(over), more=viewer.words.more,
                          link=settings.heartbeat.page_url("/"), kind="alert")
    return [*drafts, *channel_drafts(store, settings, text, settings.alerts.notify, stem=f"messages/alert-{fingerprint}",
                                     message_id=lambda number: f"<alert.{fingerprint}.notify-{number}@{compose.domain_of(settings.mail.from_)}>")]
