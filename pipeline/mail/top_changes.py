"""Keep the most important changes of many.

Few enough for the memory, and a fair share of each spider's.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from os.path import commonprefix

from pipeline.mail.filters import number
from pipeline.model import PICTURE, Change, ChangeKind

KEEP = 60
"""Maximum number of changes of one kind that a mail shows in full."""
NAMED = 500
"""Maximum number of changes of one kind that a mail names."""
_LARGE, _EXCERPT, _CONTEXT = 5_000, 1_000, 200
"""If a change that is only named has more characters, its values are kept up to a length, from some characters before the first difference."""
_LARGEST_SHARE = 1e9
Rank = tuple[int, float, int]
"""Where a change stands: the place of its first important field, its relative difference (negated), the number of the change."""


class TopChanges:
    """Counts changes, and keeps the most important ones of each kind.

    A change of an important field is more important than others; among changes of the same field, the larger relative difference is.
    Otherwise the order is that in which the changes are added.
    """

    def __init__(self, keep: int, important: Sequence[str] = (), *, named: int = 0) -> None:
        """keep: maximum number of changes of a kind that are kept whole. important: the names of the important fields, the most important first.
        named: maximum number of changes of a kind that are kept at all. Of those above `keep`, long values are shortened."""
        self._keep = keep
        self._named = max(keep, named)
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
        whole, allowed = (max(1, min(most, 4 * most // len(spiders))) for most in (self._keep, self._named))
        ranked = _Ranked(self._rank(change), change)
        if len(kept) < allowed or ranked.rank < kept[-1].rank:
            place = bisect(kept, ranked)
            kept.insert(place, ranked)
            del kept[allowed:]
            for each in kept[max(place, whole):][:1]:  # it is the first change that is not kept whole; those behind it are shortened already
                each.change = shortened(each.change)

    def _rank(self, change: Change) -> Rank:
        if change.kind is ChangeKind.CHANGED and self._fields:
            changed = set(change.fields)
            for place, name in enumerate(self._fields):
                if name in changed:
                    self.important.add(change.spider)
                    return place, -_relative_difference(change, name), self._added
        return len(self._fields), 0.0, self._added

    def kept(self) -> tuple[dict[ChangeKind, list[Change]], dict[ChangeKind, list[Change]]]:
        """Return the first `keep` changes of each kind, and the others of which there are at most `named` with them; the most important first.

        Of each spider, there are as many as the others leave room for.
        """
        top, further = {}, {}
        for kind, spiders in self._ranked.items():
            first, others = fair_choice([ranked.change for ranked in sorted(chain.from_iterable(spiders.values()))], self._keep)
            top[kind], further[kind] = first, fair_choice(others, self._named - len(first))[0]
        return top, further


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


def fair_choice(changes: Sequence[Change], room: int, first: Collection[int] = ()) -> tuple[list[Change], list[Change]]:
    """Return the changes for which there is room, of each spider as many as the others leave room for, and the others; both in their order.

    first: ids of the changes that are chosen before the others of their spider.
    """
    spiders: dict[str, list[int]] = {}
    for position in sorted(range(len(changes)), key=lambda position: changes[position].id not in first):
        spiders.setdefault(changes[position].spider, []).append(position)
    groups = list(spiders.values())[::-1]  # what is left of the room goes to the last ones: to the spiders with the most important changes
    shares = fair_shares([len(positions) for positions in groups], room)
    chosen = {position for positions, share in zip(groups, shares, strict=True) for position in positions[:share]}
    return ([change for position, change in enumerate(changes) if position in chosen],
            [change for position, change in enumerate(changes) if position not in chosen])


def shortened(change: Change) -> Change:
    """Return a change without most of its long values, if it is large: what a mail that only names it, or a language model, is shown."""
    before, after = dict(change.before), dict(change.after)
    sizes = {name: max(len(str(each.get(name, ""))) for each in (before, after)) for name in before | after}
    names = [name for name, size in sizes.items() if size > _EXCERPT and name != PICTURE]
    if not names or sum(sizes.values()) <= _LARGE:
        return change
    for name in names:
        texts = [str(each[name]) for each in (before, after) if each.get(name) is not None]
        start = max(0, len(commonprefix(texts)) - _CONTEXT) if len(texts) > 1 and texts[0] != texts[1] else 0  # noqa: RUF071  these are texts, not paths
        for each in (before, after):
            if each.get(name) is not None:
                each[name] = str(each[name])[start:start + _EXCERPT]
    return replace(change, before=before, after=after)


def _relative_difference(change: Change, name: str) -> float:
    """Return by which share of the old value a number changed; 0 if there are no two numbers."""
    old, new = number(change.before.get(name)), number(change.after.get(name))
    if old is None or new is None:
        return 0.0
    return min(abs(new - old) / abs(old), _LARGEST_SHARE) if old else _LARGEST_SHARE
