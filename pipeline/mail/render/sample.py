"""Render the templates of a digest on invented data, to find their errors before it is due."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from pathlib import Path

from pipeline.mail.render.model_summary_view import SummaryOptions
from pipeline.mail.render.render import RenderOptions, render_template
from pipeline.mail.summary import ORDER, DigestSummary, RejectedItems, SpiderProblem
from pipeline.model import Change, ChangeKind, Json, ModelSummary, Outcome, StoredFile, SummaryClaim
from pipeline.settings import Language
from pipeline.store.mail.digests import RejectCount

_SPIDER = "sample"


def check_template(folder: Path, template: str, language: Language, zone: tzinfo, *, now: datetime) -> None:
    """Render a template of the folder on invented data. Raises UsageError if the template cannot be rendered.

    The template is rendered three times: with changes of each kind, problems, rejected items and files; the same with a summary of a language
    model; and with nothing new. template: digest.html or digest.txt.
    """
    said = SummaryOptions(ModelSummary((SummaryClaim("A sample sentence", (1, 2)),), (2, 1), "sample", "localhost", 4))

    nothing_new = DigestSummary([_SPIDER], {}, {kind: [] for kind in ORDER}, [], set(), [], [])
    for summary, model_summary in ((_full_summary(now), None), (_full_summary(now), said), (nothing_new, None)):
        render_template(template, summary, RenderOptions(
            name=_SPIDER, subject=None, language=language, zone=zone, now=now, templates=folder, model_summary=model_summary))


def _full_summary(now: datetime) -> DigestSummary:
    earlier: dict[str, Json] = {"title": "A sample", "url": "https://example.com/1", "price": 10, "stock": None}
    later = earlier | {"title": "A sample <b>&</b>", "price": 12.5, "tags": ["one", "two"]}
    states = {ChangeKind.NEW: ({}, later), ChangeKind.BACK: (earlier, later), ChangeKind.CHANGED: (earlier, later), ChangeKind.GONE: (earlier, {})}
    changes = {kind: [Change(number, _SPIDER, f"https://example.com/{number}", kind, now, 1, before, after)]
               for number, (kind, (before, after)) in enumerate(states.items(), 1)}
    file = StoredFile(1, _SPIDER, 1, "https://example.com/a.pdf", "sample/a.pdf", "a.pdf", 12_345, "0" * 64, "application/pdf", now)
    return DigestSummary(
        spiders=[_SPIDER], counts=dict.fromkeys(states, 1), top=changes, fields=list(later), fields_changed={"title", "price", "tags"},
        problems=[SpiderProblem(_SPIDER, 1, 2, Outcome.FAILED, "a sample error", suspect=True, recovered=False)], files=[file],
        rejected=[RejectedItems(_SPIDER, 1, [RejectCount(_SPIDER, "a sample reason", 1, "https://example.com/2")], fresh=True)], start=now - timedelta(minutes=5), end=now)
