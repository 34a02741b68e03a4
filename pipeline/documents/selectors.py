"""Applies CSS, XPath and JMESPath rules to a part of a document.

A lexbor node, a parsel selector or JSON.

CSS is applied with lexbor, which is several times as fast as lxml. If any rule of a group uses XPath, or CSS that lexbor does not
support, all rules of the group are applied with parsel, so that they see the same tree. A rule for JSON is applied to the given
JSON value, to the page, or to the data that the rule's `json` or `data` names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Literal

import cssselect
import jmespath
import parsel
from jmespath.exceptions import JMESPathError
from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from pipeline.documents import embedded_data
from pipeline.documents.document import Document
from pipeline.documents.regexes import RuleFailedError
from pipeline.settings import SelectorTable

Kind = Literal["lexbor", "parsel", "json"]
Scope = Any
"""The part of a document to which rules are applied. Its type depends on Kind: LexborNode, parsel.Selector or JSON."""
Find = Callable[[Scope, Document], list[Any]]

_BREAK_FIRST = re.compile(r"<(?:pre|textarea|listing)(?: [^>]*)?>(?=\n)")
_PSEUDO = re.compile(r"^(?P<css>[^:]*(?::(?!:)[^:]*)*?)(?:::(?:(?P<text>text)|attr\(\s*(?P<attr>[\w:-]+)\s*\)))?\s*$")


_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def kind_for(rules: Iterable[SelectorTable]) -> Kind:
    """Return the kind of scope to which a group of rules is applied: "lexbor", "parsel" or "json".

    The kind is "json" if no rule of the group reads HTML.
    """
    group = [rule for rule in rules if rule.css is not None or rule.xpath is not None or rule.json_ is not None]
    if not group:
        return "json"
    return "parsel" if any(rule.xpath is not None or not _lexbor_knows(rule.css or rule.json_ or "") for rule in group) \
        else "lexbor"


@lru_cache(maxsize=256)
def _lexbor_knows(css: str) -> bool:
    match = _PSEUDO.match(css)
    if match is None or ("," in css and "::" in css):
        return False
    try:
        LexborHTMLParser("<i></i>").css(match["css"] or "*")
    except SelectolaxError:
        return False
    return True


def root(document: Document, kind: Kind) -> Scope:
    """Return the whole document as a scope of this kind, to which rules can be applied."""
    return document.lexbor if kind == "lexbor" else document.parsel if kind == "parsel" else document.json


def parts(rule: SelectorTable, kind: Kind) -> tuple[Kind, Find]:
    """Return a function that finds the parts of a document ("scopes") that match a rule, and the kind of these scopes.

    The caller applies other rules to each scope. The returned function raises RuleFailedError if the rule cannot be applied.
    """
    if rule.is_json:
        return "json", _json_values(rule, kind)
    if kind == "lexbor":
        css = split_css(rule.css or "")[0]
        return "lexbor", lambda scope, document: scope.css(css)
    if kind == "parsel":
        return "parsel", lambda scope, document: list(select(scope, rule))
    # In a group of rules for JSON, a CSS rule is applied to the whole page.
    return "lexbor", lambda scope, document: document.lexbor.css(split_css(rule.css or "")[0])


def finder(rule: SelectorTable, kind: Kind) -> Find:
    """Return a function that finds all matches of a rule as text or JSON.

    The returned function raises RuleFailedError if the rule cannot be applied.
    """
    if rule.page is not None or rule.header is not None:
        return lambda scope, document: _of_page(rule, document)
    if rule.is_json:
        return _json_values(rule, kind, whole=rule.type == "json" and not rule.many)
    if rule.css is None and rule.xpath is None:
        return lambda scope, document: [document.text]
    if kind == "lexbor":
        return _lexbor_finder(rule)
    if kind == "json":
        inner_kind = kind_for([rule])
        inner = finder(rule, inner_kind)
        return lambda scope, document: inner(root(document, inner_kind), document)
    return lambda scope, document: parsel_texts(select(scope, rule), rule)


def split_css(css: str) -> tuple[str, bool, str]:
    """Split a CSS selector at its pseudo-element.

    Return the CSS before the pseudo-element, whether the pseudo-element is ::text, and the attribute name in ::attr() or "".
    """
    match = _PSEUDO.match(css)
    assert match is not None  # rules that do not match this pattern are applied with parsel
    return match["css"].strip() or "*", bool(match["text"]), match["attr"] or ""


def _lexbor_finder(rule: SelectorTable) -> Find:
    css, text, attr = split_css(rule.css or "")
    if attr:
        return lambda scope, document: [
            value for node in scope.css(css) if (value := node.attributes.get(attr)) is not None]
    if text:
        return lambda scope, document: [
            text for node in scope.css(css) for child in node.iter(include_text=True)
            if child.is_text_node and (text := child.text_content) and text.strip()]
    if rule.type == "html":
        return lambda scope, document: [_markup(node) for node in scope.css(css)]
    if rule.type in ("number", "price"):
        return lambda scope, document: [
            _with_raised_digits(node) if document.may_have_superscript else node.text(deep=True, separator="") for node in scope.css(css)]
    return lambda scope, document: [node.text(deep=True, separator="") for node in scope.css(css)]


def _with_raised_digits(node: LexborNode) -> str:
    """Return the text of an element, with digits in <sup> as superscript characters.

    Without this, $12<sup>99</sup> would become $1299.
    """
    found = []
    for child in node.traverse(include_text=True):
        if child.is_text_node:
            text, parent = child.text_content or "", child.parent
            raised = parent is not None and parent.tag == "sup" and text.strip().isascii() and text.strip().isdigit()
            found.append(text.strip().translate(_RAISED) if raised else text)
    return "".join(found)


def _markup(node: LexborNode) -> str:
    """Return the HTML of an element, written so that parsing it results in the same element.

    Parsers drop a line break right after <pre>, so such a line break is doubled.
    """
    html = node.html or ""
    if ">\n" not in html:  # there is no tag that is followed by a line break
        return html
    return _BREAK_FIRST.sub(r"\g<0>\n", html) if "<pre" in html or "<textarea" in html or "<listing" in html else html


def select(scope: parsel.Selector, rule: SelectorTable) -> parsel.SelectorList[parsel.Selector]:
    """Return the matches of an XPath expression, or of CSS that lexbor does not support.

    Raises RuleFailedError if the rule cannot be applied.
    """
    try:
        return scope.xpath(rule.xpath) if rule.xpath else scope.css(rule.css or "")
    except (ValueError, TypeError, re.error, cssselect.SelectorError) as error:  # for example, an XPath function does not accept its arguments
        raise RuleFailedError(str(error)) from error


def parsel_texts(matches: Iterable[parsel.Selector], rule: SelectorTable) -> list[str]:
    """Return the texts of a rule's matches.

    The text of an element is the joined text of all its descendants. Attributes and text nodes are returned unchanged.
    """
    found: list[str] = []
    for match in matches:
        if not hasattr(match.root, "tag"):
            value = match.get()
            if value.strip() or "::attr" in (rule.css or "") or "@" in (rule.xpath or ""):
                found.append(value)
        elif rule.type == "html":
            found.append(match.get())
        else:
            found.append("".join(match.root.itertext()))
    return found


def _json_values(rule: SelectorTable, kind: Kind, *, whole: bool = False) -> Find:
    """Return a function that finds the values of a rule for JSON.

    whole: if a match is a list, whether to return the list as one value instead of its entries as separate values.
    """
    expression = jmespath.compile(rule.jmes or "@")
    where = _json_source(rule, kind)

    def find(scope: Scope, document: Document) -> list[Any]:
        found: list[Any] = []
        problems: list[str] = []
        for value in where(scope, document, problems):
            try:
                match = expression.search(value)
            except (JMESPathError, RecursionError) as error:
                raise RuleFailedError(f"{rule.jmes!r}: {str(error).partition(chr(10))[0]}") from error
            found += match if isinstance(match, list) and not whole else [] if match is None else [match]
        found = [entry for entry in found if entry is not None]
        if problems and not found:  # the wanted value may be in data that could not be read
            raise RuleFailedError("; ".join(problems[:3]))
        return found

    return find


def _json_source(rule: SelectorTable, kind: Kind) -> Callable[[Scope, Document, list[str]], list[Any]]:
    """Return a function that gets the JSON values of a page to which the rule's `jmes` is applied.

    If some data cannot be read, the function appends a message to the list in its last argument.
    """
    if rule.data is not None:
        name = rule.data

        def data(scope: Scope, document: Document, problems: list[str]) -> list[Any]:
            found = document.data(name)
            problems += document.problems.get(name, ())
            return [found]

        return data
    if rule.json_ is not None:
        css = rule.json_
        if kind == "lexbor":
            return lambda scope, document, problems: _scripts(
                [(node.text(deep=True), node.attributes.get("type")) for node in scope.css(css)], problems)
        if kind == "parsel":
            return lambda scope, document, problems: _scripts(
                [("".join(node.root.itertext()), node.attrib.get("type")) for node in scope.css(css)], problems)
        return lambda scope, document, problems: _scripts(
            [(node.text(deep=True), node.attributes.get("type")) for node in document.lexbor.css(css)], problems)
    if kind == "json":
        return lambda scope, document, problems: [scope]
    return lambda scope, document, problems: [document.json]


def _scripts(found: list[tuple[str, str | None]], problems: list[str]) -> list[Any]:
    """Return the data of script elements, and append the problems to `problems`.

    If there are several scripts, a problem is reported only for scripts with a JSON type.
    """
    values: list[Any] = []
    for text, kind in found:
        read, problem = embedded_data.read_script(text, kind=kind or "")
        values += read or [None]
        if problem and (len(found) == 1 or "json" in (kind or "").lower()):
            problems.append(problem)
    return values


def _of_page(rule: SelectorTable, document: Document) -> list[str]:
    if rule.header is not None:
        found = document.headers.get(rule.header.lower())
        return [found] if found is not None else []
    if rule.page == "title":
        title = document.lexbor.css_first("title")
        return [title.text()] if title is not None else []
    return [str(document.status) if rule.page == "status" else document.url]
