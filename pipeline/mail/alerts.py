"""Alerts by mail: one when a spider gets into trouble, one when that is over, and never a storm of them.

What starts and ends at about the same time shares a mail; there is at most one in `every`, and what comes back within
an hour of having been told is told again only if it lasts. The mail enters the outbox in the transaction that
writes down that it was told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.mail.message import compose
from pipeline.mail.message.dkim import signer_of
from pipeline.mail.render.render import render_alert
from pipeline.mail.render.translations import ALERT_WORDINGS, AlertWording
from pipeline.model import DraftMessage
from pipeline.settings import Settings
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.mail import alerts
from pipeline.store.mail.alerts import Alert, AlertCondition, AlertHistory, AlertKind
from pipeline.text import clean_line, escape_controls

RELAPSE = timedelta(hours=1)
"""What starts again is not told sooner than this after it was last told to start."""
TAIL_LINES = 25
TAIL_BYTES = 8192
MAX_SHOWN = 20
"""Troubles that one mail tells in full; of more it says how many."""


@dataclass(frozen=True)
class TroubleView:
    """One trouble in words. facts: name and value; log: the end of the run's log."""

    title: str
    facts: list[tuple[str, str]]
    log: str = ""


def check(store: Store, settings: Settings, *, late: Iterable[AlertCondition], log_of: Callable[[int], Path],
          now: datetime) -> int | None:
    """Compare what is wrong with what was told, and tell the difference; the message's id, None for no mail.

    late: the spiders whose slot passed. log_of: where the log of a run is. Raises StoreError, MailError, OSError.
    """
    table = settings.alerts
    if not table.to:
        return None
    told = alerts.alert_history(store)
    if told.last_at is not None and timedelta() <= now - told.last_at < timedelta(seconds=table.every):
        return None  # the next mail has it all, or it has passed by then
    ending = alerts.logins_ending(store, before=timedelta(seconds=table.login_before), now=now) if table.login_before else []
    current = {(trouble.spider, trouble.kind): trouble for trouble in (*late, *ending)
               if trouble.spider in settings.spiders}
    current |= {(trouble.spider, trouble.kind): trouble for trouble in alerts.failing_digests(store, list(settings.digests))}
    for spider in settings.spiders:
        current |= {(spider, trouble.kind): trouble for trouble in alerts.run_conditions(store, spider, after=table.after)}
    started = _started(current, told, now)
    over = [alert for alert in told.open if (alert.spider, alert.kind) not in current]
    if not started and not over:
        return None
    draft = _written(store, settings, started, over, log_of=log_of, now=now)
    return alerts.enqueue_alert(store, started, over, draft, now=now)


def _started(current: dict[tuple[str, AlertKind], AlertCondition], told: AlertHistory, now: datetime) -> list[AlertCondition]:
    """What is wrong and was not told, but for what one mail tells with another."""
    known = {(alert.spider, alert.kind) for alert in told.open}
    found = []
    for (spider, kind), trouble in current.items():
        last = told.started_at.get((spider, kind))
        if (spider, kind) in known or (last is not None and timedelta() <= now - last < RELAPSE):
            continue
        if kind is AlertKind.LATE and (spider, AlertKind.FAILING) in current.keys() | known:
            continue  # a spider that fails is late soon enough
        found.append(trouble)
    return found


