"""Search with regular expressions of the settings, within a time limit."""

from __future__ import annotations

import json

import regex

from pipeline.model import Json

REGEX_LIMIT_S = 0.1
"""How long a regular expression may take on one text. One that takes longer backtracks catastrophically."""


class RuleFailedError(Exception):
    """Raised for a rule that could not be applied, or a value that is not of the rule's type; the message has the text and why."""


def search(pattern: regex.Pattern[str], text: str) -> str | None:
    """The first group of the first match, or the match if there is no group. Raises RuleFailedError when it takes too long."""
    try:
        match = pattern.search(text, timeout=REGEX_LIMIT_S)
    except TimeoutError as error:
        raise RuleFailedError(f"the regular expression {pattern.pattern!r} took longer than {REGEX_LIMIT_S} s on "
                              f"{short(text)}") from error
    if match is None:
        return None
    return str(match[1] or "") if pattern.groups else str(match[0])


def as_text(found: Json) -> str:
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def short(text: str) -> str:
    """A text, shortened and quoted, for messages."""
    return repr(text if len(text) <= 60 else text[:57] + "…")
