"""Convert a page to the lines of text that a reader sees, without noise such as dates."""

from __future__ import annotations

import re
from collections.abc import Sequence

import regex
from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.documents.regexes import REGEX_LIMIT_S, RuleFailedError

_BLOCKS = frozenset([
    "address", "article", "aside", "blockquote", "body", "br", "button", "caption", "center", "dd", "details",
    "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3",
    "h4", "h5", "h6", "header", "hgroup", "hr", "html", "legend", "li", "main", "menu", "nav", "ol", "option",
    "p", "search", "section", "select", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr",
    "ul"])
_CELLS = frozenset(("td", "th"))
_CELL = " | "
_INVISIBLE = frozenset(["head", "script", "style", "template", "noscript", "svg", "iframe", "object", "math", "canvas"])
_PREFORMATTED = frozenset(["pre", "textarea", "listing", "xmp", "plaintext"])
"""HTML elements in which line breaks and spaces are kept."""
_BLANKS = re.compile(r"\s+")
# Bytes that do not occur in text (WHATWG MIME Sniffing, 3): control characters except tab, line feed, form feed,
# carriage return and escape.
_BINARY = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_HTML_TYPES = ("text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml")
_UNSPECIFIC_TYPES = ("", "application/octet-stream", "binary/octet-stream", "application/unknown", "unknown/unknown", "*/*")
# The beginning of an HTML document whose Content-Type is unspecific (WHATWG MIME Sniffing, 7.1).
_HTML_START = re.compile(r"\ufeff?\s*(?:<!--.{0,2000}?-->\s*)*<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|"
                         r"title|b|body|br|p)[\s>]", re.IGNORECASE | re.DOTALL)
_XHTML_START = re.compile(r"[^<]{0,100}<\?xml.{0,500}?<html[\s>]", re.IGNORECASE | re.DOTALL)


def is_html(text: str, content_type: str) -> bool:
    """Return whether a browser would show a response as an HTML page and not as plain text.

    The Content-Type decides; if it is missing, generic or XML, the beginning of the text decides.
    """
    if is_html_type(content_type):
        return True
    kind = _kind_of(content_type)
    if kind in ("application/xml", "text/xml"):
        return bool(_XHTML_START.match(text[:3000]))
    return kind in _UNSPECIFIC_TYPES and bool(_HTML_START.match(text[:3000]) or _XHTML_START.match(text[:3000]))


def is_html_type(content_type: str) -> bool:
    """Return whether the Content-Type declares an HTML page."""
    return _kind_of(content_type) in _HTML_TYPES


def _kind_of(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def is_binary(text: str) -> bool:
    """Return whether the text contains control characters that occur only in binary data."""
    return bool(_BINARY.search(text))


def plain_text(text: str) -> str:
    """Return a text that is not HTML with uniform line ends and without spaces at the ends of lines."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def page_text(html: str) -> str:
    """Return the text of HTML, with one line for each block element.

    Spaces are collapsed, and table cells are separated by " | ". Line breaks, blank lines and leading spaces are kept in elements
    such as <pre> and <textarea>.
    """
    root = LexborHTMLParser(html or "<html></html>").root
    assert root is not None
    lines = _Lines()
    # This is a loop and not a recursion, since a broken page may nest tens of thousands of elements. In `waiting`, None instead of a node
    # marks the end of an element.
    waiting: list[tuple[LexborNode | None, str]] = [(root, "")]
    while waiting:
        node, closing = waiting.pop()
        if node is None:
            lines.close(closing)
            continue
        tag = node.tag
        if tag == "-text":
            lines.add(node.text_content or "")
            continue
        if tag is None or tag in _INVISIBLE or tag.startswith("-"):
            continue
        if tag in _CELLS:
            waiting.append((None, _CELL))
        elif tag in _PREFORMATTED:
            lines.end()
            lines.preformatted += 1
            waiting.append((None, "preformatted"))
        elif tag == "br":
            lines.end(line_break=lines.preformatted > 0)
        elif tag in _BLOCKS:
            lines.end()
            waiting.append((None, "block"))
        waiting += [(child, "") for child in reversed(list(node.iter(include_text=True)))]
    lines.end()
    return "\n".join(lines.done)


class _Lines:
    """Collects the lines of a page's text.

    preformatted: the number of open elements such as <pre>.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self.preformatted = 0
        self._line: list[str] = []

    def add(self, text: str) -> None:
        """Add the text of a text node to the current line."""
        if self.preformatted:
            *before, text = text.split("\n")
            for part in before:
                self._line.append(part)
                self.end(line_break=True)
        self._line.append(text)

    def end(self, *, line_break: bool = False) -> None:
        """End the current line.

        line_break: whether the line ends at a line break in an element such as <pre>; if so, the line is kept even if it is
        empty.
        """
        if not self._line and not line_break:
            return
        whole = "".join(self._line)
        text = whole.rstrip() if self.preformatted else " ".join(whole.split()).strip(" |")
        self._line.clear()
        if text or line_break:
            self.done.append(text)

    def close(self, closing: str) -> None:
        """End an element. closing: the kind of the element: _CELL, "block" or "preformatted"."""
        if closing == _CELL:
            self._line.append(closing)
        else:
            self.end()
            self.preformatted -= closing == "preformatted"


class NoiseFilter:
    """Removes text that does not count as a change of a page, such as dates, counters and advertisements."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [regex.compile(pattern) for pattern in patterns]

    def without(self, text: str) -> str:
        """Remove the matches of the patterns, and the lines that are empty afterwards, from a text, and return the result.

        Raise RuleFailedError if a pattern takes too long.
        """
        if not self._patterns:
            return text
        kept = ((line, self._cut(line)) for line in text.splitlines())
        return "\n".join(cut for line, cut in kept if cut or not line)

    def _cut(self, line: str) -> str:
        whole = line
        for pattern in self._patterns:
            try:
                line = pattern.sub("", line, timeout=REGEX_LIMIT_S)
            except TimeoutError as error:
                raise RuleFailedError(f"the regular expression {pattern.pattern!r} took longer than {REGEX_LIMIT_S} s "
                                      "on a line") from error
        return line if line == whole else _BLANKS.sub(" ", line).strip()
