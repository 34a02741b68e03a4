"""What one digest has to tell: the net change of every item, what runs went wrong, which files came.

An item that changed in several of the claimed runs is told once: what it was before the first of them, what it
is after the last. One that came and went, or went there and back, is no news.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipeline.model import Change, ChangeKind, Outcome, Run, StoredFile
from pipeline.price import is_price, same
from pipeline.store import Store
from pipeline.store.mail import digests as stored

ORDER = (ChangeKind.NEW, ChangeKind.BACK, ChangeKind.CHANGED, ChangeKind.GONE)
"""How a mail is read: what is there now, first."""
MAX_FIELDS = 200
_BAD = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.KILLED, Outcome.ABANDONED)


@dataclass(frozen=True)
class Trouble:
    """What went wrong with one spider: how many of its runs, how the last bad one ended, whether it is over.

    error: what the last failure said, or why the last run is suspect.
    """

    spider: str
    bad: int
    total: int
    outcome: Outcome | None
    error: str
    suspect: bool
    recovered: bool


@dataclass(frozen=True)
class Refused:
    """Items of one spider that were kept aside. fresh: some of them were not in the run before."""

    spider: str
    count: int
    reasons: list[stored.RejectCount]
    fresh: bool


@dataclass
class News:
    """All that a digest tells, but for the changes themselves beyond the first `keep` of each kind."""

    spiders: list[str]
    counts: dict[ChangeKind, int]
    top: dict[ChangeKind, list[Change]]
    fields: list[str]
    fields_changed: set[str]
    troubles: list[Trouble]
    files: list[StoredFile]
    refused: list[Refused] = field(default_factory=list)
    start: datetime | None = None
    end: datetime | None = None
    fields_priced: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def worth_telling(self) -> bool:
        """A change, a file, an item newly kept aside, or a failure that is not over (a run cut short is taken up by
        the next one)."""
        return bool(self.total or self.files or any(refused.fresh for refused in self.refused) or any(
            not trouble.recovered and trouble.outcome is not Outcome.ABANDONED for trouble in self.troubles))


@dataclass
class _Seen:
    """First and last change of the items met more than once."""

    first: dict[tuple[str, str], int] = field(default_factory=dict)
    last: dict[tuple[str, str], int] = field(default_factory=dict)


class NetChanges:
    """The changes of some runs, each item once; may be walked several times, never held in memory."""

    def __init__(self, store: Store, runs: Sequence[Run]) -> None:
        self._store = store
        self._run_ids = [run.id for run in runs]
        spiders = [run.spider for run in runs]
        # A run tells of an item once: only several runs of one spider need netting.
        self._several = {spider for spider in spiders if spiders.count(spider) > 1}
        self._seen: _Seen | None = None

    def __iter__(self) -> Iterator[Change]:
        seen = self._meetings()
        begun: dict[tuple[str, str], Change] = {}
        for change in stored.changes_of(self._store, self._run_ids):
            item = (change.spider, change.key)
            last = seen.last.get(item)
            if last is None:
                yield change
                continue
            if change.id == seen.first[item]:
                begun[item] = change
            if change.id == last:
                net = net_change(begun.pop(item), change)
                if net is not None:
                    yield net

    def _meetings(self) -> _Seen:
        """Ids of the first and last change of items that changed more than once; found on the first walk."""
        if self._seen is None:
            seen = _Seen()
            if self._several:
                for change in stored.changes_of(self._store, self._run_ids):
                    if change.spider in self._several:
                        item = (change.spider, change.key)
                        if seen.first.setdefault(item, change.id) != change.id:
                            seen.last[item] = change.id
                seen.first = {item: seen.first[item] for item in seen.last}
            self._seen = seen
        return self._seen


def net_change(first: Change, last: Change) -> Change | None:
    """What two changes of one item, and any between them, come to; None when nothing is left of them."""
    was_there = first.kind in (ChangeKind.CHANGED, ChangeKind.GONE)
    is_there = last.kind is not ChangeKind.GONE
    if was_there and is_there:
        kind = ChangeKind.CHANGED
    elif is_there:
        kind = first.kind
    elif was_there:
        kind = ChangeKind.GONE
    else:
        return None
    if kind is ChangeKind.CHANGED and same(first.before, last.after):
        return None
    return replace(last, kind=kind, before=first.before)


def gather(changes: Iterable[Change], runs: Sequence[Run], files: Sequence[StoredFile], *, keep: int,
           refused: Sequence[Refused] = ()) -> News:
    """Walk the changes once: count them, learn their fields, and keep the first `keep` of each kind."""
    counts: dict[ChangeKind, int] = {}
    top: dict[ChangeKind, list[Change]] = {kind: [] for kind in ORDER}
    fields: dict[str, None] = {}
    changed: set[str] = set()
    priced: set[str] = set()
    for change in changes:
        counts[change.kind] = counts.get(change.kind, 0) + 1
        if len(top[change.kind]) < keep:
            top[change.kind].append(change)
        if len(fields) < MAX_FIELDS:
            fields.update(dict.fromkeys(change.after or change.before))
        priced.update(name for name, value in (change.after or change.before).items() if is_price(value))
        if change.kind is ChangeKind.CHANGED:
            changed.update(change.fields[:MAX_FIELDS])
    names = list(fields)[:MAX_FIELDS]
    starts = [run.started_at or run.created_at for run in runs]
    ends = [run.ended_at for run in runs if run.ended_at is not None]
    return News(spiders=list(dict.fromkeys(run.spider for run in runs)), counts=counts, top=top, fields=names,
                fields_changed=changed.intersection(names), fields_priced=priced.intersection(names), troubles=_troubles(runs), files=list(files),
                refused=list(refused), start=min(starts, default=None), end=max(ends, default=None))


def _troubles(runs: Sequence[Run]) -> list[Trouble]:
    found = []
    for spider in dict.fromkeys(run.spider for run in runs):
        own = [run for run in runs if run.spider == spider]
        bad = [run for run in own if run.outcome in _BAD]
        suspect = own[-1].suspect
        if bad or suspect:
            ended_well = own[-1].outcome is Outcome.SUCCEEDED and not suspect
            error = own[-1].error if suspect else bad[-1].error
            found.append(Trouble(spider, len(bad), len(own), bad[-1].outcome if bad else None, error, suspect, ended_well))
    return found


def refusals(store: Store, runs: Sequence[Run]) -> list[Refused]:
    """What these runs kept aside, by spider."""
    reasons = stored.reject_counts(store, [run.id for run in runs if run.progress.rejected])
    found = []
    for spider in dict.fromkeys(run.spider for run in runs):
        own = [run for run in runs if run.spider == spider]
        count = sum(run.progress.rejected for run in own)
        if count:
            found.append(Refused(spider, count, [reason for reason in reasons if reason.spider == spider],
                                 stored.has_new_rejects(store, spider, [run.id for run in own])))
    return found
