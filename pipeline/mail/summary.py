"""Summarize what a digest reports: net changes of items, problems, rejected items, downloaded files.

If an item changed in several of the claimed runs, one net change is reported: from what the reader last knew, which is the item's state
before the first run, to its state after the last run. Nothing is reported if both states are the same for the settings `ignore` and
`min_change` of the spider, or if the item first appeared in one of these runs and was gone by the last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipeline.mail.top_changes import TopChanges
from pipeline.model import Change, ChangeKind, Json, Outcome, Run, StoredFile
from pipeline.price import is_price
from pipeline.store import Store
from pipeline.store.crawl import rule_counts
from pipeline.store.crawl.compare import Comparison
from pipeline.store.health.status_queries import last_success
from pipeline.store.mail import digests as stored

ORDER = (ChangeKind.NEW, ChangeKind.BACK, ChangeKind.CHANGED, ChangeKind.GONE)
"""The order of the sections in a mail: gone items come last."""
MAX_FIELDS = 200
MAX_FAILED_FILES = 3
_COMPLETE = Comparison()
_BAD = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.KILLED, Outcome.ABANDONED)


@dataclass(frozen=True)
class SpiderProblem:
    """The failed or suspect runs of one spider.

    bad: number of failed runs. total: number of all runs. outcome: outcome of the last failed run; None if no run failed. error:
    error message of the last failed run or, if no run failed, the reason why the last run is suspect. recovered: whether the last run
    succeeded and is not suspect.
    """

    spider: str
    bad: int
    total: int
    outcome: Outcome | None
    error: str
    suspect: bool
    recovered: bool


@dataclass(frozen=True)
class RejectedItems:
    """The items of one spider that failed validation.

    count: number of rejected items. reasons: for each reason, the number of items that were rejected for it. fresh: whether at least
    one of these items was not rejected in the previous run.
    """

    spider: str
    count: int
    reasons: list[stored.RejectCount]
    fresh: bool


@dataclass(frozen=True)
class FewerValues:
    """A field that far fewer items of a spider's last pass have than usual.

    filled: number of these items. items: number of all items. usual: the usual share of the items (0 to 1).
    """

    spider: str
    field: str
    filled: int
    items: int
    usual: float


@dataclass(frozen=True)
class IncompletePass:
    """A spider whose last run could not fetch some pages, so that none of its items is reported as gone. reason: what the run says."""

    spider: str
    reason: str


@dataclass(frozen=True)
class CheckedSpider:
    """What the last successful run of a spider read, and when. at: None if no run of the spider has succeeded yet."""

    spider: str
    pages: int = 0
    items: int = 0
    at: datetime | None = None


@dataclass
class DigestSummary:
    """What a digest reports. Only the first changes of each kind are held in memory.

    counts: number of changes by kind. top: the most important changes of each kind, at most `keep` (see `summarize`). further: those that follow,
    without most of their long values; with `top`, at most `named`. fields: names of all
    fields of the items. fields_changed: names of the fields that changed. fields_priced: names of the fields that contain prices.
    start, end: when the first run started, and when the last run ended. spider_counts: number of changes of each spider by kind.
    important: the spiders with a change of an important field. checked: what was read, if there is no change to report.
    """

    spiders: list[str]
    counts: dict[ChangeKind, int]
    top: dict[ChangeKind, list[Change]]
    fields: list[str]
    fields_changed: set[str]
    problems: list[SpiderProblem]
    files: list[StoredFile]
    rejected: list[RejectedItems] = field(default_factory=list)
    fewer: list[FewerValues] = field(default_factory=list)
    start: datetime | None = None
    end: datetime | None = None
    fields_priced: set[str] = field(default_factory=set)
    spider_counts: dict[str, dict[ChangeKind, int]] = field(default_factory=dict)
    important: set[str] = field(default_factory=set)
    incomplete: list[IncompletePass] = field(default_factory=list)
    failed_files: list[stored.FailedFiles] = field(default_factory=list)
    checked: list[CheckedSpider] = field(default_factory=list)
    further: dict[ChangeKind, list[Change]] = field(default_factory=dict)

    @property
    def order(self) -> tuple[ChangeKind, ...]:
        """The order of the kinds of change in a mail. Important changes come first."""
        return tuple(sorted(ORDER, key=lambda kind: kind is not ChangeKind.CHANGED)) if self.important else ORDER

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def newly_failed_files(self) -> int:
        """The number of files that could not be downloaded, without those of spiders that failed to download as many before."""
        return sum(files.count for files in self.failed_files if files.count > files.before)

    @property
    def has_news(self) -> bool:
        """Whether there is a change, a downloaded file, a newly rejected item, a new failure of a download or an unsolved problem.

        A problem is unsolved if the last run failed or is suspect. An abandoned run is not a problem, because the next run continues
        its pass.
        """
        return bool(self.total or self.files or any(items.fresh for items in self.rejected) or self.newly_failed_files or any(
            not problem.recovered and problem.outcome is not Outcome.ABANDONED for problem in self.problems))


@dataclass
class _ItemHistory:
    """What several changes of one item add up to.

    first, last: the first and the last change. earlier: for each field that has changed since the item was new, its previous value.
    """

    first: Change
    last: Change
    earlier: dict[str, Json] = field(default_factory=dict)

    @classmethod
    def begin(cls, change: Change, *, is_told: bool) -> _ItemHistory:
        """is_told: False for an item that is back, but was never told: it is new to the reader."""
        if is_told:
            return cls(change, change)
        return cls(replace(change, kind=ChangeKind.NEW), change, {name: change.before.get(name) for name in change.fields})

    def add(self, change: Change) -> None:
        self.last = change
        if self.first.kind is ChangeKind.NEW and change.kind is not ChangeKind.GONE:
            self.earlier.update((name, change.before.get(name)) for name in change.fields)

    def net_change(self, comparison: Comparison) -> Change | None:
        """Return the net change: what was known before the first change, against the last change; None if they are the same.

        An item that was gone, or did not exist yet, and is gone again has no net change. A new item was not known before, so its
        fields before the change are the previous values of the fields that have changed since it was new; {} if none has.
        """
        first, last = self.first, self.last
        was_there = first.kind in (ChangeKind.CHANGED, ChangeKind.GONE)
        if last.kind is ChangeKind.GONE:
            return replace(last, before=first.before) if was_there else None
        if first.kind is ChangeKind.NEW:
            known = last.after | self.earlier
            before = {} if comparison.same(known, last.after) else {name: value for name, value in known.items() if value is not None}
            return replace(last, kind=ChangeKind.NEW, before=comparison.before(before, last.after) if before else {})
        if was_there and comparison.same(first.before, last.after):
            return None
        return replace(last, kind=ChangeKind.CHANGED if was_there else ChangeKind.BACK, before=comparison.before(first.before, last.after))


class NetChanges:
    """Iterates over the net changes of some runs, with at most one change for each item.

    comparisons: how the items of a spider are compared; items of other spiders are compared completely. never_told: the spider and
    the key of each item that is back, but was never told; it is reported as new.
    A NetChanges can be iterated several times; each iteration reads the changes from the store.
    """

    def __init__(self, store: Store, runs: Sequence[Run], comparisons: Mapping[str, Comparison],
                 never_told: Collection[tuple[str, str]] = ()) -> None:
        self._store = store
        self._run_ids = [run.id for run in runs]
        spiders = [run.spider for run in runs]
        # A run records at most one change of an item, so changes must be combined only for spiders with several runs.
        self._several = {spider for spider in spiders if spiders.count(spider) > 1}
        self._comparisons = comparisons
        self._never_told = never_told
        self._last_ids: dict[tuple[str, str], int] | None = None

    def __iter__(self) -> Iterator[Change]:
        last_ids = self._ids_of_last_changes()
        begun: dict[tuple[str, str], _ItemHistory] = {}
        for change in stored.changes_of(self._store, self._run_ids):
            item = (change.spider, change.key)
            is_told = change.kind is not ChangeKind.BACK or item not in self._never_told
            if item not in last_ids:
                yield change if is_told else replace(change, kind=ChangeKind.NEW)
            elif item not in begun:
                begun[item] = _ItemHistory.begin(change, is_told=is_told)
            else:
                begun[item].add(change)
                if change.id == last_ids[item]:
                    net = begun.pop(item).net_change(self._comparisons.get(change.spider, _COMPLETE))
                    if net is not None:
                        yield net

    def _ids_of_last_changes(self) -> dict[tuple[str, str], int]:
        """Return the id of the last change of each item with several changes; only the first call reads the store."""
        if self._last_ids is None:
            first_ids: dict[tuple[str, str], int] = {}
            self._last_ids = {}
            if self._several:
                for change in stored.changes_of(self._store, self._run_ids):
                    if change.spider in self._several:
                        item = (change.spider, change.key)
                        if first_ids.setdefault(item, change.id) != change.id:
                            self._last_ids[item] = change.id
        return self._last_ids


def summarize(changes: Iterable[Change], runs: Sequence[Run], files: Sequence[StoredFile], *, keep: int, named: int = 0, important: Sequence[str] = (),
              rejected: Sequence[RejectedItems] = (), fewer: Sequence[FewerValues] = (),
              failed: Sequence[stored.FailedFiles] = ()) -> DigestSummary:
    """Iterate over the changes once, and return the summary of changes, runs and files.

    keep: maximum number of changes of each kind that the summary contains whole. named: maximum number of those that it contains at all; all others are
    only counted. important: names of the
    fields whose changes come first.
    """
    found = TopChanges(keep, important, named=named)
    fields: dict[str, None] = {}
    changed: set[str] = set()
    priced: set[str] = set()
    for change in changes:
        found.add(change)
        if len(fields) < MAX_FIELDS:
            fields.update(dict.fromkeys(change.after or change.before))
        priced.update(name for name, value in (change.after or change.before).items() if is_price(value))
        if change.kind is ChangeKind.CHANGED:
            changed.update(change.fields[:MAX_FIELDS])
    names = list(fields)[:MAX_FIELDS]
    top, further = found.kept()
    starts = [run.started_at or run.created_at for run in runs]
    ends = [run.ended_at for run in runs if run.ended_at is not None]
    return DigestSummary(
        spiders=list(dict.fromkeys(run.spider for run in runs)), counts=found.counts, top=top, further=further, fields=names,
        fields_changed=changed.intersection(names), fields_priced=priced.intersection(names), problems=_problems(runs),
        spider_counts=found.spider_counts, important=found.important, incomplete=_incomplete(runs), files=list(files),
        rejected=list(rejected), fewer=list(fewer), failed_files=list(failed), start=min(starts, default=None), end=max(ends, default=None))


def _problems(runs: Sequence[Run]) -> list[SpiderProblem]:
    found = []
    for spider in dict.fromkeys(run.spider for run in runs):
        own = [run for run in runs if run.spider == spider]
        bad = [run for run in own if run.outcome in _BAD]
        good = [run for run in own if run.outcome is Outcome.SUCCEEDED]
        suspect = bool(good) and good[-1].suspect  # a run that was stopped or failed later says nothing about what the rules find
        if bad or suspect:
            ended_well = own[-1].outcome is Outcome.SUCCEEDED and not suspect
            error = good[-1].error if suspect else bad[-1].error
            found.append(SpiderProblem(spider, len(bad), len(own), bad[-1].outcome if bad else None, error, suspect, ended_well))
    return found


def _incomplete(runs: Sequence[Run]) -> list[IncompletePass]:
    last = {run.spider: run for run in runs}
    return [IncompletePass(spider, run.error) for spider, run in last.items()
            if run.outcome is Outcome.SUCCEEDED and not run.complete and not run.suspect and run.progress.pages_failed]


def checked_spiders(store: Store, spiders: Iterable[str]) -> list[CheckedSpider]:
    """Return what the last successful run of each spider read."""
    with store.read() as connection:
        last = {spider: last_success(connection, spider) for spider in spiders}
    return [CheckedSpider(spider) if run is None else CheckedSpider(spider, run.progress.pages, run.progress.items, run.ended_at)
            for spider, run in last.items()]


def fewer_values(store: Store, runs: Sequence[Run]) -> list[FewerValues]:
    """Return the fields that far fewer items have than usual, in the pass of the last successful run of each spider that is not suspect."""
    last = {run.spider: run for run in runs if run.outcome is Outcome.SUCCEEDED and not run.suspect}
    with store.read() as connection:
        return [FewerValues(spider, row.name, row.count.matches, row.count.items, row.usual or 0.0)
                for spider, run in last.items() for row in rule_counts.fewer_values(connection, spider, run.pass_id)]


def failed_files(store: Store, runs: Sequence[Run]) -> list[stored.FailedFiles]:
    """Return the files that the last pass of each spider could not download."""
    last = {run.spider: run for run in runs if run.outcome is Outcome.SUCCEEDED and run.progress.downloads_failed}
    found = [stored.failed_files(store, run, [run.id for run in runs], shown=MAX_FAILED_FILES) for run in last.values()]
    return [files for files in found if files.count]


def rejected_items(store: Store, runs: Sequence[Run]) -> list[RejectedItems]:
    """Return a RejectedItems for each spider whose items failed validation in these runs."""
    with_rejects = [run.id for run in runs if run.progress.rejected]
    reasons, totals = stored.reject_counts(store, with_rejects), stored.reject_totals(store, with_rejects)
    found = []
    for spider in dict.fromkeys(run.spider for run in runs):
        own = [run for run in runs if run.spider == spider]
        count = totals.get(spider, 0)
        if count:
            found.append(RejectedItems(spider, count, [reason for reason in reasons if reason.spider == spider],
                                 stored.has_new_rejects(store, spider, [run.id for run in own])))
    return found
