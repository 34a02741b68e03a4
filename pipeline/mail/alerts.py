"""Alerts by mail about problems that started or ended, with at most one mail per `alerts.every`.

Problems that start or end at about the same time are reported in one mail. If a problem starts again less than an hour after the
last alert about it, the problem is reported only when this hour is over, and only if it still exists. The message is added to the
outbox in the transaction that records the alert.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from pipeline import proposal
from pipeline.languages import AlertWording, alert_wording
from pipeline.model import DraftMessage
from pipeline.settings import Settings
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.crawl import mendings
from pipeline.store.crawl.mendings import MendingState
from pipeline.store.mail import alerts
from pipeline.store.mail.alerts import Alert, AlertCondition, AlertHistory, AlertKind
from pipeline.text import clean_line, escape_controls, span_for_people

REPEAT_AFTER = timedelta(hours=1)
"""The minimum time between two alerts about the start of the same problem."""
TAIL_LINES = 25
TAIL_BYTES = 8192
MAX_TRIED = 3
MAX_SHOWN = 20
"""A mail describes at most this many started problems and this many ended problems, and gives the number of further problems."""


@dataclass(frozen=True)
class AlertView:
    """One problem, in the form in which the mail templates show the problem.

    facts: pairs of name and value. log: the last lines of the log of the failed run; "" if there is no log. rules: new rules that are
    proposed, as a diff of the settings file and items before and after; "" if there are none.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    log: str = ""
    rules: str = ""


@dataclass(frozen=True)
class _Ended:
    """A reported problem that has ended.

    is_removed: whether it ended because the spider or digest is no longer in the settings. suspect: the condition of the spider's last
    successful run if this run is suspect, otherwise None.
    """

    alert: Alert
    is_removed: bool
    suspect: AlertCondition | None

    def title(self, words: AlertWording) -> str:
        if self.is_removed:
            return words.removed.format(spider=self.alert.spider)
        if self.alert.kind is AlertKind.FAILING and self.suspect is not None:
            return words.over_but_suspect.format(spider=self.alert.spider)
        return words.over[self.alert.kind].format(spider=self.alert.spider)


def check(store: Store, settings: Settings, *, late: Iterable[AlertCondition], log_of: Callable[[int], Path],
          now: datetime, waiting: Collection[int] = ()) -> int | None:
    """Compare the current problems with those already reported; enqueue a mail about the differences.

    Return the id of the first enqueued message; None if no problem has started or ended, or if the last mail was sent less than
    `alerts.every` ago. late: the problems of spiders that are late. log_of: function that returns the path of a run's log. waiting:
    the ids of runs; an alert that one of them is suspect is sent later, with the result of the search for new rules. Raises
    StoreError, MailError, OSError.
    """
    table = settings.alerts
    if not table.to:
        return None
    history = alerts.alert_history(store)
    if history.last_at is not None and timedelta() <= now - history.last_at < timedelta(seconds=table.every):
        return None  # a problem that still exists when the next mail is due is reported in that mail
    ending = alerts.logins_ending(store, before=timedelta(seconds=table.login_before), now=now) if table.login_before else []
    current = {(condition.spider, condition.kind): condition for condition in (*late, *ending)
               if condition.spider in settings.spiders}
    current |= {(condition.spider, condition.kind): condition for condition in alerts.failing_digests(store, list(settings.digests))}
    for spider in settings.spiders:
        current |= {(spider, condition.kind): condition for condition in alerts.run_conditions(store, spider, after=table.after)}
    started = [condition for condition in _started(current, history, now)
               if condition.kind is not AlertKind.SUSPECT or condition.last_run is None or condition.last_run.id not in waiting]
    over = [_Ended(alert, _is_removed(alert, settings), current.get((alert.spider, AlertKind.SUSPECT))) for alert in history.open
            if (alert.spider, alert.kind) not in current and not _still_fails(store, settings, alert)]
    if not started and not over:
        return None
    drafts = _render(store, settings, started, over, log_of=log_of, now=now)
    ids = alerts.enqueue_alert(store, started, [ended.alert for ended in over], drafts, now=now)
    return ids[0] if ids else None


def _is_removed(alert: Alert, settings: Settings) -> bool:
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


def _render(store: Store, settings: Settings, started: Sequence[AlertCondition], over: Sequence[_Ended], *,
             log_of: Callable[[int], Path], now: datetime) -> list[DraftMessage]:
    """Render the alert mail, write it to the file store, and return its messages for the outbox.

    Recipients whose addresses are not ASCII get a message of their own, because many mail servers refuse a whole message with such an
    address. The file names and the Message-IDs are derived from the alerts in the mail, so they stay the same if the mail is rendered again.
    """
    # These modules need 12 MB of memory, so a service imports them only when it sends an alert.
    from pipeline.mail.message import compose  # noqa: PLC0415
    from pipeline.mail.message.dkim import signer_of  # noqa: PLC0415
    from pipeline.mail.render.render import render_alert  # noqa: PLC0415
    words = alert_wording(settings.alerts.language)
    seed = "\0".join([*(f"{t.spider} {t.kind.value} {t.since.isoformat()}" for t in started),
                      *(f"over {ended.alert.id} {ended.alert.told_at.isoformat()}" for ended in over)])
    fingerprint = hashlib.sha256(seed.encode()).hexdigest()[:24]
    secrets = Mask.of(settings)

    def mask(text: str) -> str:
        return secrets(escape_controls(text))

    views = [_with_rules(_view(condition, words, settings, mask, log_of), condition, store, words, mask) for condition in started[:MAX_SHOWN]]
    ends = [_ended_view(ended, words, settings, mask, now) for ended in over[:MAX_SHOWN]]
    left = len(started) + len(over) - len(views) - len(ends)
    subject = _subject(started, over, words, mask)
    rendered = render_alert(subject, views, ends, more=words.more.format(n=left) if left else "", words=words)
    drafts, signer = [], signer_of(settings)
    for number, recipients in enumerate(compose.by_alphabet(settings.alerts.to), 1):
        part = fingerprint if number == 1 else f"{fingerprint}.{number}"
        envelope = compose.Envelope(
            sender=settings.mail.from_, to=recipients, reply_to=settings.mail.reply_to,
            on_behalf=settings.mail.sender, subject=subject, date=now.astimezone(settings.zone), list_name="alerts",
            message_id=f"<alert.{part}@{compose.domain_of(settings.mail.from_)}>")
        key = f"messages/alert-{part}.eml"
        with store.files.writing(key) as file:
            compose.write(file, envelope, text=rendered.text, html=rendered.html, signer=signer)
        drafts.append(DraftMessage(
            message_id=envelope.message_id, subject=subject, sender=compose.bare_address(settings.mail.envelope_sender),
            recipients=tuple(dict.fromkeys(map(compose.bare_address, recipients))), file_key=key,
            size_bytes=store.files.path(key).stat().st_size))
    return drafts


