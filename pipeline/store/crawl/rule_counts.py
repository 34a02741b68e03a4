"""Read what the rules of a spider matched in a pass, and what they usually match.

The counts are part of the row of the pass, which the commit of each page updates in its own transaction (commit.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

from sqlalchemy import Connection, func, select

from pipeline.model import Outcome
from pipeline.store.crawl.compare import Coverage, RuleCount
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import downloads, passes, rejects, runs

USUAL_PASSES = 5
"""The number of earlier passes from which the usual share of a field or rule is computed."""


PIPELINE_FAILED = "an item pipeline of the spider failed"
"""The reason of rejected items begins so, if an item pipeline of the spider raised an exception for them."""
_FEW = 3
"""A share is far under the usual share only if at least this many values are missing."""

@dataclass(frozen=True)
class Usual:
    """The usual results of a spider: the median of its last good passes.

    fields: maps a field to the share of items (0 to 1) that have a value in the field. rules: maps a rule to its share (see `share`).
    pages_matched: maps a rule to the number of pages on which it matches. passes: the number of passes that were read.
    """

    fields: Mapping[str, float] = field(default_factory=dict)
    rules: Mapping[str, float] = field(default_factory=dict)
    pages_matched: Mapping[str, float] = field(default_factory=dict)
    passes: int = 0


def share(count: RuleCount) -> float | None:
    """Return the share (0 to 1) of the items, or of the pages, on which a rule matched; None if it was never applied.

    The share is of items if the rule is applied to items, and otherwise of pages.
    """
    if count.items:
        return count.matches / count.items
    return count.pages_matched / count.pages if count.pages else None


@dataclass(frozen=True)
class RuleRow:
    """A rule, or a field for which no rule is counted, in a table for people.

    count: what the rule matched; for a field, only `matches` and `items` are known. share: the share (0 to 1) of the items, or of the
    pages, on which the rule matched. usual: its usual share. Both are None if unknown.
    """

    name: str
    count: RuleCount
    share: float | None
    usual: float | None


def rule_rows(coverage: Coverage, usual: Usual) -> list[RuleRow]:
    """Return a row for each rule of a pass, and for each field of its items for which no rule is counted."""
    found = [RuleRow(name, count, share(count), usual.rules.get(name)) for name, count in coverage.rules.items()]
    ruled = {name.partition(".fields.")[2] for name in coverage.rules}
    return found + [RuleRow(name, RuleCount(matches=filled, items=coverage.items), filled / coverage.items, usual.fields.get(name))
                    for name, filled in coverage.fields.items() if name not in ruled]


def rows_of_pass(store: Store, spider: str, pass_id: int) -> list[RuleRow]:
    """Return the rows of a pass, each with the usual share of the passes before it."""
    with store.read() as connection:
        return rule_rows(of_pass(connection, pass_id), usual(connection, spider, before=pass_id))


def of_pass(connection: Connection, pass_id: int) -> Coverage:
    """Return what the rules matched in a pass, and how many of its items have each field."""
    return Coverage.of_row(connection.execute(select(passes.c.coverage).where(passes.c.id == pass_id)).scalar())


def usual(connection: Connection, spider: str, *, before: int | None = None) -> Usual:
    """Return the usual results of a spider, from its last passes that succeeded and are not suspect.

    before: read only passes older than the pass with this id; None means all passes.
    """
    wanted = select(passes.c.coverage).join(runs, runs.c.pass_id == passes.c.id).where(
        runs.c.spider == spider, runs.c.outcome == Outcome.SUCCEEDED.value, runs.c.suspect.is_(False), passes.c.closed_at.is_not(None))
    if before is not None:
        wanted = wanted.where(passes.c.id < before)
    found = [Coverage.of_row(row) for row in connection.execute(wanted.order_by(runs.c.ended_at.desc()).limit(USUAL_PASSES)).scalars()]
    fields: dict[str, list[float]] = defaultdict(list)
    rules: dict[str, list[float]] = defaultdict(list)
    matched: dict[str, list[int]] = defaultdict(list)
    for each in found:
        for name, filled in each.fields.items():
            fields[name].append(filled / each.items)
        for name, count in each.rules.items():
            if (matching := share(count)) is not None:
                rules[name].append(matching)
                matched[name].append(count.pages_matched)
    return Usual({name: _median(values) for name, values in fields.items()}, {name: _median(values) for name, values in rules.items()},
                 {name: _median(values) for name, values in matched.items()}, len(found))


def _median(values: Sequence[float]) -> float:
    """Return the median. The module `statistics` is not used, because importing it takes longer than all of this."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def is_far_under(found: int, of: int, usual: float) -> bool:
    """Return whether `found` of `of` is less than half of the usual share (0 to 1), and too few to be an accident.

    An accident is a difference of up to three standard deviations of the binomial distribution.
    """
    missing = usual * of - found
    return found < usual * of / 2 and missing >= max(_FEW, 3 * sqrt(of * usual * (1 - usual)))


def fewer_values(connection: Connection, spider: str, pass_id: int) -> list[RuleRow]:
    """Return the fields that far fewer items of a pass have than usual."""
    coverage, before = of_pass(connection, pass_id), usual(connection, spider, before=pass_id)
    return [RuleRow(name, RuleCount(matches=filled, items=coverage.items), filled / coverage.items, before.fields[name])
            for name, filled in coverage.fields.items()
            if name in before.fields and is_far_under(filled, coverage.items, before.fields[name])]


def requests_files(connection: Connection, pass_id: int) -> bool:
    """Return whether a pass has requested files to download."""
    return connection.execute(select(downloads.c.id).where(downloads.c.pass_id == pass_id).limit(1)).first() is not None


def failed_in_pipeline(connection: Connection, pass_id: int) -> tuple[int, str]:
    """Return how many items a pass has rejected because an item pipeline failed, and the first reason."""
    ended = select(func.count(), func.min(rejects.c.id)).join(runs, runs.c.id == rejects.c.run_id).where(
        runs.c.pass_id == pass_id, rejects.c.reason.startswith(PIPELINE_FAILED, autoescape=True))
    count, first = connection.execute(ended).one()
    return count, connection.execute(select(rejects.c.reason).where(rejects.c.id == first)).scalar_one() if count else ""


def rejected(connection: Connection, pass_id: int) -> tuple[int, str]:
    """Return how many items a pass rejected, and the most frequent reason."""
    number = func.count()
    rows = connection.execute(select(rejects.c.reason, number).join(runs, runs.c.id == rejects.c.run_id).where(
        runs.c.pass_id == pass_id).group_by(rejects.c.reason).order_by(number.desc(), rejects.c.reason)).all()
    return sum(row[1] for row in rows), rows[0].reason if rows else ""
