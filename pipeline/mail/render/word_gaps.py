"""Separate words of scripts without spaces at the tags between them.

Otherwise spam filters take the tags for obfuscation.

SpamAssassin counts each tag between two letters (rules HTML_OBFUSCATE_…), because spammers write `V<b></b>iagra`. In Chinese, marked
changes and labels have such tags everywhere.
"""

from __future__ import annotations

import re

_HAIR_SPACE = "\N{HAIR SPACE}"  # too narrow to be seen; SpamAssassin does not count a zero-width space as a space
_LETTER = r"[^\s\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]"
_TAGS = r"(?:</?(?:a|b|bdi|del|em|i|ins|span|strong)\b[^<>]*>)+"
_JOINED = re.compile(rf"({_LETTER})({_TAGS})(?={_LETTER})")


def separate_words(html: str) -> str:
    """Insert a hair space after inline tags between two letters, unless both are ASCII."""
    return _JOINED.sub(_separated, html)


def _separated(match: re.Match[str]) -> str:
    following = match.string[match.end()]
    return match[0] if match[1].isascii() and following.isascii() else match[0] + _HAIR_SPACE
