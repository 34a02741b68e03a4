"""A page as the lines a reader sees, and what in them is noise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import AnyStr

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
_UNSEEN = frozenset(["head", "script", "style", "template", "noscript", "svg", "iframe", "object", "math", "canvas"])
_KEPT = frozenset(["pre", "textarea", "listing", "xmp", "plaintext"])
"""Elements whose lines are lines."""
_BLANKS = re.compile(r"\s+")
# Bytes that no text has (WHATWG MIME Sniffing, 3): not tab, line feed, form feed, carriage return or escape.
_BINARY = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_HTML_TYPES = ("text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml")
_UNTOLD = ("", "application/octet-stream", "binary/octet-stream", "application/unknown", "unknown/unknown", "*/*")
# What begins an HTML document where no type says so (WHATWG MIME Sniffing, 7.1).
_HTML_START = re.compile(r"\ufeff?\s*(?:<!--.{0,2000}?-->\s*)*<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|"
                         r"title|b|body|br|p)[\s>]", re.IGNORECASE | re.DOTALL)
_XHTML_START = re.compile(r"[^<]{0,100}<\?xml.{0,500}?<html[\s>]", re.IGNORECASE | re.DOTALL)


_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
          (b"\xfe\xff", "utf-16"),
          (b"<\x00", "utf-16-le"), (b"\x00<", "utf-16-be"), (b"{\x00", "utf-16-le"), (b"\x00{", "utf-16-be"))
"""How a text begins, and what it is in (XML 1.0, appendix F)."""


_AMPERSAND = r"<!\[CDATA\[.*?\]\]>|<!--.*?-->|&(?!#\d+;|#[xX][\da-fA-F]+;|[a-zA-Z][a-zA-Z\d.]*;)"
_BARE_AMPERSAND = re.compile(_AMPERSAND, re.DOTALL)
_BARE_AMPERSAND_BYTES = re.compile(_AMPERSAND.encode(), re.DOTALL)


def marked_encoding(body: bytes) -> str | None:
    """The encoding that the first bytes of XML or JSON tell: a byte order mark, or the zeros of UTF-16."""
    return next((name for mark, name in _MARKS if body.startswith(mark)), None)


def with_bare_ampersands_escaped(xml: AnyStr) -> AnyStr:
    """XML whose "AT&T" and "?a=1&b=2" are made what they mean; CDATA and comments stay as they are."""
    if isinstance(xml, bytes):
        return _BARE_AMPERSAND_BYTES.sub(lambda match: b"&amp;" if match[0] == b"&" else match[0], xml)
    return _BARE_AMPERSAND.sub(lambda match: "&amp;" if match[0] == "&" else match[0], xml)


def is_html(text: str, content_type: str) -> bool:
    """Whether a browser shows a response as a page, and not as the text it is; where its type does not say, by its start."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _HTML_TYPES:
        return True
    if kind in ("application/xml", "text/xml"):
        return bool(_XHTML_START.match(text[:3000]))
    return kind in _UNTOLD and bool(_HTML_START.match(text[:3000]) or _XHTML_START.match(text[:3000]))


def is_binary(text: str) -> bool:
    """Whether it has characters that no text has."""
    return bool(_BINARY.search(text))


def plain_text(text: str) -> str:
    """A text that is no HTML, line by line as it is: one kind of line end, no blanks at the ends of lines."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def page_text(html: str) -> str:  # noqa: C901  one walk through a tree
    """The text of a page or of a part of it: a line for each block, blanks made one, table cells apart by a bar.

    <pre> and <textarea> keep their lines, blank ones too, and the blanks they begin with.
    """
    root = LexborHTMLParser(html or "<html></html>").root
    assert root is not None
    lines: list[str] = []
    line: list[str] = []
    kept = 0  # how many elements around keep their lines

    def end_line(*, broken: bool = False) -> None:
        """broken: by a line break that is kept, which makes a blank line one, too."""
        if not line and not broken:
            return
        whole = "".join(line)
        text = whole.rstrip() if kept else " ".join(whole.split()).strip(" |")
        line.clear()
        if text or broken:
            lines.append(text)

    # Iterative: a broken page may nest tens of thousands of elements.
    waiting: list[tuple[LexborNode | None, str]] = [(root, "")]
    while waiting:
        node, closing = waiting.pop()
        if node is None:
            if closing == _CELL:
                line.append(closing)
            else:
                end_line()
                kept -= closing == "kept"
            continue
        tag = node.tag
        if tag == "-text":
            parts = (node.text_content or "").split("\n") if kept else [node.text_content or ""]
            for part in parts[:-1]:
                line.append(part)
                end_line(broken=True)
            line.append(parts[-1])
            continue
        if tag is None or tag in _UNSEEN or tag.startswith("-"):
            continue
        if tag in _CELLS:
            waiting.append((None, _CELL))
        elif tag in _KEPT:
            end_line()
            kept += 1
            waiting.append((None, "kept"))
        elif tag == "br":
            end_line(broken=kept > 0)
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
