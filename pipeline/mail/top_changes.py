"""Keep the most important changes of many.

Few enough for the memory, and a fair share of each spider's.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.mail.filters import number
from pipeline.model import Change, ChangeKind

_LARGEST_SHARE = 1e9
Rank = tuple[int, float, int]
"""Where a change stands: the place of its first important field, its relative difference (negated), the number of the change."""


class TopChanges:
    """Counts changes, and keeps the most important ones of each kind.

    A change of an important field is more important than others; among changes of the same field, the larger relative difference is.
    Otherwise the order is that in which the changes are added.
    """

    def __init__(self, keep: int, important: Sequence[str] = ()) -> None:
        """keep: maximum number of changes of a kind. important: the names of the important fields, the most important first."""
        self._keep = keep
        self._fields = tuple(important)
        self._ranked: dict[ChangeKind, dict[str, list[_Ranked]]] = {kind: {} for kind in ChangeKind}
        self._added = 0
        self.counts: dict[ChangeKind, int] = {}
        self.spider_counts: dict[str, dict[ChangeKind, int]] = {}
        """The number of changes of each spider by kind."""
        self.important: set[str] = set()
        """The spiders with a change of an important field."""

    def add(self, change: Change) -> None:
        self.counts[change.kind] = self.counts.get(change.kind, 0) + 1
        own = self.spider_counts.setdefault(change.spider, {})
        own[change.kind] = own.get(change.kind, 0) + 1
        self._added += 1
        spiders = self._ranked[change.kind]
        kept = spiders.setdefault(change.spider, [])
        allowed = max(1, min(self._keep, 4 * self._keep // len(spiders)))
        ranked = _Ranked(self._rank(change), change)
        if len(kept) < allowed or ranked.rank < kept[-1].rank:
            insort(kept, ranked)
            del kept[allowed:]

    def _rank(self, change: Change) -> Rank:
        if change.kind is ChangeKind.CHANGED and self._fields:
            changed = set(change.fields)
            for place, name in enumerate(self._fields):
                if name in changed:
                    self.important.add(change.spider)
                    return place, -_relative_difference(change, name), self._added
        return len(self._fields), 0.0, self._added

    def top(self) -> dict[ChangeKind, list[Change]]:
        """Return the kept changes of each kind, the most important first: of each spider as many as the others leave room for."""
        found = {}
        for kind, spiders in self._ranked.items():
            room = fair_shares([len(kept) for kept in spiders.values()], self._keep)
            shown = [ranked for kept, most in zip(spiders.values(), room, strict=True) for ranked in kept[:most]]
            found[kind] = [ranked.change for ranked in sorted(shown)]
        return found


@dataclass(order=True)
class _Ranked:
    rank: Rank
    change: Change = field(compare=False)


def fair_shares(sizes: Sequence[int], room: int) -> list[int]:
    """Return how many of each of several groups fit into `room`, if each group gets as many as the others leave.

    >>> fair_shares([300, 2, 40], 60)
    [29, 2, 29]
    """
    shares = [0] * len(sizes)
    by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
    for done, index in enumerate(by_size):
        shares[index] = min(sizes[index], room // (len(sizes) - done))
        room -= shares[index]
    return shares


def _relative_difference(change: Change, name: str) -> float:
    """Return by which share of the old value a number changed; 0 if there are no two numbers."""
    old, new = number(change.before.get(name)), number(change.after.get(name))
    if old is None or new is None:
        return 0.0
    return min(abs(new - old) / abs(old), _LARGEST_SHARE) if old else _LARGEST_SHARE
