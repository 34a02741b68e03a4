"""Divide the items of a digest into groups, such as one a spider, and into sections by kind of change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.languages import Wording
from pipeline.mail.render.digest_view import heading
from pipeline.mail.render.item_view import ItemView
from pipeline.mail.summary import DigestSummary
from pipeline.mail.top_changes import fair_choice, fair_shares
from pipeline.model import Change, ChangeKind

MAX_GROUPS = 40
"""Maximum number of groups in a mail. The others are one group, so that the headings do not fill the mail."""
_PLAIN = 3
"""Up to this number of new or changed items, a mail with nothing else has no heading above them."""


@dataclass(frozen=True)
class Section:
    """The changes of one kind, of the whole digest or of one group.

    count: number of changes of this kind. items: the items that are shown, at the end those that are only named. more: text that says how many items are not shown; "" if
    all are shown.
    """

    kind: str
    heading: str
    count: int
    items: Sequence[ItemView]
    more: str


@dataclass(frozen=True)
class Group:
    """The changes of one spider, or of the spiders with one tag, by kind.

    heading: "" if the digest is not grouped. spider: name of the spider; "" if the group is not that of one spider. plain: whether the
    sections need no headings, because the mail shows only a few items of one kind.
    """

    heading: str
    spider: str
    count: int
    sections: Sequence[Section]
    plain: bool = False


@dataclass(frozen=True)
class Grouping:
    """The groups of the spiders of a digest, in the order of the mail.

    groups: for each spider, the name of its group; empty if the digest is not grouped. by_spider: whether each group is one spider. other:
    heading of the group without a name.
    """

    groups: Mapping[str, str] = field(default_factory=dict)
    by_spider: bool = False
    other: str = ""

    def of(self, spider: str) -> str:
        """Return the name of the group of a spider; "" if it has none."""
        return spider if self.by_spider else self.groups.get(spider, "")

    def in_turn(self, changes: Sequence[Change]) -> list[Change]:
        """Return the changes with the first of each group before the second of any, the groups in their order."""
        order = {group: position for position, group in enumerate(dict.fromkeys(map(self.of, self.groups)))}
        counts: Counter[str] = Counter()
        ranked = []
        for number, change in enumerate(changes):
            group = self.of(change.spider)
            counts[group] += 1
            ranked.append((counts[group], order.get(group, len(order)), number))
        return [changes[number] for _, _, number in sorted(ranked)]

    def heading(self, group: str) -> str:
        return heading(group) or self.other


class ShownItems:
    """The items that a mail shows: at most a number of each kind, of which each group gets a fair share, and others that it only names."""

    def __init__(self, summary: DigestSummary, grouping: Grouping, most: int, view: Callable[[ChangeKind, int], ItemView],
                 first: Collection[int] = (), *, named: int = 0, brief: Callable[[Change], ItemView] | None = None) -> None:
        """most: maximum number of items of each kind. view: returns the view of an item by its kind and its position in `DigestSummary.top`.
        first: ids of the changes that are left out last. named: maximum number of items of each kind with those that are only named. brief: returns
        the view of an item that is only named; None names none."""
        self._summary = summary
        self._grouping = grouping if most or named else Grouping()
        self._items: dict[ChangeKind, list[tuple[str, ItemView]]] = {}
        """The items by kind, each with its spider."""
        self.shown: set[int] = set()
        """The ids of the changes that are shown."""
        for kind in summary.order:
            of_groups: dict[str, list[int]] = {}
            for position, change in enumerate(summary.top[kind]):
                of_groups.setdefault(grouping.of(change.spider), []).append(position)
            shares = fair_shares([len(positions) for positions in of_groups.values()], most)
            chosen = sorted(position for positions, share in zip(of_groups.values(), shares, strict=True)
                            for position in sorted(positions, key=lambda position: summary.top[kind][position].id not in first)[:share])
            self.shown.update(summary.top[kind][position].id for position in chosen)
            self._items[kind] = [(summary.top[kind][position].spider, view(kind, position)) for position in chosen]
            if brief is not None and named > len(chosen):
                others = [change for change in [*summary.top[kind], *summary.further.get(kind, ())] if change.id not in self.shown]
                others, _ = fair_choice(others, named - len(chosen), first)
                self.shown.update(change.id for change in others)
                self._items[kind] += [(change.spider, brief(change)) for change in others]

    def sections(self, words: Wording, table: str) -> list[Section]:
        """Return a section for each kind of change. table: name of the attached table with all changes; "" if no table is attached."""
        items = {kind: [view for _, view in found] for kind, found in self._items.items()}
        return _sections(self._summary.counts, items, words, table)

    def groups(self, words: Wording, table: str) -> list[Group]:
        """Return the groups with their sections; one group without a heading if the digest is not grouped."""
        summary, grouping = self._summary, self._grouping
        members: dict[str, list[str]] = {}
        for spider in dict.fromkeys([*grouping.groups, *summary.spider_counts]):
            if spider in summary.spider_counts:
                members.setdefault(grouping.of(spider), []).append(spider)
        named = [(grouping.heading(name), spiders) for name, spiders in sorted(
            members.items(), key=lambda member: summary.important.isdisjoint(member[1]))]
        if len(named) > MAX_GROUPS:
            named[MAX_GROUPS - 1:] = [(words.other, [spider for _, spiders in named[MAX_GROUPS - 1:] for spider in spiders])]
        found: list[Group] = []
        for text, spiders in named:
            counts = {kind: sum(summary.spider_counts[spider].get(kind, 0) for spider in spiders) for kind in summary.order}
            items = {kind: [view for spider, view in self._items[kind] if spider in spiders] for kind in summary.order}
            sections = _sections(counts, items, words, table)
            found.append(Group(text, spiders[0] if grouping.by_spider and len(spiders) == 1 else "", sum(counts.values()), sections,
                               plain=not text and _is_plain(sections)))
        return found


def _is_plain(sections: Sequence[Section]) -> bool:
    return len(sections) == 1 and sections[0].kind in (ChangeKind.NEW.value, ChangeKind.CHANGED.value) and sections[0].count <= _PLAIN


def _sections(counts: Mapping[ChangeKind, int], items: Mapping[ChangeKind, Sequence[ItemView]], words: Wording, table: str) -> list[Section]:
    """Return a section for each kind of change, in the order of `items`."""
    found = []
    for kind in items:
        if count := counts.get(kind, 0):
            left = count - len(items[kind])
            more = words.more_attached.format(n=left, name=table) if table else words.more.format(n=left)
            found.append(Section(kind.value, words.headings[kind], count, items[kind], more if left else ""))
    return found
