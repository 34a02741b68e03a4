"""Translate what the program has stored in English: why a run failed or is suspect, why an item was rejected, what to do.

A stored text is a sequence of messages, joined by "; ", and each may have the place in front that it is about: "PLACE: message". The
tables [messages] and [fixes] of en.toml contain a pattern for each message. The same key has the text in another language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.languages import figures
from pipeline.languages.load import FOLDER, LanguageFile
from pipeline.languages.phrase import Phrase

ENGLISH = "en"
_MAX_LENGTH = 4000
_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_SHAPES = {
    "n": _NUMBER, "total": _NUMBER, "count": _NUMBER, "status": r"\d{3}", "share": r"\d+ ?%", "max_share": r"\d+ ?%",
    "size": r"[\d.]+ (?:B|kB|MB|GB|TB)", "max_size": r"[\d.]+ (?:B|kB|MB|GB|TB)", "name": r"'[^']*'|[^\s;]+?", "url": r"\S+?", "host": r"\S+?", "said": r"[^”]*",
    "reason": r".+", "text": r"(?:(?!; ).)+?",
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

    weight: how many characters of the pattern are not placeholders. wraps: whether the pattern adds something to another message.
    """

    regex: re.Pattern[str]
    phrase: Phrase
    is_fix: bool
    weight: int
    wraps: bool


class Messages:
    """Translates stored texts into one language.

    original: the text that shows a text in English that has no translation. separator: what is between two messages. colon: what is
    between a place and its message.
    """

    def __init__(self, patterns: list[_Pattern], language: str, *, original: Phrase, separator: str, colon: str) -> None:
        self._patterns = sorted(patterns, key=lambda pattern: -pattern.weight)
        self._language = language
        self._is_english = language == ENGLISH
        self._original = original
        self._separator = separator
        self._colon = colon
        self._known: dict[str, list[Part] | None] = {}

    def translate(self, text: str) -> str:
        """Return a stored text in the language. What has no translation remains in English, and the result says so."""
        return self.joined(self.parts(text))

    def parts(self, text: str) -> list[Part]:
        """Return the parts of a stored text, each in the language."""
        text = text[:_MAX_LENGTH].strip()
        if not text:
            return []
        found = self._all_known(text)
        return found if found is not None else list(self._some_known(text))

    def joined(self, parts: list[Part]) -> str:
        return self._separator.join(part.text if part.is_known else self._original.format(text=part.text) for part in parts)

    def _all_known(self, text: str) -> list[Part] | None:
        """Return the parts of a text if all of them are known, otherwise None."""
        if text not in self._known:
            self._known[text] = None  # a text that is searched inside itself is not known
            self._known[text] = self._one(text) or self._placed(text) or self._divided(text)
        return self._known[text]

    def _one(self, text: str) -> list[Part] | None:
        """Return a text that is one message."""
        for pattern in self._patterns:
            match = pattern.regex.fullmatch(text)
            if match and not (pattern.wraps and self._all_known(match["reason"]) is None):
                return [Part(text if self._is_english else pattern.phrase.format(**self._values(match.groupdict())), pattern.is_fix)]
        return None

    def _placed(self, text: str) -> list[Part] | None:
        """Return a text that starts with a place."""
        for shape, between in ((_PLACE, self._colon), (_URL, " ")):
            if (match := shape.match(text)) and (rest := self._all_known(text[match.end():])):
                return [Part(f"{match['place']}{between}{rest[0].text}", rest[0].is_fix), *rest[1:]]
        return None

    def _divided(self, text: str) -> list[Part] | None:
        """Return a text that consists of several messages."""
        for match in reversed(list(re.finditer("; ", text))):
            first, rest = text[:match.start()], text[match.end():]
            if (head := self._one(first) or self._placed(first)) and (tail := self._all_known(rest)):
                return [*head, *tail]
        return None

    def _some_known(self, text: str) -> Iterator[Part]:
        """Yield the parts of a text of which some are not known; neighbours that are not known are one part."""
        unknown: list[str] = []
        for piece in text.split("; "):
            found = self._all_known(piece)
            if found is None:
                unknown.append(piece)
                continue
            if unknown:
                yield Part("; ".join(unknown), is_fix=False, is_known=False)
                unknown = []
            yield from found
        if unknown:
            yield Part("; ".join(unknown), is_fix=False, is_known=False)

    def _values(self, found: Mapping[str, str]) -> dict[str, object]:
        """Return the values of the placeholders in the language."""
        values: dict[str, object] = {}
        for name, value in found.items():
            if name == "reason":
                values[name] = self.translate(value)
            elif name in ("n", "total", "count"):
                number = value.replace(",", "")
                values[name] = float(number) if "." in number else int(number)
            elif name in ("share", "max_share"):
                values[name] = figures.percent(int(value.rstrip(" %")) / 100, self._language)
            elif name in ("size", "max_size"):
                values[name] = figures.size_of_text(value, self._language)
            else:
                values[name] = value
        return values


def pattern_of(text: str) -> tuple[re.Pattern[str], int]:
    """Return the regular expression of a pattern in en.toml, and how many of its characters are not placeholders."""
    expression, weight, end = "", 0, 0
    for token in _TOKEN.finditer(text):
        literal = text[end:token.start()]
        weight += len(literal)
        expression += re.escape(literal)
        name, words = token.groups()
        if name:
            expression += f"(?P<{name}>{_SHAPES[name]})"
        else:
            expression += f"(?:{words})" if words else r"(?:s|es|\(s\))?"
        end = token.end()
    return re.compile(expression + re.escape(text[end:]), re.DOTALL), weight + len(text) - end


@cache
def messages(language: str, folder: Path = FOLDER) -> Messages:
    """Return the messages of the program in a language. Raises UsageError for an invalid file of the language."""
    english, other = LanguageFile(ENGLISH, FOLDER), LanguageFile(language, folder)
    patterns = []
    for table in ("messages", "fixes"):
        known = english.any_table(table)
        for key, phrase in other.phrases(table, other.table(table, known)).items():
            regex, weight = pattern_of(known[key])
            patterns.append(_Pattern(regex, phrase, table == "fixes", weight, wraps=known[key].startswith("{reason}")))
    writing = other.writing()
    return Messages(patterns, language, original=Phrase(writing["original"], language), separator=writing["separator"], colon=writing["place"])
