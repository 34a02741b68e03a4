"""What the page of a spider shows: its runs, rules, newest changes and downloads, and log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.heartbeat.http.operations.mending import proposed_rules
from pipeline.heartbeat.http.operations.runs import log_tail
from pipeline.heartbeat.http.operations.spiders import current_pause
from pipeline.model import Change, Run
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.console import lists
from pipeline.store.crawl.rule_counts import RuleRow, rows_of_pass
from pipeline.store.files.log_lines import LogLine
from pipeline.store.runs import runs
from pipeline.store.runs.paused_spiders import Pause

HISTORY = 50
NEWEST = 10
"""How many changes and downloads the page shows; pages of their own have all."""


@dataclass(frozen=True)
class SpiderDetails:
    """new_rules: the rules that are proposed for the spider, as lines; [] if there are none. new_rules_note: a sentence about them."""

    name: str
    history: list[Run]
    changes: list[Change]
    downloads: list[lists.DownloadRow]
    rules: list[RuleRow]
    log: Sequence[LogLine]
    new_rules: list[str]
    new_rules_note: str
    pause: Pause | None
    """The pause of now: the snapshot of the status is a little older, and a person who has just resumed the spider must not see it paused."""


def spider_details(store: Store, settings: Settings, mask: Callable[[str], str], name: str, now: datetime) -> SpiderDetails | None:
    """Return what the page of a spider shows; None if neither settings nor store contain the spider."""
    history = runs.history(store, name, limit=HISTORY)
    if name not in settings.spiders and not history:
        return None
    began = next((run for run in history if run.started_at is not None), None)
    return SpiderDetails(name, history, lists.changes_page(store, spider=name, limit=NEWEST), lists.downloads_page(store, name, limit=NEWEST),
                         rows_of_pass(store, name, began.pass_id) if began else [], log_tail(store, mask, began.id) if began else (),
                         *proposed_rules(store, mask, name, history), current_pause(store, name, now=now))
