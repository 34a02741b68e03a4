"""A page as the lines a reader sees, and what in them is noise."""

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
    "p", "pre", "search", "section", "select", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr",
    "ul"])
_CELLS = frozenset(("td", "th"))
_UNSEEN = frozenset(["head", "script", "style", "template", "noscript", "svg", "iframe", "object", "math", "canvas"])
_BLANKS = re.compile(r"\s+")


def page_text(html: str) -> str:
    """The text of a page or of a part of it: a line for each block, blanks made one, table cells apart by a bar."""
    root = LexborHTMLParser(html or "<html></html>").root
    assert root is not None
    lines: list[str] = []
    line: list[str] = []

    def end_line() -> None:
        if not line:
            return
        text = " ".join("".join(line).split()).strip(" |")
        line.clear()
        if text:
            lines.append(text)

    # Iterative: a broken page may nest tens of thousands of elements.
    waiting: list[tuple[LexborNode | None, str]] = [(root, "")]
    while waiting:
        node, closing = waiting.pop()
        if node is None:
            end_line() if closing == "line" else line.append(closing)
            continue
        tag = node.tag
        if tag == "-text":
            line.append(node.text_content or "")
            continue
        if tag is None or tag in _UNSEEN or tag.startswith("-"):
            continue
        if tag in _CELLS:
            waiting.append((None, " | "))
        elif tag in _BLOCKS:
            end_line()
            waiting.append((None, "line"))
        waiting += [(child, "") for child in reversed(list(node.iter(include_text=True)))]
    end_line()
    return "\n".join(lines)


class Noise:
    """Regular expressions whose matches are not worth a change: dates, counters, advertisements."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [regex.compile(pattern) for pattern in patterns]

    def without(self, text: str) -> str:
        """The lines with all noise cut out; a line that was nothing else is left out. Raises RuleFailedError."""
        if not self._patterns:
            return text
        kept = (self._cut(line) for line in text.splitlines())
        return "\n".join(line for line in kept if line)

    def _cut(self, line: str) -> str:
        for pattern in self._patterns:
            try:
                line = pattern.sub("", line, timeout=REGEX_LIMIT_S)
            except TimeoutError as error:
                raise RuleFailedError(f"the regular expression {pattern.pattern!r} took longer than {REGEX_LIMIT_S} s "
                                      "on a line") from error
        return _BLANKS.sub(" ", line).strip()
