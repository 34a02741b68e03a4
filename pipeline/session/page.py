"""A fetched page as text and as a document, and whether a selector of the settings matches on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

from pipeline.documents import Document, Proof, RuleFailedError
from pipeline.errors import SpiderError
from pipeline.session.answer import Answer
from pipeline.session.responses.encodings import decoded, page_encoding
from pipeline.settings import SelectorTable
from pipeline.text import clean_line

Read = TypeVar("Read")


class Page:
    """One answer, decoded and parsed when first asked for. encoding: overrides what the page says of itself."""

    def __init__(self, answer: Answer, encoding: str | None = None) -> None:
        self.answer = answer
        self._override = encoding

    @cached_property
    def encoding(self) -> str:
        """Python's codec for the page."""
        return page_encoding(self.answer.body, self.answer.headers.get("Content-Type", ""), self._override)

    @cached_property
    def text(self) -> str:
        return decoded(self.answer.body, self.encoding)

    @cached_property
    def document(self) -> Document:
        """The page as the rules of items see it, too."""
        return Document(url=self.answer.url, status=self.answer.status, text=lambda: self.text,
                        headers=lambda: self.answer.headers, encoding=self.encoding, body=self.answer.body)

    def matches(self, selector: SelectorTable) -> bool:
        """Whether the selector finds anything here (and its regex, when it has one, is in what it found).

        Raises SpiderError for a selector that cannot be applied.
        """
        return self._read(lambda: Proof(selector).matches(self.document))

    def value(self, selector: SelectorTable) -> str:
        """The first thing the selector finds (of its regex the first group, or all of it), "" for none."""
        return self._read(lambda: Proof(selector).first(self.document))

    def _read(self, read: Callable[[], Read]) -> Read:
        try:
            return read()
        except RuleFailedError as error:
            raise SpiderError(f"no valid selector: {clean_line(str(error), 120)}", fix="correct it in the settings") from error
