"""Choose what a digest reports to its own recipients and to each group of recipients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.mail.digests.judging import Judge, LeftOut, ToldChanges, questions_of
from pipeline.mail.filters import FilteredChanges
from pipeline.mail.render.page_comparison import with_net_pictures
from pipeline.mail.summary import (
    DigestSummary,
    NetChanges,
    checked_spiders,
    failed_files,
    fewer_values,
    rejected_items,
    summarize,
)
from pipeline.mail.top_changes import KEEP, NAMED
from pipeline.model import Change, ModelSummary
from pipeline.settings import DigestTable, GroupTable, Settings
from pipeline.store import Store
from pipeline.store.crawl.compare import Comparison
from pipeline.store.mail import digests as stored
from pipeline.store.mail.told_items import never_told


@dataclass(frozen=True)
class RecipientsContent:
    """The changes that pass the filters of some recipients, and the summary of these changes.

    table: the settings of the mail, with these recipients and without groups. recipients_of: 0 for the recipients of the digest itself, 1 for
    its first group, and so on. left_out: the changes that `only_if` leaves out; `changes` and `summary` are without them. model_summary: what a
    language model said about the changes; None if it was not asked.
    """

    table: DigestTable
    recipients_of: int
    changes: Iterable[Change]
    summary: DigestSummary
    model_summary: ModelSummary | None = None
    left_out: LeftOut = field(default_factory=LeftOut)


def contents_of(store: Store, settings: Settings, name: str, run_ids: Sequence[int], *, even_empty: bool = False,
                judge: Judge | None = None) -> list[RecipientsContent]:
    """Return what to report to the digest's own recipients and to each group of recipients.

    Recipients for whom there is nothing new are left out, unless the digest has `empty = "send"`. even_empty: whether to include
    these recipients anyway. judge: judges the changes for recipients with `only_if`; None leaves out no change.
    """
    table, runs = settings.digests[name], stored.runs_of(store, run_ids)
    comparisons = {spider: Comparison.of_spider(own) for spider, own in settings.spiders.items()}
    changes = NetChanges(store, runs, comparisons, never_told(store, name, run_ids))
    files = stored.files_of(store, run_ids)
    rejected, fewer, failed = rejected_items(store, runs), fewer_values(store, runs), failed_files(store, runs)
    found = []
    for position, recipients in enumerate((table, *table.groups)):
        if not recipients.everyone and not recipients.notify:
            continue
        filters = (table,) if recipients is table else (table, recipients)
        spiders = set(recipients.spiders or table.spiders)
        own: Iterable[Change] = changes
        by_item = any(wanted.filters_items for wanted in filters)
        if by_item or spiders != set(table.spiders):
            own = FilteredChanges(changes, filters)
        own_table = table.for_group(recipients) if isinstance(recipients, GroupTable) else table
        left_out = LeftOut()
        if judge is not None and (questions := questions_of(filters)):
            left_out = judge.left_out(own, questions, own_table)
            own = ToldChanges(own, left_out)
        # A filter on items cannot be applied to downloaded files, so recipients with a filter on items get no files.
        summary = summarize(own, [run for run in runs if run.spider in spiders],
                            [file for file in files if file.spider in spiders and not by_item], keep=KEEP, named=NAMED, important=table.important,
                            rejected=[items for items in rejected if items.spider in spiders],
                            fewer=[values for values in fewer if values.spider in spiders],
                            failed=[files for files in failed if files.spider in spiders and not by_item])
        with_net_pictures(summary, store.files, settings.spiders)
        if not all(wanted.problems for wanted in filters):
            summary.problems.clear()
            summary.rejected.clear()
            summary.fewer.clear()
            summary.incomplete.clear()
            summary.failed_files.clear()
        if not summary.has_news:
            summary.checked = checked_spiders(store, recipients.spiders or table.spiders)
        if summary.has_news or even_empty or table.empty == "send":
            found.append(RecipientsContent(own_table, position, own, summary, left_out=left_out))
    return found
