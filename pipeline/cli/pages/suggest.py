"""Format the proposals of `pipeline suggest` for a terminal.

What was found, sample rows, how sure it is, the TOML.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import PipelineError, UsageError
from pipeline.sample_rows import row_lines
from pipeline.text import clean_line, counted

_INDENT = "   "
_NOTE = 400


def chosen(found: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the proposal with this number, from 1. Raises PipelineError if the page has no list, UsageError for another number."""
    proposals = found["proposals"]
    if not proposals:
        raise PipelineError("no list was found on the page", where=clean_line(found["url"], 200), fix="; ".join(found["seen"]))
    if number > len(proposals):
        raise UsageError(f"there is no proposal {number}", fix=f"choose one of 1 to {len(proposals)}")
    proposal: dict[str, Any] = proposals[number - 1]
    return proposal


def lines(found: Mapping[str, Any], number: int, spider: str | None = None) -> Iterator[str]:
    """Yield the proposals as lines of text. number: the proposal whose TOML is shown, from 1.

    spider: the name of the spider whose session has fetched the page, if there is one.
    """
    yield f"{clean_line(found['url'])}: HTTP {found['status']}, {counted(found['characters'], 'character')}"
    yield from (clean_line(text) for text in (found["session"], *found["seen"]) if text)
    for place, proposal in enumerate(found["proposals"], 1):
        yield ""
        yield f"{place}. {_headline(proposal)}"
        yield from (f"{_INDENT}{clean_line(text, 160)}" for text in proposal["reasons"])
        yield from (f"{_INDENT}note: {clean_line(text, _NOTE)}" for text in proposal["notes"])
        yield from (f"{_INDENT}{line}" for line in row_lines(proposal["rows"]))
    if not found["proposals"]:
        yield "no list was found"
        return
    yield ""
    yield _toml_heading(number, len(found["proposals"]), spider)
    yield ""
    yield chosen(found, number)["toml"].rstrip("\n")


def _headline(proposal: Mapping[str, Any]) -> str:
    sure = certainty(proposal)
    each = proposal["table"].get("items", {}).get("each")
    what = {"html": "", "json-ld": "in JSON-LD", "microdata": "in microdata", "json": "in JSON", "csv": "in CSV"}.get(proposal["kind"])
    place = f'in "{each}"' if isinstance(each, str) else what
    if place is None or not proposal["count"]:
        start = clean_line(str(next(iter(proposal["table"].get("start", ())), "")), 160)
        entries = counted(proposal["count"], "entry") if proposal["count"] else "not fetched yet"
        return f"the {clean_line(proposal['kind'])} {start}, {entries} ({sure})"
    return f"{counted(proposal['count'], 'item')} {clean_line(place, 100)} ({sure})"


def certainty(proposal: Mapping[str, Any]) -> str:
    """Return how sure a proposal is, such as "very likely, 93%"."""
    confidence = proposal["confidence"]
    sure = "very likely" if confidence >= 0.8 else "likely" if confidence >= 0.5 else "a guess"
    return f"{sure}, {confidence:.0%}"


def _toml_heading(number: int, count: int, spider: str | None) -> str:
    others = f"; --proposal {'2' if number == 1 else '1'} shows another" if count > 1 else ""
    if spider is not None:
        return f"# proposal {number}{others}; `pipeline new spider NAME --from URL --spider {spider}` writes it with the session of {spider}, and tries it"
    return f"# proposal {number} for settings.toml{others}; `pipeline new spider NAME --from URL` writes and tries it"
