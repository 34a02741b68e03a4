"""`pipeline mend`: format a proposal of new rules as lines of text, and write it to the settings file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline import proposal
from pipeline.settings import Settings
from pipeline.settings.edit import SpiderEdit
from pipeline.text import counted, escape_line, shown_url


def lines(name: str, found: dict[str, Any]) -> Iterator[str]:
    """Yield the result of a search for new rules as lines of text. found: see pipeline.workers.pages.mend.perform."""
    if found["urls"]:
        yield escape_line(fetched(found))
    for problem in found["failed"]:
        yield escape_line(f"not fetched: {problem}")
    if not found["changes"]:
        yield escape_line(f"no new rules for {name}: {found['reason']}" if found["is_needed"] else f"{name}: {found['reason']}")
        if found["is_needed"]:
            yield from (escape_line(f"tried: {tried}") for tried in found["tried"])
        elif found["known"]:
            yield escape_line(found["agreement_line"])
        return
    yield from proposal.lines(found, width=0)
    yield ""
    yield escape_line(found["agreement_line"])


def apply(settings: Settings, name: str, found: dict[str, Any]) -> Iterator[str]:
    """Write the proposed rules to the settings file, and yield what was done. Raises SettingsError."""
    edit = SpiderEdit(settings.file, name, found["changes"])
    copy = edit.apply()
    yield f"{edit.path} was changed; the file as it was is {copy.name}"
    yield f"`pipeline reload` gives a running service the new rules; `pipeline run {name}` runs the spider with them now"


def fetched(found: dict[str, Any]) -> str:
    """Return on which pages the search was made, as a line."""
    return f"looked for {counted(found['known'], 'stored item')} on {counted(len(found['urls']), 'page')}: {', '.join(map(shown_url, found['urls']))}"