def _written(store: Store, settings: Settings, started: Sequence[AlertCondition], over: Sequence[Alert], *,
             log_of: Callable[[int], Path], now: datetime) -> DraftMessage:
    """Render the mail into the file store. Its name and its Message-ID come from what it tells."""
    words = ALERT_WORDINGS[settings.alerts.language]
    seed = "\0".join([*(f"{t.spider} {t.kind.value} {t.since.isoformat()}" for t in started),
                      *(f"over {alert.id} {alert.told_at.isoformat()}" for alert in over)])
    digest = hashlib.sha256(seed.encode()).hexdigest()[:24]
    secret = Mask.of(settings)

    def mask(text: str) -> str:
        return secret(escape_controls(text))

    views = [_view(trouble, words, settings, mask, log_of) for trouble in started[:MAX_SHOWN]]
    ended = [_over_view(alert, words, settings, now) for alert in over[:MAX_SHOWN]]
    left = len(started) + len(over) - len(views) - len(ended)
    subject = _subject(started, over, words, mask)
    rendered = render_alert(subject, views, ended, more=words.more.format(n=left) if left else "", words=words)
    envelope = compose.Envelope(
        sender=settings.mail.from_, to=settings.alerts.to, reply_to=settings.mail.reply_to,
        on_behalf=settings.mail.sender, subject=subject, date=now.astimezone(settings.zone), list_name="alerts",
        message_id=f"<alert.{digest}@{compose.domain_of(settings.mail.from_)}>")
    key = f"messages/alert-{digest}.eml"
    with store.files.writing(key) as file:
        compose.write(file, envelope, text=rendered.text, html=rendered.html, signer=signer_of(settings))
    return DraftMessage(
        message_id=envelope.message_id, subject=subject, sender=compose.bare_address(settings.mail.envelope_sender),
        recipients=tuple(dict.fromkeys(map(compose.bare_address, settings.alerts.to))), file_key=key,
        size_bytes=store.files.path(key).stat().st_size)


def _title(trouble: AlertCondition, words: AlertWording, mask: Callable[[str], str]) -> str:
    reason = clean_line(mask(trouble.last_run.error), 100) if trouble.last_run is not None else ""
    title = words.failed_once if trouble.failures == 1 else words.titles[trouble.kind]
    return title.format(spider=trouble.spider, n=trouble.failures, reason=reason)


def _subject(started: Sequence[AlertCondition], over: Sequence[Alert], words: AlertWording, mask: Callable[[str], str]) -> str:
    told = [_title(trouble, words, mask) for trouble in started]
    told += [words.over[alert.kind].format(spider=alert.spider) for alert in over]
    head = words.comma.join(told[:3])
    return f"[{words.alert}] {head}" + (words.comma + words.more.format(n=len(told) - 3) if len(told) > 3 else "")


def _view(trouble: AlertCondition, words: AlertWording, settings: Settings, mask: Callable[[str], str],
          log_of: Callable[[int], Path]) -> TroubleView:
    def at(moment: datetime | None) -> str:
        return f"{moment.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}" if moment is not None else words.never

    title = _title(trouble, words, mask)
    if trouble.cookie is not None:
        return TroubleView(title, [(words.cookie, clean_line(f"{trouble.cookie.name} ({trouble.cookie.site})", 200)),
                                   (words.ends, at(trouble.cookie.ends_at)),
                                   (words.what_to_do, (words.bring_in if trouble.cookie.brought_in else words.by_itself)
                                    .format(spider=trouble.spider))])
    if trouble.kind is AlertKind.DIGEST:
        return TroubleView(title, [(words.since, at(trouble.since)), (words.message, clean_line(mask(trouble.error), 600))])
    success, run = trouble.last_success, trouble.last_run
    facts = [(words.since, at(trouble.since)), (words.last_good, at(success.ended_at if success is not None else None))]
    if success is not None:
        facts[-1] = (words.last_good, words.run.format(n=success.id, at=facts[-1][1]))
    log = ""
    if run is not None:
        facts.append((words.last_run, words.run.format(n=run.id, at=at(run.ended_at))))
        if run.error:
            facts.append((words.message, clean_line(mask(run.error), 600)))
        log = mask(tail(log_of(run.id)))
    return TroubleView(title, facts, log)


def _over_view(alert: Alert, words: AlertWording, settings: Settings, now: datetime) -> TroubleView:
    lasted = timedelta(seconds=round((now - alert.since).total_seconds()))
    facts = [(words.since, f"{alert.since.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}"), (words.lasted, str(lasted))]
    return TroubleView(words.over[alert.kind].format(spider=alert.spider), facts)


def tail(log: Path) -> str:
    """The last lines of a log, at most `TAIL_LINES` and `TAIL_BYTES`; "" where there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""  # a run that was killed before it wrote anything
    return "\n".join(line[:500] for line in lines[1 if size > TAIL_BYTES else 0:][-TAIL_LINES:])
