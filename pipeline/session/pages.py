"""A fetched page as text and as a document, and whether a selector of the settings matches on it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

from pipeline.documents import Document, Proof, RuleFailedError
from pipeline.errors import SpiderError
from pipeline.session.answer import Answer
from pipeline.session.encodings import codec, guessed
from pipeline.session.shown import clean
from pipeline.settings import SelectorTable

Read = TypeVar("Read")
_META = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w:.-]+)", re.IGNORECASE)
_HEADER = re.compile(r"charset\s*=\s*[\"']?([\w:.-]+)", re.IGNORECASE)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class Page:
    """One answer, decoded and parsed when first asked for. encoding: overrides what the page says of itself."""

    def __init__(self, answer: Answer, encoding: str | None = None) -> None:
        self.answer = answer
        self._override = encoding

    @cached_property
    def encoding(self) -> str:
        """Python's name of the page's encoding: override, byte order mark, header, meta, else guessed."""
        body = self.answer.body
        if self._override:
            return codec(self._override) or "utf-8"
        if found := next((name for bom, name in _BOMS if body.startswith(bom)), None):
            return found
        header = _HEADER.search(self.answer.headers.get("Content-Type", ""))
        if header and (found := codec(header[1])):
            return found
        meta = _META.search(body[:4096])
        if meta and (found := codec(meta[1].decode("ascii", "replace"))):
            # A page that says UTF-16 in ASCII letters is not UTF-16.
            return "utf-8" if found.startswith("utf-16") else found
        return guessed(body)

    @cached_property
    def text(self) -> str:
        return self.answer.body.decode(self.encoding, "replace").removeprefix("\ufeff")

    @cached_property
    def document(self) -> Document:
        """The page as the rules of items see it, too."""
        return Document(url=self.answer.url, status=self.answer.status, text=self.text,
                        headers=lambda: self.answer.headers, encoding=self.encoding)

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
            raise SpiderError(f"no valid selector: {clean(str(error), 120)}", fix="correct it in the settings") from error
