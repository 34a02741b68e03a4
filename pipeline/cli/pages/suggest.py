"""Format the proposals of `pipeline suggest` for a terminal: what was found, sample rows, how sure it is, the TOML."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import PipelineError, UsageError
from pipeline.model import Json
from pipeline.text import clean_line, counted

_CELL = 40
_NARROWEST = 12
_INDENT = "   "
_GAP = 2
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


def row_lines(rows: Sequence[Mapping[str, Json]], width: int = 0) -> Iterator[str]:
    """Yield rows as a table, whose cells are cleaned and cut; columns that do not fit are named below the table.

    width: the width of the terminal in columns; 0 asks the terminal.
    """
    from rich.cells import cell_len, set_cell_size
    if not rows:
        return
    room = max(_NARROWEST, (width or shutil.get_terminal_size((100, 24)).columns) - len(_INDENT))
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = {name: [clean_line(name, _CELL), *(_cell(row.get(name)) for row in rows)] for name in names}
    wanted = {name: min(_CELL, max(map(cell_len, cells[name]))) for name in names}
    widths: dict[str, int] = {}
    left = room + _GAP
    for name in names:
        least = min(wanted[name], _NARROWEST)
        if left < least + _GAP:
            break
        widths[name] = least
        left -= least + _GAP
    for name, least in widths.items():
        widths[name] = min(wanted[name], least + left)
        left -= widths[name] - least
    for place in range(len(rows) + 1):
        texts = ((cells[name][place], size) for name, size in widths.items())
        yield (" " * _GAP).join(set_cell_size(text if cell_len(text) <= size else set_cell_size(text, size - 1) + "…", size) for text, size in texts).rstrip()
    if len(widths) < len(names):
        yield f"more fields: {', '.join(clean_line(name, _CELL) for name in names[len(widths):])}"


def _cell(value: Json) -> str:
    if isinstance(value, Mapping):  # a price has its text beside the amount
        value = value.get("text") or ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return "" if value is None else clean_line(str(value), 2 * _CELL)
