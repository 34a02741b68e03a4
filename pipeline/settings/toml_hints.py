"""Explain errors in the syntax of a settings file.

What a person probably wanted to write at the place of the error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
_TYPOGRAPHIC = "“”„‟«»‘’‚‛"
_BACKSLASH = "in double quotes, \\ has a special meaning; write such a text in single quotes, and a path with / instead of \\"
_ONE_LINE = ("a table in braces { … } must be on one line, with commas between its entries and none after the last; a longer table gets a header such as "
             "[spiders.NAME.items]")
_STRANGE = re.compile("[\u00a0\u200b-\u200f\u2060\u3000\ufeff\uff01-\uff5e\u300c-\u300f]")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|#.*")
"""Matches texts and comments, which may contain any character."""
_BOM_16 = (b"\xff\xfe", b"\xfe\xff")

_HINTS = {
    "hex value": _BACKSLASH, "Unescaped '\\'": _BACKSLASH,
    "Illegal character '\\n'": "the closing quote of the text is missing", "Unterminated string": "the closing quote of the text is missing",
    "Unclosed array": "write a comma between two entries of a list, and ] at its end",
    "Unclosed inline table": _ONE_LINE, "key part": _ONE_LINE,
    "Expected '=' after a key": "write key = value",
    "Cannot overwrite": "this key is set twice in the same table; remove one of the two",
    "table declaration": "write a header such as [spiders.news], with ] at its end; a name has only the letters a to z, digits, - and _",
    "Expected newline": "only a comment may follow on this line; write a text, also a time such as \"07:00\", in double quotes",
    "Invalid statement": "a line is a header such as [spiders.news], a key = value, or a comment that begins with #",
}
"""Hints by a part of tomllib's message."""


def syntax_hint(error: str, text: str) -> str:
    """Return how to correct an error, such as "; write texts in quotes"; "" if the error says all that is known.

    error: the message of tomllib. text: the file. The hint contains no part of a value, which may be a secret.
    """
    place = _PLACE.search(error)
    line = (text.splitlines() or [""])[min(int(place[1]), len(text.splitlines())) - 1] if place and text else ""
    found = next(_hints(error, line, line[int(place[2]) - 1:] if place else ""), "")
    return f"; {found}" if found else ""


def encoding_hint(content: bytes) -> str:
    """Return how to correct a file that is not UTF-8."""
    return "; it is UTF-16" * content.startswith(_BOM_16) + "; save the file in the encoding UTF-8"


def _hints(error: str, line: str, rest: str) -> Iterator[str]:
    """Yield hints, the best first. line: the line with the error. rest: the part of the line after the error."""
    if any(quote in line for quote in _TYPOGRAPHIC) and ("Invalid" in error or "Illegal" in error):
        yield "the line has typographic quotes, as word processors write them; write straight quotes: \""
    if line.startswith(("<<<<<<<", "=======", ">>>>>>>")):
        yield "the file contains the marks of a merge that is not finished"
    if (strange := _STRANGE.search(_QUOTED.sub(lambda quoted: " " * len(quoted[0]), line))) is not None:
        yield f"the line has an invisible or full-width character at column {strange.start() + 1}; write the line again with plain characters"
    if "Invalid value" in error:
        yield _value_hint(rest.strip())
    if match := re.search(r"Cannot declare \((.+?),?\) twice", error):
        name = ".".join(re.findall(r"'([^']*)'", match[1]))
        yield f"there are two tables [{name}]; move the keys of both into one of them, or give the second another name"
    if "Expected '=' after a key" in error and ":" in line:
        yield "write key = value, not key: value as in YAML"
    yield from (hint for words, hint in _HINTS.items() if words in error)


def _value_hint(rest: str) -> str:
    """Return the hint for a value that is neither a text nor a number. rest: the line from the value on."""
    word = (re.match(r"\w*", rest) or [""])[0].lower()
    if word in ("true", "false", "yes", "no", "on", "off"):
        return "write true or false, in lower case and without quotes"
    if word in ("none", "null", "nil") or rest[:1] in ("", "#"):
        return "the value is missing; remove the key to use its default"
    return "write a text in double quotes"
