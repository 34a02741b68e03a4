"""Apply one extraction rule to a whole document, and return the values or links that the rule finds."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.crawl.extract.values import converter
from pipeline.documents.document import Document
from pipeline.documents.selectors import Find, Kind, finder, kind_for, root, select, split_css
from pipeline.model import Json
from pipeline.settings import SelectorTable

_SRCSET = re.compile(r"::attr\(\s*(?:data-)?srcset\s*\)|@(?:data-)?srcset\b")
_CANDIDATE = re.compile(r"[\s,]*(\S+)")
_DESCRIPTORS = re.compile(r"[^,(]*(?:\([^)]*\)?[^,(]*)*,?")
_LINKS = ("href", "src", "data-src", "srcset", "data-srcset", "data", "poster", "action", "content")
"""Attributes that contain a link, in order of precedence. Only the first attribute of an element counts."""
_OF_ONE_ELEMENT = {"data": "object", "poster": "video"}


class CompiledRule:
    """A compiled rule, which can be applied to whole documents."""

    def __init__(self, rule: SelectorTable) -> None:
        self.rule = rule
        self._kind = kind_for([rule])
        self._find = finder(rule, self._kind)
        self._convert = converter(rule)
        self._find_links = link_finder(rule, self._kind)

    def values(self, document: Document) -> list[Json]:
        """Return all values that the rule finds in a document. Raise RuleFailedError if the rule cannot be applied."""
        found = (self._convert(entry, document) for entry in self._find(root(document, self._kind), document))
        return [entry for entry in found if entry is not None]

    def links(self, document: Document) -> list[str]:
        """Return the links in the rule's matches, exactly as written in the document.

        Raise RuleFailedError if the rule cannot be applied.
        """
        return self._find_links(root(document, self._kind), document)


def link_finder(rule: SelectorTable, kind: Kind) -> Find:
    """Return a function that finds the links that a rule selects in a document.

    If the rule selects text, JSON or an attribute, the links are the values of the rule. If the rule selects elements, the links are
    the values of their link attributes.
    """
    if _SRCSET.search(rule.css or rule.xpath or ""):
        find, convert = finder(rule, kind), converter(rule)
        return lambda scope, document: [
            link for entry in find(scope, document) if isinstance(value := convert(entry, document), str)
            for link in srcset_links(value)]
    if rule.is_json or (rule.css is None and rule.xpath is None) or rule.regex is not None or "::" in (rule.css or ""):
        find, convert = finder(rule, kind), converter(rule)
        return lambda scope, document: [
            value for entry in find(scope, document) if isinstance(value := convert(entry, document), str)]
    if kind == "lexbor":
        css = split_css(rule.css or "")[0]
        return lambda scope, document: [
            link for node in scope.css(css) for link in _links_in(node.tag, node.attributes)]
    if kind == "json":
        inner_kind = kind_for([rule])
        inner = link_finder(rule, inner_kind)
        return lambda scope, document: inner(root(document, inner_kind), document)
    return lambda scope, document: [
        link for match in select(scope, rule)
        for link in (_links_in(match.root.tag, match.attrib) if hasattr(match.root, "tag") else [match.get()]) if link]


def _links_in(tag: str | None, attributes: Mapping[str, str | None]) -> list[str]:
    for name in _LINKS:
        value = attributes.get(name)
        if value and _OF_ONE_ELEMENT.get(name, tag) == tag:
            return srcset_links(value) if name.endswith("srcset") else [value]
    return []


def srcset_links(srcset: str) -> list[str]:
    """Return the URLs in a srcset attribute (HTML, 4.8.4.2.2), in their order."""
    links: list[str] = []
    at = 0
    while found := _CANDIDATE.match(srcset, at):
        link = found[1].rstrip(",")
        links += [link] if link else []
        descriptors = _DESCRIPTORS.match(srcset, found.end()) if link == found[1] else None
        at = descriptors.end() if descriptors else found.end()
    return links
