"""Searches texts with the regular expressions in the settings, with a time limit."""

from __future__ import annotations

import json

import regex

from pipeline.model import Json

REGEX_LIMIT_S = 0.1
"""The time limit for one search, in seconds. A longer search is a sign of catastrophic backtracking."""


class RuleFailedError(Exception):
    """A rule could not be applied, or a value cannot be converted to the type that the rule names.

    The message contains the text to which the rule was applied, and the reason.
    """


def search(pattern: regex.Pattern[str], text: str) -> str | None:
    """Return the first group of the first match, or the whole match if the pattern has no group.

    Return None if nothing matches. Raises RuleFailedError if the search takes longer than REGEX_LIMIT_S.
    """
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
    """Return a text in quotes, shortened for messages."""
    return repr(text if len(text) <= 60 else text[:57] + "…")
