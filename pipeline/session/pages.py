"""A fetched page as text and as a document, and whether a selector of the settings matches on it."""

from __future__ import annotations

import codecs
import json
import re
from functools import cached_property
from typing import Any

import jmespath
from cssselect import SelectorError
from jmespath.exceptions import JMESPathError
from lxml import etree, html  # type: ignore[import-untyped]
from lxml.cssselect import CSSSelector  # type: ignore[import-untyped]

from pipeline.errors import SpiderError
from pipeline.session.answer import Answer
from pipeline.session.shown import clean
from pipeline.settings import SelectorTable

_META = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w:.-]+)", re.IGNORECASE)
_HEADER = re.compile(r"charset\s*=\s*[\"']?([\w:.-]+)", re.IGNORECASE)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# What the Encoding Standard reads under these labels (python's name on the right).
_SUPERSETS = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932",
              "euc_kr": "cp949", "big5": "big5hkscs"}
_PSEUDO = re.compile(r"(.*?)::(text|attr\(\s*([^)\s]+)\s*\))\s*", re.DOTALL)


class Page:
    """One answer, decoded and parsed when first asked for. encoding: overrides what the page says of itself."""

    def __init__(self, answer: Answer, encoding: str | None = None) -> None:
        self.answer = answer
        self._override = encoding

    @cached_property
    def encoding(self) -> str:
        """Python's name of the page's encoding: override, byte order mark, header, meta, else UTF-8 or cp1252."""
        body = self.answer.body
        if self._override:
            return _codec(self._override) or "utf-8"
        if found := next((name for bom, name in _BOMS if body.startswith(bom)), None):
            return found
        header = _HEADER.search(self.answer.headers.get("Content-Type", ""))
        if header and (found := _codec(header[1])):
            return found
        meta = _META.search(body[:4096])
        if meta and (found := _codec(meta[1].decode("ascii", "replace"))):
            # A page that says UTF-16 in ASCII letters is not UTF-16.
            return "utf-8" if found.startswith("utf-16") else found
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            return "cp1252"
        return "utf-8"

    @property
    def form_encoding(self) -> str:
        """What its forms are sent in (Encoding Standard, 4.3: never UTF-16)."""
        return "utf-8" if self.encoding.startswith("utf-16") else "gbk" if self.encoding == "gb18030" else self.encoding

    @cached_property
    def text(self) -> str:
        return self.answer.body.decode(self.encoding, "replace").removeprefix("\ufeff")

    @cached_property
    def document(self) -> html.HtmlElement:
        data = self.text.replace("\0", "\ufffd").encode("utf-8", "replace")
        parser = html.HTMLParser(encoding="utf-8", no_network=True)
        return html.document_fromstring(data if data.strip() else b"<html></html>", parser=parser)

    def matches(self, selector: SelectorTable) -> bool:
        """Whether the selector finds anything here (and its regex, when it has one, is in what it found).

        Raises SpiderError for a selector that is none.
        """
        try:
            found = self._found(selector)
            if selector.regex is not None:
                pattern = re.compile(selector.regex)
                return any(pattern.search(text) for text in found)
            return bool(found)
        except (SelectorError, etree.XPathError, JMESPathError, re.error) as error:
            raise SpiderError(f"no valid selector: {clean(str(error), 120)}", fix="correct it in the settings") from error

    def value(self, selector: SelectorTable) -> str:
        """The first thing the selector finds (of its regex the first group, or all of it), "" for none."""
        if not self.matches(selector):
            return ""
        found = self._found(selector)
        if selector.regex is None:
            return found[0].strip()
        match = next(match for text in found if (match := re.search(selector.regex, text)))
        return (match[1] if match.re.groups else match[0]) or ""

    def _found(self, selector: SelectorTable) -> list[str]:
        if selector.css is not None:
            return self._css(selector.css)
        if selector.xpath is not None:
            return self._xpath(selector.xpath)
        if selector.jmes is not None:
            return self._jmes(selector.jmes)
        if selector.header is not None:
            value = self.answer.headers.get(selector.header)
            return [] if value is None else [value]
        if selector.page == "status":
            return [str(self.answer.status)]
        if selector.page == "url":
            return [self.answer.url]
        return self._css("title::text") if selector.page == "title" else [self.text]

    def _css(self, css: str) -> list[str]:
        pseudo = _PSEUDO.fullmatch(css)
        elements = CSSSelector(pseudo[1] if pseudo else css, translator="html")(self.document)
        if pseudo and pseudo[3]:
            return [value for element in elements if (value := element.get(pseudo[3])) is not None]
        texts = [str(element.text_content()) for element in elements]
        return [text for text in texts if text.strip()] if pseudo else texts

    def _xpath(self, xpath: str) -> list[str]:
        found = self.document.xpath(xpath)
        if isinstance(found, list):
            return [str(each.text_content() if hasattr(each, "text_content") else each) for each in found]
        return [] if found is False or found == "" else [str(found)]

    def _jmes(self, path: str) -> list[str]:
        try:
            data = json.loads(self.text)
        except (ValueError, RecursionError):
            return []  # not JSON, so nothing in it matches
        found: Any = jmespath.search(path, data)
        return [] if found in (None, False, [], {}, "") else [found if isinstance(found, str) else json.dumps(found)]


def _codec(label: str) -> str | None:
    try:
        name = codecs.lookup(label.strip()).name
        b"".decode(name)  # raises for rot13 and other codecs that are no text encodings
    except LookupError:
        return None
    return _SUPERSETS.get(name, name)
