"""Prepare what an alert says.

What happened, since when, what was tried, what to do, the end of the log, and links to the pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from markupsafe import Markup, escape

from pipeline import proposal
from pipeline.languages import AlertWording, Phrase, alert_wording, figures, reasons
from pipeline.mail.render.log_tail import tail
from pipeline.model import Outcome, Run
from pipeline.settings import Settings
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.crawl import mendings
from pipeline.store.crawl.mendings import MendingState, StoredMending
from pipeline.store.health.proxy_health import PoolHealth, pools
from pipeline.store.mail.alerts import AlertCondition, AlertKind, EndedProblem
from pipeline.text import clean_line, escape_controls

_MAX_TRIED = 3
_NAMED = 3
_LONGEST_REASON = 600
_BY_ERROR = {
    "FetchError": "fetch", "TlsError": "tls", "ProxyError": "proxy", "LoginError": "login", "CookieError": "cookie", "SessionError": "session",
    "DownloadError": "download", "TryLaterError": "download", "DiskFullError": "disk", "StoreError": "store", "LeaseLostError": "store",
    "SpiderError": "spider", "UsageError": "settings", "SettingsError": "settings", "BrowserError": "browser",
}
"""The key in [alert.steps] by the class of the error that ended a run."""
_BY_OUTCOME = {Outcome.TIMED_OUT: "timed_out", Outcome.KILLED: "killed", Outcome.ABANDONED: "abandoned"}
_OF_RULES = frozenset({"fetch", "tls", "spider", "other", "suspect"})
"""Keys in [alert.steps] of the steps that test rules; a spider that is written in Python has no rules."""
_NAME = re.compile(r"\S*[.:/_]\S")
_CODE = re.compile("`([^`]+)`")


_SHORTEST_SPAN = timedelta(minutes=1)
"""A problem that started less than this ago is told without how long it has lasted."""


@dataclass(frozen=True)
class AlertView:
    """One problem, in the form in which the mail templates show the problem.

    reason: why it happened; "" if nothing more is known than the title. facts: pairs of name and value. steps: what to do, in this
    order. links: pairs of text and URL. rules: new rules that are proposed, as a diff of the settings file and items before and after;
    "" if there are none. log: the last lines of the log of the failed run; "" if there is no log.
    """

    title: str
    reason: str = ""
    facts: Sequence[tuple[str, str]] = ()
    steps: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()
    rules: str = ""
    log: str = ""

    def brief(self, words: AlertWording) -> str:
        """The problem and its reason on one line."""
        return clean_line(f"{self.title}{words.colon}{self.reason}" if self.reason else self.title, 300)


class AlertViewer:
    """Makes the views of an alert, and its subject."""

    def __init__(self, store: Store, settings: Settings, log_of: Callable[[int], Path], *, now: datetime) -> None:
        """log_of: returns the path of a run's log."""
        self.words = alert_wording(settings.alerts.language)
        self._store = store
        self._settings = settings
        self._log_of = log_of
        self._now = now
        self._zone = settings.alerts.zone(settings.zone)
        self._reasons = reasons(settings.alerts.language)
        self._secrets = Mask.of(settings)

    def subject(self, started: Sequence[AlertCondition], ended: Sequence[EndedProblem]) -> str:
        """Return the subject: the only problem with its reason, or the problems of each kind with the names of the first spiders."""
        words = self.words
        kinds = dict.fromkeys(condition.kind for condition in started)
        told = [self._several(kind.value, [(condition.spider, self._title(condition)) for condition in started if condition.kind is kind]) for kind in kinds]
        told += [self._several("over", [(each.alert.spider, self._title_of_end(each)) for each in ended])] if ended else []
        head = self._reasons.separator.join(told)
        if len(started) == 1 and not ended and (why := self._brief(started[0])):
            head += f"{words.colon}{why}"
        return f"[{words.alert}] {head}"

    def preheader(self, views: Sequence[AlertView]) -> str:
        """Return the text that mail clients show beside the subject: what to do about the only problem, or the reasons of several."""
        if len(views) == 1:
            return clean_line(views[0].steps[0].replace("`", "") if views[0].steps else "", 150)
        return clean_line(self._reasons.separator.join(view.brief(self.words) for view in views[:_NAMED]), 300)

    def _several(self, kind: str, problems: Sequence[tuple[str, str]]) -> str:
        """Return the title of the only problem, or what the problems have in common. problems: pairs of spider and title."""
        if len(problems) == 1:
            return problems[0][1]
        names = list(dict.fromkeys(spider for spider, _ in problems))
        listed = self.words.enumeration.join([*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])])
        return self.words.several[kind].format(n=len(problems), spiders=listed)

    def started(self, condition: AlertCondition) -> AlertView:
        run = condition.last_run
        links = [*(self._link(self.words.run_page.format(n=run.id), f"/runs/{run.id}") if run is not None else ()), *self._page_of(condition.spider, condition.kind)]
        view = AlertView(self._title(condition), self._shown(_error(condition)), self._facts(condition), self._steps(condition), links)
        if run is None:
            return view
        log = self._mask(tail(self._log_of(run.id), self._zone, (self._settings.folder,), self._secrets))
        return self._with_rules(replace(view, log=log), condition, run)

    def ended(self, ended: EndedProblem) -> AlertView:
        alert, words = ended.alert, self.words
        facts: list[tuple[str, str]] = [(words.since, self._at(alert.since)), (words.lasted, self._span(self._now - alert.since))]
        why = _error(ended.suspect) if ended.suspect is not None and not ended.is_removed else ""
        return AlertView(self._title_of_end(ended), self._shown(why), facts, links=[] if ended.is_removed else self._page_of(alert.spider, alert.kind))

    @property
    def footer(self) -> list[str]:
        return [self.words.footer, self.words.zone.format(zone=self._zone.key)]

    def _mask(self, text: str) -> str:
        """Return a stored text without secrets, control characters and the path of the data folder."""
        return self._secrets(escape_controls(text)).replace(f"{self._settings.data_dir}/", "data_dir/")

    def _shown(self, error: str) -> str:
        """Return a stored reason on one line, in the language, without what it says to do: `_steps` says that."""
        parts = [part for part in self._reasons.parts(self._mask(error)) if not part.is_fix]
        return as_sentence(clean_line(self._reasons.joined(parts), _LONGEST_REASON))

    def _brief(self, condition: AlertCondition) -> str:
        return clean_line(self._reasons.first(self._mask(_error(condition))), 100)

    def _title(self, condition: AlertCondition) -> str:
        title = self.words.failed_once if condition.failures == 1 else self.words.titles[condition.kind]
        return title.format(spider=condition.spider, n=condition.failures)

    def _title_of_end(self, ended: EndedProblem) -> str:
        words, alert = self.words, ended.alert
        if ended.is_removed:
            return words.removed.format(spider=alert.spider)
        if alert.kind is AlertKind.FAILING and ended.suspect is not None:
            return words.over_but_suspect.format(spider=alert.spider)
        return words.over[alert.kind].format(spider=alert.spider)

    def _at(self, moment: datetime | None) -> str:
        return figures.moment(moment, self._zone, self.words.date, self.words.lang) if moment is not None else self.words.never

    def _span(self, span: timedelta) -> str:
        return figures.duration(span.total_seconds(), self.words.lang)

    def _run(self, run: Run | None) -> str:
        if run is None:
            return self.words.never
        shown = self.words.run.format(n=run.id, at=self._at(run.ended_at))
        outcome = self.words.outcomes.get(run.outcome or "")
        return f"{shown}{self.words.comma}{outcome}" if outcome else shown

    def _facts(self, condition: AlertCondition) -> list[tuple[str, str]]:
        words = self.words
        facts: list[tuple[str, str]]
        if condition.cookie is not None:
            facts = [(words.cookie, clean_line(f"{condition.cookie.name} ({condition.cookie.site})", 200)), (words.ends, self._at(condition.cookie.ends_at))]
            return facts
        lasted = self._now - condition.since
        facts = [(words.since, self._at(condition.since) + (f" ({self._span(lasted)})" if lasted >= _SHORTEST_SPAN else ""))]
        if condition.kind not in (AlertKind.DIGEST, AlertKind.NODE):
            facts.append((words.last_good, self._run(condition.last_success)))
        if condition.last_run is not None:
            facts.append((words.last_run, self._run(condition.last_run)))
        if tried := self._tried(condition):
            facts.append((words.tried, tried))
        return facts

    def _tried(self, condition: AlertCondition) -> str:
        """Return what the program has tried against a failure, and when it tries again."""
        run, tries, table = condition.last_run, self.words.tries, self._settings.spiders.get(condition.spider)
        if condition.kind is AlertKind.DIGEST:
            return tries["next"].format(at=self._at(condition.next_at)) if condition.next_at is not None else ""
        if condition.kind is not AlertKind.FAILING or run is None or table is None:
            return ""
        said = [tries["runs"].format(n=condition.failures)]
        if condition.retries:
            said.append(tries["retries"].format(n=condition.retries))
        if run.progress.pages:
            said.append(tries["pages"].format(n=run.progress.pages, failed=run.progress.pages_failed))
        if run.error_kind in ("FetchError", "TlsError", "ProxyError", "BrowserError") and table.retries:
            said.append(tries["requests"].format(n=table.retries + 1))
        if table.login is not None:
            said.append(tries["login"])
        if table.proxy is not None and (resting := self._resting(condition.spider)):
            said.append(tries["proxies"].format(n=resting))
        if condition.next_at is not None:
            said.append(tries["next"].format(at=self._at(condition.next_at)))
        return self.words.comma.join(said)

    def _resting(self, spider: str) -> int:
        """Return how many proxies of a spider are not used for a time, because they have failed."""
        with self._store.read() as connection:
            health = pools(self._store, connection, [spider]).get(spider, PoolHealth()).health
        return sum(proxy.resting_until_s > self._now.timestamp() for proxy in health.values())

    def _steps(self, condition: AlertCondition) -> list[str]:
        """Return what to do: the advice in the error, then a command for this kind of problem."""
        run = condition.last_run
        advice = [clean_line(part.text, 300) for part in self._reasons.parts(self._mask(_error(condition))) if part.is_fix]
        if condition.cookie is not None:
            keys = ["bring_in" if condition.cookie.brought_in else "by_itself"]
        elif condition.kind is AlertKind.FAILING and run is not None:
            keys = [_BY_OUTCOME.get(run.outcome or Outcome.FAILED) or _BY_ERROR.get(run.error_kind, "other"), "again"]
        else:
            keys = [condition.kind.value]
        table = self._settings.spiders.get(condition.spider)
        if table is not None and not table.is_built_in:
            keys = ["own_code" if key in _OF_RULES else key for key in keys]
        commands = [self.words.steps[key].format(spider=condition.spider, run=run.id if run is not None else "") for key in keys]
        return [*map(as_sentence, [*dict.fromkeys(advice), *commands])]

    def _page_of(self, name: str, kind: AlertKind) -> list[tuple[str, str]]:
        if kind is AlertKind.DIGEST:
            return self._link(self.words.digests_page, "/digests")
        if kind is AlertKind.NODE:
            return self._link(self.words.nodes_page, "/")
        return self._link(self.words.spider_page.format(spider=name), f"/spiders/{name}")

    def _link(self, text: str, path: str) -> list[tuple[str, str]]:
        url = self._settings.heartbeat.page_url(path)
        return [(text, url)] if url else []

    def _with_rules(self, view: AlertView, condition: AlertCondition, run: Run) -> AlertView:
        """Return the view of a suspect spider with the result of the search for new rules."""
        found = mendings.of_spider(self._store, condition.spider) if condition.kind is AlertKind.SUSPECT else None
        if found is None or found.pass_id != run.pass_id or found.state is MendingState.WAITING:
            return view
        facts = [*view.facts, (self.words.fix, clean_line(self._search(found, condition.spider), 1200))]
        report = {**found.report, "notes": [self._translated(note) for note in found.report.get("notes", [])]}
        texts = proposal.ProposalTexts(**self.words.proposal)
        rules = "\n".join(self._mask(line)[:500] for line in proposal.lines(report, texts=texts))
        return replace(view, facts=facts, rules=rules)

    def _search(self, found: StoredMending, spider: str) -> str:
        """Return the result of a search for new rules as text."""
        words, report = self.words, found.report
        has_rules = bool(report.get("diff"))
        fix: Phrase = words.no_rules if not has_rules else words.rules_applied if found.state is MendingState.APPLIED else words.rules_proposed
        said = [self._translated(report.get("agreement_line" if has_rules else "reason", ""))]
        if why := report.get("not_applied", ""):
            said.append(words.rules_not_applied.format(why=self._translated(why)))
        reason = self._reasons.separator.join(filter(None, said))
        head = fix.format(spider=spider)
        tried = [] if has_rules else map(self._translated, report.get("tried", [])[:_MAX_TRIED])
        return self._reasons.separator.join([f"{head} ({reason})" if reason else head, *tried])

    def _translated(self, text: str) -> str:
        return self._reasons.translate(self._mask(text))


def _error(condition: AlertCondition) -> str:
    return condition.last_run.error if condition.last_run is not None else condition.error


def as_sentence(text: str) -> str:
    """Return text with a capital letter in front, unless its first word is a name: a URL, a host or a settings key."""
    return text if _NAME.match(text) else text[:1].upper() + text[1:]


def with_code(text: str) -> Markup:
    """Return text as HTML in which `code` is marked."""
    pieces: Iterable[str] = _CODE.split(text)
    return Markup("").join(Markup("<code>{}</code>").format(piece) if number % 2 else escape(piece) for number, piece in enumerate(pieces))
