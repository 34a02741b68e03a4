"""The new rules that are proposed for a spider: what its page shows of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import proposal
from pipeline.model import Json, Outcome, Run
from pipeline.store import Store
from pipeline.store.crawl import mendings
from pipeline.store.crawl.mendings import MendingState, StoredMending
from pipeline.text import counted, escape_line, shown_url


@dataclass(frozen=True)
class MendingReport:
    """A search for new rules. id: identifies the proposed change; "" if there is none. diff: the change of the settings file, as lines.

    rows: items before and after the change. note: what was found, as a sentence. details: on which pages, what was tried, and warnings.
    is_applied: whether the settings file has the rules already.
    """

    id: str
    diff: Sequence[str]
    rows: Sequence[Mapping[str, Json]]
    note: str
    details: Sequence[str] = ()
    is_applied: bool = False


def proposal_id(report: Mapping[str, Any]) -> str:
    """Return a hash of a proposed change, with which a person says which change is to be applied; "" if none is proposed."""
    if not report.get("changes"):
        return ""
    return hashlib.sha256(json.dumps([report["changes"], report.get("diff", "")], sort_keys=True).encode()).hexdigest()[:32]


def proposal_of(report: Mapping[str, Any], mask: Callable[[str], str], *, is_applied: bool = False) -> MendingReport:
    """Return a search as its page shows it. report: see pipeline.workers.pages.mend.perform, or {"reason": …} of a search that failed."""
    number = proposal_id(report)
    details = []
    if report.get("urls"):
        details.append(f"looked for {counted(report['known'], 'stored item')} on {counted(len(report['urls']), 'page')}: {', '.join(map(shown_url, report['urls']))}")
    details += [f"not fetched: {problem}" for problem in report.get("failed", ())]
    if number:
        note = report["agreement_line"]
        details += [f"warning: {text}" for text in report["notes"]]
    else:
        note = report.get("reason") or ""
        details += [f"tried: {text}" for text in report.get("tried", ())] if report.get("is_needed") else []
    return MendingReport(number, [mask(escape_line(line)) for line in report.get("diff", "").splitlines()], proposal.sample_rows(report) if number else [],
                         mask(escape_line(note)), [mask(escape_line(text)) for text in details], is_applied)


def stored_proposal(store: Store, mask: Callable[[str], str], name: str) -> MendingReport | None:
    """Return the last search that the service has made after a suspect run; None if there was none, or if it has not ended."""
    found = mendings.of_spider(store, name)
    if found is None or found.state is MendingState.WAITING:
        return None
    return proposal_of(found.report, mask, is_applied=found.state in (MendingState.APPLYING, MendingState.APPLIED))


def proposed_rules(store: Store, mask: Callable[[str], str], name: str, history: Sequence[Run]) -> tuple[list[str], str]:
    """Return the lines of the new rules for a spider, and a sentence about them; ([], "") if its last success is not suspect."""
    last = next((run for run in history if run.outcome is Outcome.SUCCEEDED), None)
    found = mendings.of_spider(store, name) if last is not None and last.suspect else None
    if found is None or last is None or found.pass_id != last.pass_id or found.state is MendingState.WAITING:
        return [], ""
    rules = [mask(line) for line in proposal.lines(found.report)]
    return (rules, _sentence(found, name)) if rules else ([], mask(escape_line(f"No new rules were found: {found.report.get('reason', '')}")))


def _sentence(found: StoredMending, name: str) -> str:
    done = "These rules were written to the settings file" if found.state is MendingState.APPLIED else \
        f"`pipeline mend {name} --apply` writes these rules to the settings file"
    return f"{done} ({found.report['agreement_line']})."
