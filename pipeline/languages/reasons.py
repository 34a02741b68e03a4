"""Translate what the program has stored in English.

Why a run failed or is suspect, why an item was rejected, what to do.

A stored text is a sequence of reasons, joined by "; ", and each may have the place in front that it is about: "PLACE: reason". The
tables [reasons] and [fixes] of en.toml contain a pattern for each reason. The same key has the text in another language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from pathlib import Path

from pipeline.languages import figures
from pipeline.languages.load import ENGLISH, FOLDER, LanguageFile
from pipeline.languages.phrase import Phrase

_MAX_LENGTH = 2000
_MAX_PIECES = 16
_MAX_DEPTH = 6
_NUMBER = r"\d[\d,]{0,17}(?:\.\d{1,9})?"
_SIZE = r"\d{1,9}(?:\.\d{1,9})? (?:B|kB|MB|GB|TB)"
_SHARE = r"\d{1,9} ?%"
_SHAPES = {
    "n": _NUMBER, "total": _NUMBER, "count": _NUMBER, "status": r"\d{3}", "share": _SHARE, "max_share": _SHARE,
    "size": _SIZE, "max_size": _SIZE, "name": r"'[^']*'|[^\s;]+?", "url": r"\S+?", "host": r"\S+?", "said": r"[^”]*",
    "reason": r"(?:(?!; ).)+", "text": r"(?:(?!; ).)+?", "pairs": r"(?:(?!; ).)+?",
}
"""What a placeholder of a pattern matches, by its name."""
_PLACE = re.compile(r"(?P<place>(?:https?://\S+?|[\w./@<>\[\]-]+)(?: \((?:https?://)?[^()\s]+\))?(?:, line \d+)?): ")
_URL = re.compile(r"(?P<place>https?://\S+) ")
_TOKEN = re.compile(r"\{(\w+)\}|\(s\)|\(([\w ]+(?:\|[\w ]+)+)\)")


@dataclass(frozen=True)
class Part:
    """A part of a stored text in another language. is_fix: whether it says what to do. is_known: False if it remains in English."""

    text: str
    is_fix: bool
    is_known: bool = True


@dataclass(frozen=True)
class _Pattern:
    """The pattern of a message, and its text in another language.

    text: the pattern as en.toml has it. weight: how many characters of the pattern are not placeholders. wraps: whether the pattern adds
    something to another message.
    """

    text: str
    phrase: Phrase
    is_fix: bool
    weight: int
    wraps: bool

    @cached_property  # there are hundreds, and a check of the settings needs none of them
    def regex(self) -> re.Pattern[str]:
        """A regular expression in which a reason inside the message ends at "; "."""
        return re.compile(_expression(self.text, _SHAPES["reason"])[0], re.DOTALL)

    @cached_property
    def loose(self) -> re.Pattern[str]:
        """The same, in which a reason inside the message may go on."""
        return re.compile(_expression(self.text, ".+")[0], re.DOTALL)


class _Mode(Enum):
    """Which text may be a reason inside a message: one that is known, else one without "; ", else any text, such as that of a site in quotes."""

    KNOWN = 1
    SHORT = 2
    ANY = 3


class Reasons:
    """Translates stored texts into one language.

    original: the text that shows a text in English that has no translation. separator: what is between two reasons. colon: what is
    between a place and its reason.
    """

    def __init__(self, patterns: list[_Pattern], language: str, *, original: Phrase, separator: str, colon: str) -> None:
        self._patterns = sorted(patterns, key=lambda pattern: -pattern.weight)
        self._language = language
        self._is_english = language == ENGLISH
        self._original = original
        self.separator = separator
        self._colon = colon

    def translate(self, text: str) -> str:
        """Return a stored text in the language. What has no translation remains in English, and the result says so."""
        return self.joined(self.parts(text))

    def parts(self, text: str) -> list[Part]:
        """Return the parts of a stored text, each in the language."""
        return list(self._read(text[:_MAX_LENGTH].strip(), _MAX_DEPTH))

    def first(self, text: str) -> str:
        """Return the first reason of a stored text without the place in front; a reason that has no translation as it is."""
        text = text[:_MAX_LENGTH].strip()
        place = _PLACE.match(text) or _URL.match(text)
        return next((part.text for part in self._read(text[place.end():] if place else text, _MAX_DEPTH)), "")

    def joined(self, parts: list[Part]) -> str:
        return self.separator.join(part.text if part.is_known else self._original.format(text=part.text) for part in parts)

    def _read(self, text: str, depth: int) -> Iterator[Part]:
        """Yield the parts of a text. Each is as long as possible; neighbours that are not known are one part."""
        pieces = text.split("; ", _MAX_PIECES) if text else []
        unknown: list[str] = []
        while pieces:
            known, used = next(((part, end) for mode in _Mode for end in range(len(pieces), 0, -1)
                                if (part := self._known("; ".join(pieces[:end]), depth, mode))), (None, 1))
            if known is None:
                unknown.append(pieces[0])
            if unknown and (known is not None or len(pieces) == 1):
                yield Part("; ".join(unknown), is_fix=False, is_known=False)
                unknown = []
            if known is not None:
                yield known
            pieces = pieces[used:]

    def _known(self, text: str, depth: int, mode: _Mode) -> Part | None:
        """Return a text that is one reason, with or without a place in front; None if it is not. depth: how often a reason may contain another."""
        if not depth:
            return None
        for shape, between in ((_PLACE, self._colon), (_URL, " ")):
            if (match := shape.match(text)) and (rest := self._known(text[match.end():], depth - 1, mode)):
                return Part(f"{match['place']}{between}{rest.text}", rest.is_fix)
        for pattern in self._patterns:
            match = (pattern.regex if mode is _Mode.SHORT else pattern.loose).fullmatch(text)
            inner = match.groupdict().get("reason") if match else None
            if match and (inner is None or not (pattern.wraps or mode is _Mode.KNOWN) or self._known(inner, depth - 1, mode)):
                return Part(text if self._is_english else pattern.phrase.format(**self._values(match.groupdict(), depth)), pattern.is_fix)
        return None

    def _values(self, found: Mapping[str, str], depth: int) -> dict[str, object]:
        """Return the values of the placeholders in the language."""
        values: dict[str, object] = {}
        for name, value in found.items():
            if name == "reason":
                values[name] = self.joined(list(self._read(value, depth - 1)))
            elif name in ("n", "total", "count"):
                number = value.replace(",", "")
                values[name] = float(number) if "." in number else int(number)
            elif name in ("share", "max_share"):
                values[name] = figures.percent(int(value.rstrip(" %")) / 100, self._language)
            elif name == "pairs":
                values[name] = re.sub(r"\b(\d+) of (\d+)\b", r"\1/\2", value)
            elif name in ("size", "max_size"):
                values[name] = figures.size_of_text(value, self._language)
            else:
                values[name] = value
        return values


def _expression(text: str, reason: str) -> tuple[str, int]:
    """Return the regular expression of a pattern in en.toml, and how many of its characters are not placeholders.

    reason: what the placeholder {reason} matches.
    """
    shapes = _SHAPES | {"reason": reason}
    expression, weight, end = "", 0, 0
    for token in _TOKEN.finditer(text):
        literal = _unescaped(text[end:token.start()])
        weight += len(literal)
        expression += re.escape(literal)
        name, words = token.groups()
        if name:
            expression += f"(?P<{name}>{shapes[name]})"
        else:
            expression += f"(?:{words})" if words else r"(?:s|es|\(s\))?"
        end = token.end()
    rest = _unescaped(text[end:])
    return expression + re.escape(rest), weight + len(rest)


def _unescaped(text: str) -> str:
    """Return text as str.format() returns it: with single braces for double ones."""
    return text.replace("{{", "{").replace("}}", "}")


@cache
def reasons(language: str, folder: Path = FOLDER) -> Reasons:
    """Return the reasons of the program in a language. Raises UsageError for an invalid file of the language."""
    english, other = LanguageFile(ENGLISH, FOLDER), LanguageFile(language, folder)
    patterns = []
    for table in ("reasons", "fixes"):
        known = english.any_table(table)
        for key, phrase in other.phrases(table, other.table(table, known), known).items():
            _, weight = _expression(known[key], "")
            wraps = known[key].startswith("{reason}") or weight <= len(": ")
            patterns.append(_Pattern(known[key], phrase, table == "fixes", weight, wraps))
    writing = other.writing()
    return Reasons(patterns, language, original=Phrase(writing["original"], language), separator=writing["separator"], colon=writing["place"])
