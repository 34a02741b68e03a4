"""Prepare the parts of a digest for its templates: sections, problems, the period of its runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta, tzinfo

from pipeline.languages import Wording
from pipeline.languages.figures import moment, percent
from pipeline.languages.reasons import reasons
from pipeline.mail.summary import CheckedSpider, DigestSummary, RejectedItems, SpiderProblem
from pipeline.store.mail.digests import FailedFiles
from pipeline.text import clean_line

_MAX_PROBLEMS = 20
_MAX_REASONS = 3
_MAX_CHECKED = 20


@dataclass(frozen=True)
class ProblemView:
    """A problem of a spider, or of the digest itself if `spider` is "".

    first: whether the reader must know the problem before reading the items, because it says how far they can be trusted.
    """

    spider: str
    text: str
    first: bool = False


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
    first = moment(start, zone, words.date, words.lang)
    if start.date() == end.date():
        return first if end - start < timedelta(minutes=1) else words.period.format(start=first, end=f"{end:%H:%M}")
    return words.period.format(start=first, end=moment(end, zone, words.date, words.lang))


def checked(summary: DigestSummary, words: Wording, zone: tzinfo) -> list[str]:
    """Return for each spider what its last successful run read, and when, such as "books: 2 pages, 42 items, Sun 29 Nov 2026 08:00"."""
    lines = [f"{each.spider}{words.colon}{_checked(each, words, zone)}" for each in summary.checked[:_MAX_CHECKED]]
    left = len(summary.checked) - _MAX_CHECKED
    return [*lines, words.more.format(n=left)] if left > 0 else lines


def _checked(each: CheckedSpider, words: Wording, zone: tzinfo) -> str:
    if each.at is None:
        return words.never_checked
    at = moment(each.at, zone, words.date, words.lang)
    return words.comma.join([words.pages.format(n=each.pages), words.items.format(n=each.items), at])


def problems(summary: DigestSummary, words: Wording, notice: str) -> list[ProblemView]:
    """Return the problems to show: the failed or suspect runs of the spiders, then incomplete passes, failed downloads, rejected items, fields with few values.

    notice: a problem of the digest itself, which is shown first; "" if there is none.
    """
    views = [ProblemView("", notice, first=True)] if notice else []
    views += [replace(_problem(problem, words), first=not problem.recovered and (problem.suspect or problem.spider in summary.spider_counts))
              for problem in summary.problems]
    views += [ProblemView(each.spider, _with_reason(words.incomplete, _translated(each.reason, words)))
              for each in summary.incomplete]
    views += [_failed_files(files, words) for files in summary.failed_files]
    views += [_rejected(items, words) for items in summary.rejected]
    views += [ProblemView(each.spider, words.fewer.format(field=clean_line(each.field, 60), n=each.filled, total=each.items,
                                                          share=percent(each.usual, words.lang))) for each in summary.fewer]
    if not summary.total and not summary.files:
        views = [replace(view, first=True) for view in views]
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
    return ProblemView(problem.spider, _with_reason(words.comma.join(parts), _translated(problem.error, words)))


def _rejected(items: RejectedItems, words: Wording) -> ProblemView:
    told = [f"{_translated(one.reason, words, 120)} ({one.count})" for one in items.reasons[:_MAX_REASONS]]
    left = items.count - sum(one.count for one in items.reasons[:_MAX_REASONS])
    text = words.comma.join(told)
    return ProblemView(items.spider, _with_reason(words.rejected_of.format(n=items.count, spider=items.spider),
                                                  words.more_of.format(entries=text, n=left) if left > 0 else text))


def _failed_files(files: FailedFiles, words: Wording) -> ProblemView:
    told = [_translated(error, words) for error in files.errors]
    if files.count > len(told):
        told.append(words.more.format(n=files.count - len(told)))
    return ProblemView(files.spider, _with_reason(words.failed_files.format(n=files.count), words.semicolon.join(told)))


def _translated(reason: str, words: Wording, length: int = 300) -> str:
    return clean_line(reasons(words.lang).translate(reason), length)


def _with_reason(what: str, reason: str) -> str:
    return f"{what} — {reason}" if reason else what