def _title(condition: AlertCondition, words: AlertWording, mask: Callable[[str], str]) -> str:
    title = words.failed_once if condition.failures == 1 else words.titles[condition.kind]
    return title.format(spider=condition.spider, n=condition.failures, reason=_reason(condition, mask))


def _reason(condition: AlertCondition, mask: Callable[[str], str]) -> str:
    return clean_line(mask(condition.last_run.error), 100) if condition.last_run is not None else ""


def _subject(started: Sequence[AlertCondition], over: Sequence[_Ended], words: AlertWording, mask: Callable[[str], str]) -> str:
    told = [_title(condition, words, mask) for condition in started]
    told += [ended.title(words) for ended in over]
    head = words.comma.join(told[:3])
    return f"[{words.alert}] {head}" + (words.comma + words.more.format(n=len(told) - 3) if len(told) > 3 else "")


def _view(condition: AlertCondition, words: AlertWording, settings: Settings, mask: Callable[[str], str],
          log_of: Callable[[int], Path]) -> AlertView:
    def at(moment: datetime | None) -> str:
        return f"{moment.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}" if moment is not None else words.never

    title = _title(condition, words, mask)
    if condition.cookie is not None:
        return AlertView(title, [(words.cookie, clean_line(f"{condition.cookie.name} ({condition.cookie.site})", 200)),
                                   (words.ends, at(condition.cookie.ends_at)),
                                   (words.what_to_do, (words.bring_in if condition.cookie.brought_in else words.by_itself)
                                    .format(spider=condition.spider))])
    if condition.kind is AlertKind.DIGEST:
        return AlertView(title, [(words.since, at(condition.since)), (words.message, clean_line(mask(condition.error), 600))])
    success, run = condition.last_success, condition.last_run
    facts = [(words.since, at(condition.since)), (words.last_good, at(success.ended_at if success is not None else None))]
    if success is not None:
        facts[-1] = (words.last_good, words.run.format(n=success.id, at=facts[-1][1]))
    log = ""
    if run is not None:
        facts.append((words.last_run, words.run.format(n=run.id, at=at(run.ended_at))))
        if run.error:
            facts.append((words.message, clean_line(mask(run.error), 600)))
        log = mask(tail(log_of(run.id)))
    return AlertView(title, facts, log)


def _with_rules(view: AlertView, condition: AlertCondition, store: Store, words: AlertWording, mask: Callable[[str], str]) -> AlertView:
    """Return the view of a suspect spider with the result of the search for new rules."""
    run = condition.last_run
    found = mendings.of_spider(store, condition.spider) if condition.kind is AlertKind.SUSPECT and run is not None else None
    if found is None or run is None or found.pass_id != run.pass_id or found.state is MendingState.WAITING:
        return view
    fix = (words.rules_applied if found.state is MendingState.APPLIED else words.rules_proposed).format(
        spider=condition.spider) if found.report.get("diff") else words.no_rules
    reason = found.report.get("agreement_line" if found.report.get("diff") else "reason", "")
    if why := found.report.get("not_applied", ""):
        reason = f"{reason}; {words.rules_not_applied.format(why=why)}"
    tried = found.report.get("tried", [])[:MAX_TRIED] if not found.report.get("diff") else []
    facts = [*view.facts, (words.fix, clean_line(mask("; ".join([f"{fix} ({reason})" if reason else fix, *tried])), 1200))]
    return replace(view, facts=facts, rules="\n".join(mask(line)[:500] for line in proposal.lines(found.report)))


def _ended_view(ended: _Ended, words: AlertWording, settings: Settings, mask: Callable[[str], str], now: datetime) -> AlertView:
    alert = ended.alert
    facts = [(words.since, f"{alert.since.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}"), (words.lasted, span_for_people((now - alert.since).total_seconds()))]
    if ended.suspect is not None and ended.suspect.last_run is not None and not ended.is_removed:
        facts.append((words.message, clean_line(mask(ended.suspect.last_run.error), 600)))
    return AlertView(ended.title(words), facts)


def tail(log: Path) -> str:
    """Return the last lines of a log, at most `TAIL_LINES` and `TAIL_BYTES`; "" if there is no log."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""  # the run's process was killed before it wrote any log line
    return "\n".join(line[:500] for line in lines[1 if size > TAIL_BYTES else 0:][-TAIL_LINES:])
