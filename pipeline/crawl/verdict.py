"""Determine how a crawl ended.

Its outcome, whether the pass is complete, and the notes for the summary line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.crawl.context import CrawlContext, Failures
from pipeline.crawl.extract.links import left_out_note
from pipeline.crawl.rule_notes import lost_pages, nothing_found, obstacle_note, rule_notes, yielded_nothing
from pipeline.model import FrontierState, Outcome
from pipeline.session import UNCHECKABLE
from pipeline.store.crawl import frontier as stored_frontier
from pipeline.store.crawl import refusals, rule_counts
from pipeline.store.crawl.rule_counts import PIPELINE_FAILED
from pipeline.store.runs.runs import Ending, last_complete
from pipeline.text import counted, shown_url

_States = Mapping[FrontierState, int]


def verdict(context: CrawlContext, *, stopped: bool) -> Ending:
    """Return the ending of a finished crawl. stopped: whether a stop was requested."""
    ending = _ending(context, stopped=stopped)
    if ending.outcome is Outcome.SUCCEEDED or not context.archive_notes:
        return ending
    return replace(ending, error=_joined(ending.error, *context.archive_notes))  # the other notes are only about a pass that was completed


def _ending(context: CrawlContext, *, stopped: bool) -> Ending:
    if context.fatal is not None:
        return Ending(Outcome.FAILED, str(context.fatal), type(context.fatal).__name__, keep_open=True,
                      retry=context.fatal.retry)
    states = stored_frontier.counts(context.store, context.run.pass_id)
    left = states.get(FrontierState.WAITING, 0) + states.get(FrontierState.TENTATIVE, 0)
    aside = states.get(FrontierState.ASIDE, 0)
    first_aside = stored_frontier.first_set_aside(context.store, context.run.pass_id) if aside else ""
    return (_unfinished(context, left=left, stopped=stopped) or _without_pages(context, states, first_aside)
            or _succeeded(context, states, left=left, first_aside=first_aside))


def _unfinished(context: CrawlContext, *, left: int, stopped: bool) -> Ending | None:
    """Return the ending of a crawl that was stopped, or that has pages left although it reached no limit; None for any other
    crawl.
    """
    failures = context.failures
    if stopped and left:
        return Ending(Outcome.STOPPED, f"stopped with {counted(left, 'page')} left to fetch", keep_open=True)
    if left and not context.capped:
        return Ending(Outcome.FAILED, failures.first or failures.first_by_robots or f"ended with {counted(left, 'page')} left to fetch",
                      failures.first_kind or "SpiderError", keep_open=True, retry=bool(failures.transient))
    return None


def _without_pages(context: CrawlContext, states: _States, first_aside: str) -> Ending | None:
    """Return the ending of a crawl in which no page succeeded; None for any other crawl."""
    failures = context.failures
    first = failures.first or failures.first_by_robots
    if (first or states.get(FrontierState.ASIDE, 0)) and not states.get(FrontierState.DONE, 0):
        return Ending(Outcome.FAILED, first or first_aside, failures.first_kind or "SpiderError",
                      retry=bool(failures.transient))
    if not states and not context.progress.items:
        return Ending(Outcome.FAILED, "the spider requested no page", "SpiderError")
    return None


def _succeeded(context: CrawlContext, states: _States, *, left: int, first_aside: str) -> Ending:
    """Return the ending of a crawl that succeeded.

    The pass is complete unless the crawl may have missed content of the site.
    """
    failures = context.failures
    aside = states.get(FrontierState.ASIDE, 0)
    complete = not (left or context.capped or failures.transient or failures.spider or aside
                    or states.get(FrontierState.MISSED, 0))
    with context.store.read() as connection:
        unprocessed, why = rule_counts.failed_in_pipeline(connection, context.run.pass_id)
    refused, given_before = refusals.refused(context.store, context.run)
    empty = refusals.newly_empty(context.store, context.run)
    if (refused and given_before) or empty or unprocessed or not context.session.checkable:
        complete = False  # otherwise the items that were on these pages would be reported as gone
    wanted = context.table.items.coverage if context.table.items is not None else {}
    doubt, notes, obstacles = _of_rules(context, wanted if complete else None)
    note = _joined(
        *notes,
        (f"{counted(len(empty), 'page')} that had items before came back empty or as binary data; the first: {shown_url(empty[0])}; "
         "exclude them with `deny` if they are meant to be empty") if len(empty) > obstacles + failures.ignored + failures.handled else "",
        refusals_note(refused, "page"),
        f"{counted(aside, 'page')} skipped; the first: {first_aside}" if aside else "",
        _failures_note(failures, context.progress.pages),
        f"{counted(unprocessed, 'item')} rejected because an item pipeline of the spider failed; the first: {why.removeprefix(PIPELINE_FAILED).lstrip(': ')}"
        if unprocessed else "",
        f"{counted(failures.ignored, 'request')} ignored by middlewares of the spider; the first: {failures.first_ignored}"
        if failures.ignored else "",
        f"{counted(failures.handled, 'page')} with exceptions that the spider has handled; the first: {failures.first_handled}"
        if failures.handled else "",
        *context.notes, left_out_note(context.offsite))
    if not note and not context.session.checkable:
        note = UNCHECKABLE
    if not note and not complete and context.capped:
        note = context.capped_by or "closed early"
    failed = failures.transient + failures.permanent
    return Ending(Outcome.SUCCEEDED, note, failures.first_kind if failed else "", complete=complete, coverage=wanted,
                  keep_unseen=context.keep_unseen, doubt=doubt, allow_empty=context.table.allow_empty)


def _of_rules(context: CrawlContext, wanted: Mapping[str, float] | None) -> tuple[str, list[str], int]:
    """Return why the whole pass is suspect because of its rules, the notes about its rules, and the number of pages with an obstacle.

    The first value is "" if the pass is not suspect.
    wanted: the shares of the items that must have a field, which `end_run` compares; None if it does not compare them.
    """
    run, table = context.run, context.table
    with context.store.read() as connection:
        coverage = rule_counts.of_pass(connection, run.pass_id)
        rejected = rule_counts.rejected(connection, run.pass_id)
        requested = rule_counts.requests_files(connection, run.pass_id)
        usual = rule_counts.usual(connection, run.spider, before=run.pass_id)
        before = last_complete(connection, run) if wanted is not None else None
    without = coverage.lacking(before, wanted)[0] if before is not None and wanted is not None else ""
    lost = lost_pages(coverage, before) if before is not None and table.is_built_in else ""
    found_nothing, obstacle = nothing_found(table, coverage, rejected), obstacle_note(coverage)
    yielded = "" if table.allow_empty else yielded_nothing(table, coverage, rejected, downloads=requested)
    notes = [*filter(None, [yielded]), *rule_notes(table, coverage, usual, without=without)]
    pages = coverage.obstacle.pages if coverage.obstacle is not None else 0
    if found_nothing and obstacle and not table.allow_empty:
        return (found_nothing if obstacle in found_nothing else f"{found_nothing}; {obstacle}"), notes, pages
    return ("" if table.allow_empty else found_nothing) or lost, [*filter(None, [obstacle]), *notes], pages


def refusals_note(refused: Mapping[tuple[int, str], int], what: str) -> str:
    """Return a note such as "3 pages refused: 403 from site.example"; "" if nothing was refused.

    refused: the number of refusals by HTTP status and host. what: the word for what was refused in the note: "page" or "file".
    """
    if not refused:
        return ""
    by = ", ".join(f"{status} from {host}" for status, host in sorted(refused, key=lambda each: -refused[each])[:3])
    return f"{counted(sum(refused.values()), what)} refused: {by}{', …' if len(refused) > 3 else ''}"


def _failures_note(failures: Failures, pages: int) -> str:
    failed = failures.transient + failures.permanent - failures.robots
    by_robots = counted(failures.robots, "page") if failures.robots else ""
    return _joined(
        f"{failed} of {counted(pages, 'page')} failed; the first: {failures.first}" if failed else "",
        f"{by_robots} forbidden by robots.txt; the first: {failures.first_by_robots}" if by_robots else "")



def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
