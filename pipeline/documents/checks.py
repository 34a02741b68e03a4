"""Applies the rules `login.check`, `login.expired`, `login.token` and `banned` to a document."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import regex

from pipeline.documents.document import Document
from pipeline.documents.regexes import as_text, search
from pipeline.documents.selectors import finder, kind_for, parsel_texts, root, select
from pipeline.model import Json
from pipeline.settings import SelectorTable

_NOTHING: tuple[Json, ...] = (None, False, [], {}, "")


class PageCheck:
    """One of the rules `login.check`, `login.expired`, `login.token` and `banned`.

    The selectors of such a rule work in the same way as the selectors of `items`. The methods of this class raise RuleFailedError
    if the rule cannot be applied.
    """

    def __init__(self, rule: SelectorTable) -> None:
        self._find = _finder(rule)
        self._pattern = regex.compile(rule.regex) if rule.regex is not None else None

    def matches(self, document: Document) -> bool:
        """Return whether the rule matches the document. If the rule has a regex, the regex must match too."""
        return any(True for _ in self._found(document))

    def first(self, document: Document) -> str:
        """Return the first match of the rule; "" if nothing matches.

        If the rule has a regex, return the regex's first group, or its whole match if it has no group.
        """
        return next(self._found(document), "").strip()

    def _found(self, document: Document) -> Any:
        for entry in self._find(document):
            text = as_text(entry)
            if self._pattern is None:
                yield text
            elif (narrowed := search(self._pattern, text)) is not None:
                yield narrowed


def _finder(rule: SelectorTable) -> Callable[[Document], list[Any]]:
    """Return a function that finds all matches of a rule in a document.

    Empty, null and false JSON values do not count as matches.
    """
    if rule.xpath is not None:
        return lambda document: parsel_texts(
            (match for match in select(document.parsel, rule) if not _is_false(match.root)), rule)
    kind = kind_for([rule])
    find = finder(rule, kind)
    if rule.is_json:
        return lambda document: [entry for entry in find(root(document, kind), document) if entry not in _NOTHING]
    return lambda document: find(root(document, kind), document)


def _is_false(found: object) -> bool:
    """Return whether the XPath function boolean() converts a value to false (XPath 1.0, section 4.3)."""
    return found is False or found == "" or (isinstance(found, float) and (found == 0 or math.isnan(found)))
