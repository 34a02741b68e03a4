"""Decide whether an item has changed, and whether a pass is suspect because its items lack fields.

Some fields can be ignored, and small changes of numbers can be left unreported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.model import PICTURE, Json, Page, is_same_picture
from pipeline.price import amount_of, same, same_currency
from pipeline.settings import SpiderTable

_EMPTY: tuple[Json, ...] = (None, "", [], {})


@dataclass(frozen=True)
class Comparison:
    """How an item is compared with its last reported state.

    ignore: the fields whose changes are not reported.
    min_change: maps a numeric field to the smallest change that is reported, and whether this is a percentage of the reported value.
    pictures: the fields with the records of pictures (see `PagePicture`), whose first value is not a change.
    """

    ignore: frozenset[str] = frozenset()
    min_change: Mapping[str, tuple[float, bool]] = field(default_factory=dict)
    pictures: frozenset[str] = frozenset()

    @classmethod
    def of_spider(cls, spider: SpiderTable) -> Comparison:
        pictures = frozenset([PICTURE]) if spider.spider == "watch" else frozenset[str]()
        if spider.items is None:
            return cls(pictures=pictures)
        return cls(frozenset(spider.items.ignore), spider.items.min_change, pictures)

    def same(self, reported: dict[str, Json], found: dict[str, Json]) -> bool:
        """Return whether there is no change to report.

        reported: the item's fields when a change was last reported. found: the fields now. Several small changes can add up to a change
        that is reported, because the fields are always compared with the last reported fields.
        """
        if reported == found:
            return True
        names = dict.fromkeys([*reported, *found])
        return all(name in self.ignore or same(reported.get(name), found.get(name))
                   or (name in self.pictures and is_same_picture(reported.get(name), found.get(name)))
                   or self._too_small(name, reported.get(name), found.get(name)) for name in names)

    def _too_small(self, name: str, before: Json, after: Json) -> bool:
        if name not in self.min_change or not same_currency(before, after):
            return False
        before, after = amount_of(before), amount_of(after)
        if before is None or after is None:
            return False
        amount, percent = self.min_change[name]
        limit = abs(before) * amount / 100 if percent else amount
        # A difference of exactly the amount counts; the tolerance covers the rounding of binary fractions.
        return bool(abs(after - before) < limit * (1 - 1e-9))

    def before(self, reported: dict[str, Json], found: dict[str, Json]) -> dict[str, Json]:
        """Return the fields to show as "before" in a change, in which ignored fields never appear as changed.

        reported: the item's fields when a change was last reported. found: the fields now. The result has the reported fields, but
        the ignored fields have their values from `found`.
        """
        reported = self.kept(reported, found)
        if not self.ignore:
            return reported
        kept = {name: found.get(name) if name in self.ignore else value for name, value in reported.items()
                if name not in self.ignore or name in found}
        return kept | {name: found[name] for name in self.ignore if name in found}

    def without_pictures(self, found: dict[str, Json]) -> dict[str, Json]:
        """Return the fields without pictures: that no page has one is no sign of a broken rule."""
        return {name: value for name, value in found.items() if name not in self.pictures}

    def kept(self, reported: dict[str, Json], found: dict[str, Json]) -> dict[str, Json]:
        """Return the fields with which the next state of the item is compared if there is no change to report.

        reported: the item's fields when a change was last reported. found: the fields now, of which a first picture is taken over.
        """
        first = {name: found[name] for name in self.pictures if name in found and reported.get(name) != found[name]
                 and is_same_picture(reported.get(name), found[name])}
        return reported | first if first else reported


class RuleCount(NamedTuple):
    """What one rule matched in a pass.

    pages: the number of pages to which the rule was applied. pages_matched: the number of these pages on which the rule matched.
    matches: the number of matches; for a field, the number of items in which the rule found a value. items: the number of items to
    which the rule was applied; 0 for a rule that is applied to whole pages. If an item is on several pages, it counts several times.
    """

    pages: int = 0
    pages_matched: int = 0
    matches: int = 0
    items: int = 0


class Obstacle(NamedTuple):
    """Why pages of a pass have none of the site's content.

    pages: the number of these pages. said: the reason for the first of them. url: the URL of the first of them.
    """

    pages: int
    said: str
    url: str


@dataclass
class Coverage:
    """How many items a pass saw, how many of these had a value in each field, and what each rule matched.

    items: the number of items. fields: maps the name of a field to the number of items with a value in the field. rules: maps the
    name of a rule to its counts. obstacle: why pages have none of the site's content; None if no page lacks it.
    """

    items: int = 0
    fields: dict[str, int] = field(default_factory=dict)
    rules: dict[str, RuleCount] = field(default_factory=dict)
    obstacle: Obstacle | None = None

    @classmethod
    def of_row(cls, row: Json) -> Coverage:
        if not row:
            return cls()
        return cls(row.get("items", 0), dict(row.get("fields", {})),
                   {name: RuleCount(*counts) for name, counts in row.get("rules", {}).items()},
                   Obstacle(*row["obstacle"]) if row.get("obstacle") else None)

    def as_row(self) -> dict[str, Json]:
        return {"items": self.items, "fields": self.fields, "rules": self.rules, "obstacle": self.obstacle}

    def add(self, found: Iterable[dict[str, Json]]) -> None:
        counts = self.fields
        for data in found:
            self.items += 1
            for name, value in data.items():
                counts[name] = counts.get(name, 0) + (bool(value) or value not in _EMPTY)

    def add_pages(self, pages: Iterable[Page]) -> None:
        """Add what rules matched on pages, and the pages that lack the site's content."""
        sums: dict[str, list[int]] = {}
        for page in pages:
            if page.obstacle:
                first = self.obstacle or Obstacle(0, page.obstacle, page.url)
                self.obstacle = first._replace(pages=first.pages + 1)
            for rule, (matches, items) in page.counts.items():
                if (found := sums.get(rule)) is None:
                    found = sums[rule] = [0, 0, 0, 0]
                found[0] += 1
                found[1] += matches > 0
                found[2] += matches
                found[3] += items
        for rule, found in sums.items():
            self.rules[rule] = RuleCount(*map(sum, zip(self.rules.get(rule, RuleCount()), found, strict=True)))

    def lacking(self, before: Coverage, wanted: Mapping[str, float]) -> tuple[str, str]:
        """Return the field of which this pass lacks values, and this makes the pass suspect; ("", "") if it is not suspect.

        A pass is suspect if a field is in fewer items than `wanted` requires, or if no item has a field that all items of the earlier
        pass had.
        before: the coverage of the earlier pass.
        wanted: maps a field to the share of items (0 to 1) that must have the field.
        """
        if not self.items:
            return "", ""
        for name, share in wanted.items():
            found = self.fields.get(name, 0) / self.items
            if found < share:
                return name, f"only {found:.0%} of the items have the field {name!r}; the `coverage` setting requires {share:.0%}"
        for name, count in before.fields.items():
            if count and count == before.items and not self.fields.get(name):
                return name, f"no item has the field {name!r}, although {_all(before.items)} of the previous pass had this field"
        return "", ""


def _all(number: int) -> str:
    return "the only item" if number == 1 else f"all {number} items"
