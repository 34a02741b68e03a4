"""Read the fixed texts of a language from its TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from dataclasses import fields
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, TypeVar, get_type_hints

from pipeline.errors import UsageError
from pipeline.languages.phrase import Phrase, locale_of
from pipeline.languages.wording import LEFT_TO_RIGHT, RIGHT_TO_LEFT, AlertWording, Texts, Wording

ENGLISH = "en"
FOLDER = Path(__file__).parent
LANGUAGES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
"""The languages that have a file, such as "en" and "zh"."""

WRITING = {field.name for field in fields(Texts)}
AnyTexts = TypeVar("AnyTexts", Wording, AlertWording)


@cache
def wording(language: str, folder: Path = FOLDER) -> Wording:
    """Return the fixed texts of digests. Raises UsageError that names the file and the key if a text is missing or unknown."""
    return _read(Wording, "digest", language, folder)


@cache
def alert_wording(language: str, folder: Path = FOLDER) -> AlertWording:
    """Return the fixed texts of alerts. Raises UsageError that names the file and the key if a text is missing or unknown."""
    return _read(AlertWording, "alert", language, folder)


def _read(texts: type[AnyTexts], section: str, language: str, folder: Path) -> AnyTexts:
    file = LanguageFile(language, folder)
    kinds = get_type_hints(texts)
    given = file.table(section, {field.name for field in fields(texts)} - WRITING)
    english = LanguageFile(ENGLISH, FOLDER).any_table(section)
    values: dict[str, Any] = {
        name: file.phrase(f"{section}.{name}", value, english[name]) if kinds[name] is Phrase else
        file.phrases(f"{section}.{name}", value, english[name]) for name, value in given.items()}
    values |= {name: text for name, text in file.writing().items() if name in WRITING}
    return texts(lang=language, **values)


@cache
def _shipped(path: Path) -> dict[str, Any]:
    """Return the tables of a file of the program, which is read several times and never changes."""
    return tomllib.loads(path.read_text("utf-8"))


class LanguageFile:
    """The TOML file of a language. Its methods raise UsageError that names the file and the key."""

    def __init__(self, language: str, folder: Path) -> None:
        self._language = language
        self._path = folder / f"{language}.toml"
        try:
            self._tables = _shipped(self._path) if folder == FOLDER else tomllib.loads(self._path.read_text("utf-8"))
            locale_of(language)
        except tomllib.TOMLDecodeError as error:
            raise self._problem(str(error), "correct this line") from error
        except ValueError as error:  # Babel's errors of unknown languages, too
            raise self._problem(str(error), "name the file after its language, such as de.toml or pt-BR.toml") from error

    def any_table(self, section: str) -> dict[str, Any]:
        """Return a table of the file, whatever keys it has."""
        given: dict[str, Any] = self._tables.get(section, {})
        return given

    def table(self, section: str, wanted: Collection[str]) -> dict[str, Any]:
        """Return a table of the file, which must have exactly the keys `wanted`."""
        given = self.any_table(section)
        self._compare_keys(section, given, wanted)
        return given

    def writing(self) -> dict[str, str]:
        """Return the table `language`: how the language is written."""
        given: dict[str, str] = self.table("language", {"direction", "fonts", "separator", "place", "original"})
        if given["direction"] not in (LEFT_TO_RIGHT, RIGHT_TO_LEFT):
            raise self._problem("language.direction is neither \"ltr\" nor \"rtl\"", "correct it")
        if re.fullmatch(r"(?:(?:\"[\w .-]+\"|[\w-]+), )*", given["fonts"]) is None:
            raise self._problem("language.fonts is not a list of fonts", "write it as '\"First font\", \"Second font\", '")
        return given

    def phrases(self, key: str, value: Any, english: dict[str, Any]) -> dict[str, Phrase]:
        """Return a table of texts. english: the same table in en.toml, which has the same keys."""
        if not isinstance(value, dict):
            raise self._problem(f"{key} is not a table", "write it as en.toml does")
        self._compare_keys(key, value, english)
        return {name: self.phrase(f"{key}.{name}", text, english[name]) for name, text in value.items()}

    def phrase(self, key: str, value: Any, english: Any) -> Phrase:
        """Return a text. english: the same text in en.toml, which has at least the same placeholders."""
        forms = value if isinstance(value, dict) else {"other": value}
        if not all(isinstance(form, str) for form in forms.values()):
            raise self._problem(f"{key} is not a text", "write it as en.toml does")
        if "other" not in forms:
            raise self._problem(f"{key} has no form \"other\"", "add the form for all numbers that have no form of their own")
        known = _placeholders(english if isinstance(english, dict) else {"other": english})
        try:
            unknown = _placeholders(forms) - known
        except ValueError as error:
            raise self._problem(f"{key}: {error}", "write braces that are not those of a placeholder twice") from error
        if unknown:
            raise self._problem(f"{key} has the unknown placeholder {{{min(unknown)}}}", f"use only {', '.join(sorted(known)) or 'none'}")
        return Phrase(forms["other"], self._language, forms if isinstance(value, dict) else None)

    def _compare_keys(self, section: str, given: Collection[str], wanted: Collection[str]) -> None:
        if lacking := set(wanted) - set(given):
            raise self._problem(f"{section}.{min(lacking)} is missing", "translate the text of en.toml")
        if unknown := set(given) - set(wanted):
            raise self._problem(f"{section}.{min(unknown)} is an unknown key", "remove it: en.toml has all keys")

    def _problem(self, what: str, fix: str) -> UsageError:
        return UsageError(f"{self._path.name}: {what}", where="pipeline/languages", fix=fix)


def _placeholders(forms: dict[str, str]) -> set[str]:
    """Return the names of the placeholders in the forms of a text. Raises ValueError for a brace without its counterpart."""
    return {name for form in forms.values() for _, name, _, _ in Formatter().parse(form) if name is not None}
