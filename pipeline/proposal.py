"""A proposal of new rules as lines of text, for the command, alerts and the spider's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.model import Json
from pipeline.sample_rows import row_lines
from pipeline.text import escape_line

_ITEMS = 3
_WIDTH = 80
_TITLES = ("title", "name", "headline")


@dataclass(frozen=True)
class ProposalTexts:
    """The fixed texts of a proposal. warning: the text with a note in place of {note}. more: what names the fields without a column, in place of {names}."""

    item: str = "item"
    before: str = "before"
    after: str = "after"
    warning: str = "warning: {note}"
    more: str = "more fields: {names}"


ENGLISH = ProposalTexts()


def lines(report: dict[str, Any], *, width: int = _WIDTH, texts: ProposalTexts = ENGLISH) -> Iterator[str]:
    """Yield a proposal as lines: the diff of the settings file, items before and after, and warnings. Nothing is yielded if there is no proposal.

    report: see pipeline.workers.pages.mend.perform. width: the width of the table of items in columns; 0 asks the terminal. Control
    characters are escaped.
    """
    if not report.get("diff"):
        return
    yield from map(escape_line, report["diff"].splitlines())
    yield ""
    yield from map(escape_line, row_lines(sample_rows(report, texts), width, more=texts.more))
    yield from (escape_line(texts.warning.format(note=note)) for note in report["notes"])


def sample_rows(report: Mapping[str, Any], texts: ProposalTexts = ENGLISH) -> list[dict[str, Json]]:
    """Return items before and after, with the field that names them and the fields whose rules change."""
    return list(_rows(report, texts))


def _rows(report: Mapping[str, Any], texts: ProposalTexts) -> Iterator[dict[str, Json]]:
    """Yield items before and after, with the field that names them and the fields whose rules change."""
    names: list[str] = []
    for before, after in list(zip(report["before"], report["after"], strict=True))[:_ITEMS]:
        changed = report["changes"].get("items", {}).get("fields", {})
        title = next((name for name in (*_TITLES, *before) if name in before), "")
        names = names or list(dict.fromkeys([title, *(name for name in before if name in changed or not changed)]))
        yield {texts.item: texts.before, **{name: before.get(name) for name in names}}
        yield {texts.item: texts.after, **{name: after.get(name) for name in names}}
