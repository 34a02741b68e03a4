"""Translate simple jq and JSONPath expressions into JMESPath.

Both languages can do more, which has no counterpart.
"""

from __future__ import annotations

import json
import re

_STEP = re.compile(r"""
    \.?\[\s*(?P<index>-?\d+)\s*\]
    | \.?\[\s*\*?\s*\](?P<all>)
    | \.?\[\s*(?P<quoted>"(?:[^"\\]|\\.)*"|'[^'\\]*')\s*\]
    | \.(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | \.(?P<text>"(?:[^"\\]|\\.)*")
    | \.\*(?P<values>)""", re.VERBOSE)


def jq_to_jmes(query: str) -> str | None:
    """Return a JMESPath expression for a jq filter of field names, indexes and [], such as `.items[].name`; None for any other."""
    steps: list[str] = []
    for part in query.split("|"):
        text = part.strip().replace("?", "")
        if text != "." and not text.startswith("."):
            return None
        found = _steps("" if text == "." else text)
        if found is None:
            return None
        steps += found
    return _joined(steps)


def jsonpath_to_jmes(path: str) -> str | None:
    """Return a JMESPath expression for a JSONPath of field names, indexes and [*], such as `$.items[*].name`; None for any other."""
    text = path.strip().removeprefix("$")
    found = _steps(text if not text or text[0] in ".[" else f".{text}")
    return None if found is None else _joined(found)


def _steps(text: str) -> list[str] | None:
    steps: list[str] = []
    place = 0
    while place < len(text):
        match = _STEP.match(text, place)
        if match is None:
            return None
        steps.append(_step(match))
        place = match.end()
    return steps


def _step(match: re.Match[str]) -> str:
    kind = match.lastgroup
    value = match[kind] if kind else ""
    if kind == "index":
        return f"[{value}]"
    if kind == "all":
        return "[*]"
    if kind == "values":
        return "*"
    if kind == "name":
        return value
    name = value[1:-1] if value.startswith("'") else json.loads(value)
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else json.dumps(name)


def _joined(steps: list[str]) -> str:
    text = ""
    for step in steps:
        text += step if step.startswith("[") or not text else f".{step}"
    return text or "@"
