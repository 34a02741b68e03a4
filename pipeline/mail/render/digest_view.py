"""Prepare the parts of a digest for its templates: summary, subject, sections, problems."""

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


def summary_line(summary: DigestSummary, words: Wording) -> str:
    """Return the digest's counts in one line, such as "3 new, 2 changed, 1 gone"."""
    parts = [words.counts[kind].format(n=summary.counts[kind]) for kind in ORDER if summary.counts.get(kind)]
    if summary.files:
        parts.append(words.files.format(n=len(summary.files)))
    fresh = sum(items.count for items in summary.rejected if items.fresh)
    if fresh:
        parts.append(words.rejected.format(n=fresh))
    lasting = [problem for problem in summary.problems if not problem.recovered]
    for template, suspect in ((words.failed, False), (words.doubtful, True)):
        spiders = [problem.spider for problem in lasting if problem.suspect is suspect]
        if spiders:
            parts.append(template.format(spiders=words.comma.join(spiders)))
    return words.comma.join(parts) or words.nothing


def subject_of(template: str | None, name: str, titles: Sequence[str], line: str, words: Wording, *, date: str) -> str:
    """Return the subject of a mail: the summary line, followed by the first titles.

    template: the user's template of the subject, in which the summary line and the titles replace {summary}; None means the default
    subject. name: name of the digest. titles: titles of the first items. line: the summary line. date: the text that replaces {date}.
    """
    summary = line + (words.colon + words.comma.join(titles) if titles else "")
    if template is None:
        return f"[{name}] {summary}"
    # str.format() is not used, because a template could then access attributes of Python objects.
    return template.replace("{name}", name).replace("{date}", date).replace("{summary}", summary)


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
