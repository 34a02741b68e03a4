"""A fetched page: its bytes, text and document, and whether a selector of the settings matches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from pipeline.documents import Document, PageCheck, RuleFailedError
from pipeline.errors import SpiderError
from pipeline.session.responses.encodings import decoded, page_encoding
from pipeline.settings import SelectorTable
from pipeline.text import clean_line

Read = TypeVar("Read")


@dataclass(frozen=True)
class Answer:
    """A complete HTTP response. url: the URL after all redirects; hops: the number of redirects that were followed."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    hops: int = 0


class Page:
    """An HTTP response as a page, which is decoded and parsed at first use.

    encoding: the encoding to use instead of the encoding that the page declares; None means that the declared encoding is used.
    """

    def __init__(self, answer: Answer, encoding: str | None = None) -> None:
        self.answer = answer
        self._override = encoding

    @cached_property
    def encoding(self) -> str:
        """The name of the Python codec that decodes the page."""
        return page_encoding(self.answer.body, self.answer.headers.get("Content-Type", ""), self._override)

    @cached_property
    def text(self) -> str:
        return decoded(self.answer.body, self.encoding)

    @cached_property
    def document(self) -> Document:
        """The page as the document to which item rules are applied."""
        return Document(url=self.answer.url, status=self.answer.status, text=lambda: self.text,
                        headers=lambda: self.answer.headers, encoding=self.encoding, body=self.answer.body)

    def matches(self, selector: SelectorTable) -> bool:
        """Return whether a selector matches the page. If the selector has a regex, the regex must match too.

        Raises SpiderError for an invalid selector.
        """
        return self._read(lambda: PageCheck(selector).matches(self.document))

    def value(self, selector: SelectorTable) -> str:
        """Return the first match of a selector in the page; "" if nothing matches.

        If the selector has a regex, return the regex's first group, or its whole match if it has no group.
        """
        return self._read(lambda: PageCheck(selector).first(self.document))

    def _read(self, read: Callable[[], Read]) -> Read:
        try:
            return read()
        except RuleFailedError as error:
            raise SpiderError(f"not a valid selector: {clean_line(str(error), 120)}", fix="correct the selector in the settings") from error
