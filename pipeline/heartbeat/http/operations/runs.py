"""Operations on runs: what one run shows, its log in pages and live, and the request to stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import StoreError, UsageError
from pipeline.model import Change, Outcome, Run
from pipeline.store import Store
from pipeline.store.console import lists
from pipeline.store.crawl.rule_counts import RuleRow, rows_of_pass
from pipeline.store.files.log_lines import LEVELS, LogLine, LogReader, page_after, page_before
from pipeline.store.files.run_logs import parts_of, run_log_files
from pipeline.store.runs import runs
from pipeline.store.runs.stop_requests import request_stop
from pipeline.text import escape_controls

LOG_LINES = 200
"""How many lines of a log one page has."""
MOST_CHANGES = 100
"""How many changes the page of a run shows; a page of its own has all."""
MOST_NEW_LINES = 1000
"""How many new lines a live log shows at once; earlier ones are on the pages of the log."""


@dataclass(frozen=True)
class RunDetails:
    """What the page of a run shows apart from its log. earlier, later: the ids of the spider's runs before and after it; None for none."""

    run: Run
    changes: list[Change]
    rules: list[RuleRow]
    earlier: int | None
    later: int | None


@dataclass(frozen=True)
class LogFilter:
    """Which lines of a log are wanted. level: the lowest level. text: a part of the text, in any case."""

    level: str = "debug"
    text: str = ""

    @classmethod
    def of(cls, level: str, text: str) -> LogFilter:
        """Return a filter of the parameters of a URL; a level that is not known counts as not given."""
        return cls(level if level in LEVELS else "debug", text.strip()[:100])

    def wants(self, line: LogLine) -> bool:
        return line.is_at_least(self.level) and self.text.casefold() in line.text.casefold()


@dataclass(frozen=True)
class ShownLog:
    """Lines of a log, the oldest first, with secrets masked and control characters escaped.

    begin: the byte of the log at which they begin; 0 if there are no earlier lines. end: the byte at which the next ones begin. missing:
    why there is no log, "" if there is one: "waiting" (the run has not started), "elsewhere" (it is on the node that performs the run
    until the run has ended), "not here" (other nodes may have it), "none", or the error of the object store. parts: the names of the logs
    of processes of the run on other nodes.
    """

    lines: list[LogLine]
    begin: int
    end: int
    missing: str = ""
    parts: Sequence[str] = ()


def details(store: Store, run_id: int) -> RunDetails | None:
    """Return what the page of a run shows; None if there is no such run."""
    run = runs.get_run(store, run_id)
    if run is None:
        return None
    earlier, later = lists.neighbours(store, run)
    return RunDetails(run, lists.changes_page(store, run_id=run_id, limit=MOST_CHANGES), rows_of_pass(store, run.spider, run.pass_id), earlier, later)


@dataclass(frozen=True)
class RunProblem:
    """Something that is wrong with a run, and the page on which a person sees more or mends it.

    kind: "login", "settings", "log", "pages", "downloads", "rejects" or "suspect". count: how many pages, downloads or items.
    """

    kind: str
    path: str
    count: int = 0


_PLACES_OF_ERRORS = {"LoginError": "login", "SessionError": "login", "CookieError": "login", "SettingsError": "settings", "UsageError": "settings",
                     "ProxyError": "settings"}
_HARMLESS = (Outcome.STOPPED, Outcome.SKIPPED)


def problems(run: Run) -> list[RunProblem]:
    """Return what is wrong with a run besides its error, the most important first."""
    own, spider, progress = f"/runs/{run.id}", f"/spiders/{quote(run.spider)}", run.progress
    found = []
    place = _PLACES_OF_ERRORS.get(run.error_kind)
    if place is not None:
        found.append(RunProblem(place, f"{spider}#session" if place == "login" else "/settings"))
    if run.suspect:
        found.append(RunProblem("suspect", f"{spider}/mend"))
    found += [RunProblem(kind, f"{own}/{path}", count) for kind, path, count in (
        ("pages", "pages?show=failed", progress.pages_failed), ("downloads", "downloads?show=failed", progress.downloads_failed),
        ("rejects", "rejects", progress.rejected)) if count]
    if run.error and run.outcome is not None and run.outcome not in _HARMLESS:
        found.append(RunProblem("log", f"{own}/log?level=warning"))
    return found


def log(store: Store, mask: Callable[[str], str], run: Run, wanted: LogFilter | None = None, *, before: int | None = None,
        after: int | None = None, limit: int = LOG_LINES, part: str = "") -> ShownLog:
    """Return the last lines of a run's log that end before the byte `before`; None means the end of the log. part: see ShownLog.parts.

    after: return the first lines that begin at or after this byte instead.
    """
    try:
        parts = parts_of(store, run.id) if run.ended_at is not None else []
        files = run_log_files(store, run.id, part if part in parts else "")
    except StoreError as error:
        return ShownLog([], 0, 0, mask(str(error)))
    wanted = wanted or LogFilter()
    ended = run.ended_at is not None
    found = page_before(files, before=before, limit=limit, wanted=wanted.wants, ended=ended) if after is None else \
        page_after(files, after, limit=limit, wanted=wanted.wants, ended=ended)
    return ShownLog([_shown(line, mask) for line in found.lines], found.begin, found.end, "" if found.end else _missing(store, run, files), parts)


def log_tail(store: Store, mask: Callable[[str], str], run_id: int) -> Sequence[LogLine]:
    """Return the last lines of a run's log, with secrets masked; nothing if there is no log."""
    run = runs.get_run(store, run_id)
    return () if run is None else log(store, mask, run).lines


def _missing(store: Store, run: Run, files: Sequence[Path]) -> str:
    if any(path.exists() for path in files):
        return ""
    if run.ended_at is None and run.started_at is None:
        return "waiting"
    if store.files.is_remote:
        return "elsewhere" if run.ended_at is None else "none"
    return "not here" if store.shared else "none" if run.ended_at is not None else ""


class LiveLog:
    """The lines of a run's log that are written while somebody looks at it. after: the byte of the log at which they begin."""

    def __init__(self, store: Store, mask: Callable[[str], str], run: Run, wanted: LogFilter, *, after: int) -> None:
        self._mask = mask
        self._wanted = wanted
        try:
            files = run_log_files(store, run.id)
        except StoreError:  # the page says so, which is loaded again when the run ends
            files = []
        self._reader = LogReader(files, after=after)

    @property
    def position(self) -> int:
        """The byte of the log up to which it was read."""
        return self._reader.position

    def new_lines(self, run: Run) -> list[LogLine]:
        """Return the lines that were written since the last call, at most the last MOST_NEW_LINES of them. run: as it is now."""
        found: list[LogLine] = []
        for line in self._reader.read(ended=run.ended_at is not None):
            if line.text.strip() and self._wanted.wants(line):
                found.append(line)
                del found[:-MOST_NEW_LINES]
        return [_shown(line, self._mask) for line in found]


def _shown(line: LogLine, mask: Callable[[str], str]) -> LogLine:
    return LogLine(line.at, line.level if line.level in LEVELS else "", mask(escape_controls(line.text)))


def stop(store: Store, run_id: int, *, now: datetime) -> list[Run]:
    """Ask to stop a run at a checkpoint; return it as it is now. Raises UsageError if it has ended or does not exist."""
    found = request_stop(store, run_id=run_id, now=now)
    if not found:
        raise UsageError(f"run {run_id} has ended, or does not exist", where="runs")
    return found
