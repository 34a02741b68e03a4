"""Prepare the parts of a digest for its templates: sections, problems, the period of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo

from babel.dates import format_datetime

from pipeline.languages import Wording
from pipeline.languages.figures import percent
from pipeline.languages.phrase import locale_of
from pipeline.languages.reasons import reasons
from pipeline.mail.render.item_view import ItemView
from pipeline.mail.summary import ORDER, DigestSummary, RejectedItems, SpiderProblem
from pipeline.model import ChangeKind
from pipeline.text import clean_line

_MAX_PROBLEMS = 20
_MAX_REASONS = 3


@dataclass(frozen=True)
class Section:
    """The section of a digest that shows the changes of one kind.

    count: number of changes of this kind. items: the items that are shown. more: text that says how many items are not shown; "" if
    all are shown.
    """

    kind: str
    heading: str
    count: int
    items: Sequence[ItemView]
    more: str


@dataclass(frozen=True)
class ProblemView:
    """A problem of a spider, or of the digest itself if `spider` is ""."""

    spider: str
    text: str


def heading(name: str) -> str:
    """Return the name of a digest as a heading, such as "Price watch" for price_watch."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def period(summary: DigestSummary, words: Wording, zone: tzinfo) -> str:
    """Return a text with the time when the first run started and the time when the last run ended.

    The text is "" if there are no runs.

    zone: time zone of the digest.
    """
    if summary.start is None or summary.end is None:
        return ""
    start, end = summary.start.astimezone(zone), summary.end.astimezone(zone)
    first = format_datetime(start, words.date, locale=locale_of(words.lang))
    if start.date() == end.date():
        return first if end - start < timedelta(minutes=1) else words.period.format(start=first, end=f"{end:%H:%M}")
    return words.period.format(start=first, end=format_datetime(end, words.date, locale=locale_of(words.lang)))


def sections(summary: DigestSummary, items: Mapping[ChangeKind, Sequence[ItemView]], words: Wording, table: str) -> list[Section]:
    """Return a section for each kind of change that the digest contains.

    items: by kind, the items to show. table: name of the attached table with all changes; "" if no table is attached.
    """
    found = []
    for kind in ORDER:
        count = summary.counts.get(kind, 0)
        if count:
            left = count - len(items[kind])
            more = words.more_attached.format(n=left, name=table) if table else words.more.format(n=left)
            found.append(Section(kind.value, words.headings[kind], count, items[kind], more if left else ""))
    return found


def problems(summary: DigestSummary, words: Wording, notice: str) -> list[ProblemView]:
    """Return the problems to show: the failed or suspect runs of the spiders, then their rejected items and fields with few values.

    notice: a problem of the digest itself, which is shown first; "" if there is none.
    """
    views = [ProblemView("", notice)] if notice else []
    views += [_problem(problem, words) for problem in summary.problems]
    views += [_rejected(items, words) for items in summary.rejected]
    views += [ProblemView(each.spider, words.fewer.format(field=clean_line(each.field, 60), n=each.filled, total=each.items,
                                                          share=percent(each.usual, words.lang))) for each in summary.fewer]
    left = len(views) - _MAX_PROBLEMS
    return [*views[:_MAX_PROBLEMS], ProblemView("", words.more.format(n=left))] if left > 0 else views


def _problem(problem: SpiderProblem, words: Wording) -> ProblemView:
    parts: list[str] = []
    if problem.suspect:
        parts.append(words.suspect)
    if problem.outcome is not None:
        parts.append(words.outcomes[problem.outcome] if problem.total == 1 else
                     words.failed_runs.format(n=problem.bad, total=problem.total))
    if problem.recovered:
        parts.append(words.recovered)
    return ProblemView(problem.spider, _with_reason(words.comma.join(parts), clean_line(reasons(words.lang).translate(problem.error), 300)))


def _rejected(items: RejectedItems, words: Wording) -> ProblemView:
    told = [f"{clean_line(reasons(words.lang).translate(one.reason), 120)} ({one.count})" for one in items.reasons[:_MAX_REASONS]]
    left = items.count - sum(one.count for one in items.reasons[:_MAX_REASONS])
    if left > 0:
        told.append(words.more.format(n=left))
    return ProblemView(items.spider, _with_reason(words.rejected_of.format(n=items.count, spider=items.spider),
                                                  words.comma.join(told)))


def _with_reason(what: str, reason: str) -> str:
    return f"{what} — {reason}" if reason else what
