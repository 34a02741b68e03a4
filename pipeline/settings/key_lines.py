"""Find the line of a settings file that sets a key, to show a problem beside its place."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*\[\[?\s*(?P<path>[^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(r"""\s*(?P<path>(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_STRING = re.compile(r"""\"(?:\\.|[^\"\\])*\"|'[^']*'|#.*$""")
_INDEX = re.compile(r"\[\d+\]")
_ERROR_PLACE = re.compile(r"\(at line (\d+), column \d+\)")


def line_of(text: str, key: str) -> int | None:
    """Return the number of the line, from 1, that sets a dotted key such as "spiders.books.items.fields.title".

    A key inside an inline table has the line at which the table begins; a key that is missing has the line of its table. None if the text
    sets no part of the key.
    """
    wanted = [part for part in _INDEX.sub("", key).split(".") if part]
    best, found = 0, None
    for number, path in _paths(text):
        length = next((place for place, (given, part) in enumerate(zip(path, wanted, strict=False)) if given != part), min(len(path), len(wanted)))
        if length == len(path) and length > best:
            best, found = length, number
    return found


def line_of_error(message: str) -> int | None:
    """Return the line that a message of tomllib names, such as "… (at line 3, column 5)"; None if it names none."""
    place = _ERROR_PLACE.search(message)
    return int(place[1]) if place else None


def _paths(text: str) -> list[tuple[int, list[str]]]:
    """Return the number of each line with a header or the beginning of an assignment, and the whole path of its key."""
    found: list[tuple[int, list[str]]] = []
    table: list[str] = []
    depth, quotes = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        is_start, rest = not quotes and depth == 0, line
        if is_start and (header := _HEADER.match(line)):
            table = _parts(header["path"])
            found.append((number, table))
            continue
        if is_start and (assignment := _ASSIGNMENT.match(line)):
            found.append((number, [*table, *_parts(assignment["path"])]))
            rest = line[assignment.end():]
        depth, quotes = _state_after(rest, depth, quotes)
    return found


def _state_after(line: str, depth: int, quotes: str) -> tuple[int, str]:
    """Return the number of open brackets after a line, and the quotes of the text of several lines that is open ("" if none is)."""
    while True:
        if quotes:
            _, end, line = line.partition(quotes)
            if not end:
                return depth, quotes
            quotes = ""
        opening = re.search(r'"""|\'\'\'', line)
        before = line[:opening.start()] if opening else line
        bare = _STRING.sub("", before)
        depth = max(0, depth + bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}"))
        if opening is None or "#" in bare:
            return depth, ""
        quotes, line = opening[0], line[opening.end():]


def _parts(path: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(path)]
