"""Tests of the languages of mails.

Each file has every text with the same placeholders, and a new file is enough for a new language.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.languages import LANGUAGES, Phrase, alert_wording, figures, wording
from pipeline.languages.load import FOLDER

ENGLISH = (FOLDER / "en.toml").read_text("utf-8")


def texts(language: str) -> dict[str, str]:
    """Every text of a language by its key; a plural form counts as a text of its own."""
    found: dict[str, str] = {}

    def walk(table: dict[str, object], prefix: str) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                found[f"{prefix}{key}"] = str(value)

    walk(tomllib.loads((FOLDER / f"{language}.toml").read_text("utf-8")), "")
    return found


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)", text))


def without_form(key: str) -> str:
    return re.sub(r"\.(zero|one|two|few|many|other)$", "", key)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_every_text_with_the_same_placeholders(language: str) -> None:
    wording(language), alert_wording(language)
    english: dict[str, set[str]] = {}
    for key, text in texts("en").items():
        english.setdefault(without_form(key), set()).update(placeholders(text))
    for key, text in texts(language).items():
        assert placeholders(text) <= english[without_form(key)], key


def test_a_missing_and_an_unknown_text_are_named(tmp_path: Path) -> None:
    for language, old, new, problem in [
        ("fr", "\ndownloads =", "\ndownlods =", "digest.downloads is missing"),
        ("es", "\ndownloads =", '\nextra = "?"\ndownloads =', "digest.extra is an unknown key"),
        ("it", "\ndownloads =", "\ndownloads = 3 #", "digest.downloads is not a text"),
        ("nl", "\ndownloads =", '\ndownloads = { one = "?" } #', 'digest.downloads has no form "other"'),
        ("da", 'gone = "{n:,} gone"', 'lost = "{n:,} gone"', "digest.counts.gone is missing"),
        ("fi", "{n:,} gone", "{number:,} gone", "digest.counts.gone has the unknown placeholder {number}"),
        ("nb", "{n:,} gone", "{n:,} gone }", "digest.counts.gone: Single '}'"),
        ("pl", '"ltr"', '"left"', "language.direction is neither"),
        ("pt-BR", 'fonts = ""', 'fonts = "</style>"', "language.fonts is not a list of fonts"),
        ("sv", "[digest]", "[digest", "Expected"),
        ("english", "", "", "unknown locale"),
    ]:
        (tmp_path / f"{language}.toml").write_text(ENGLISH.replace(old, new, 1))
        with pytest.raises(UsageError, match=rf"{language}\.toml: {problem}"):
            wording(language, tmp_path)


@pytest.mark.parametrize(("language", "n", "text"), [
    ("en", 1, "1 day"), ("en", 0, "0 days"), ("en", 12345, "12,345 days"), ("de", 12345, "12.345 days"), ("fr", 0, "0 day"),
    ("pl", 3, "3 days (few)"), ("zh", 1, "1 days"),
])
def test_the_number_chooses_the_plural_form_and_is_written_as_in_the_language(language: str, n: int, text: str) -> None:
    phrase = Phrase("{n:,} days", language, {"one": "{n:,} day", "few": "{n:,} days (few)", "other": "{n:,} days"})
    assert phrase.format(n=n) == text


def test_figures_are_written_as_in_the_language() -> None:
    assert [wording(language).number(12345.5) for language in ("en", "zh", "de")] == ["12,345.5", "12,345.5", "12.345,5"]
    assert [figures.size(size, "de") for size in (999, 1234567, 5e15)] == ["999 B", "1,2 MB", "5.000 TB"]
    assert [figures.duration(seconds, "en") for seconds in (0.4, 59, 61, 3600, 3900, 90_000)] == ["0 sec", "59 sec", "1 min", "1 hr", "1 hr 5 min", "1 day 1 hr"]
    assert figures.duration(3900, "zh") == "1小时 5分钟"
    assert figures.percent(0.125, "de") == "12\N{NO-BREAK SPACE}%"
