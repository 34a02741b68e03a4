"""The texts of the heartbeat's pages in other languages.

A TOML file a language, with the English text as the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pipeline.text import counted

FOLDER = Path(__file__).parent / "pages"
PAGE_LANGUAGES = ("en", *sorted(path.stem for path in FOLDER.glob("*.toml")))
"""The languages of the pages. English needs no file, because the texts in the templates are English."""


class PageTexts:
    """Translates the texts of pages. A text without a translation stays in English; a test finds such texts."""

    def __init__(self, language: str, texts: Mapping[str, str]) -> None:
        self.language = language
        self._texts = texts

    def text(self, english: str, **values: object) -> str:
        """Return a text with its placeholders replaced by `values`."""
        found = self._texts.get(english, english)
        return found.format(**values) if values else found

    def counted(self, number: int, what: str) -> str:
        """Return a number with a noun, such as "3 items". The key of the noun is "{n} item"."""
        if self.language == "en":
            return counted(number, what)
        return self.text(f"{{n}} {what}", n=f"{number:,}")


@cache
def page_texts(language: str) -> PageTexts:
    """Return the texts of the pages in a language of PAGE_LANGUAGES."""
    path = FOLDER / f"{language}.toml"
    return PageTexts(language, tomllib.loads(path.read_text("utf-8")) if language != "en" else {})
