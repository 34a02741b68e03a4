"""One HTTP response as a parsed document. The trees and the embedded data are created at first use."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, cast

import parsel
from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.documents import embedded_data
from pipeline.model import Json
from pipeline.urls import absolute, base_of

_BASE_TAGS = ("<base", "<BASE", "<Base")
_BASE_TAGS_UTF8 = tuple(tag.encode() for tag in _BASE_TAGS)
_LIKE_ASCII = frozenset({"utf-8", "cp1252"})
_LARGE_BYTES = 1_000_000
_PIECE_BYTES = 65_536


class Document:
    """An HTTP response, with all data that extraction rules read.

    url: the URL of the page, to which links are relative unless the page has a <base>; text: the decoded body, or a function that
    returns the decoded body; headers: a function that returns the response headers; encoding: the encoding of the page, in which
    the queries of its links are encoded too; body: the received bytes; if they are UTF-8, the HTML5 tree is built from the bytes
    and not from the text. is_rendered: whether it is the DOM of a page in a browser, whose links may be routes (see pipeline.urls.route_of).
    """

    def __init__(self, *, url: str, status: int, text: str | Callable[[], str], headers: Callable[[], Mapping[str, str]],
                 encoding: str = "utf-8", body: bytes | None = None, is_rendered: bool = False) -> None:
        self.url = url
        self.is_rendered = is_rendered
        self.status = status
        self.encoding = encoding
        self._text = text
        self._headers = headers
        self._utf8 = body if body and is_utf8(body, encoding) else None

    @cached_property
    def text(self) -> str:
        return self._text if isinstance(self._text, str) else self._text()

    @cached_property
    def headers(self) -> dict[str, str]:
        """The response headers, with names in lower case."""
        return {name.lower(): value for name, value in self._headers().items()}

    @cached_property
    def may_have_superscript(self) -> bool:
        return "<sup" in self.text

    @cached_property
    def lexbor(self) -> LexborNode:
        root = LexborHTMLParser(self._utf8 or self.text or "<html></html>").root
        assert root is not None
        return root

    @cached_property
    def parsel(self) -> parsel.Selector:
        found = parsel.Selector(text=self.text or "<html></html>", type="html", base_url=self.url)
        if "<template" in self.text or "<TEMPLATE" in self.text:
            for template in found.root.iter("template"):  # as in lexbor, the content of a template is not part of the page
                template.text = None
                template[:] = []
        return found

    @cached_property
    def json(self) -> Json:
        """The body parsed as JSON; None if it is not JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    def data(self, kind: str) -> Json:
        """Return the embedded data of one kind: "json-ld", "opengraph", "microdata" or "csv"."""
        if kind not in self._data:
            if kind == "csv":
                self._data[kind] = embedded_data.rows(self.text)
            else:
                page = embedded_data.ParsedPage(self.lexbor, self.base)
                self._data[kind] = embedded_data.READERS[kind](page)
                self.problems[kind] = page.problems
        return self._data[kind]

    @cached_property
    def problems(self) -> dict[str, list[str]]:
        """The problems found while reading embedded data, by kind of data."""
        return {}

    @cached_property
    def _data(self) -> dict[str, Json]:
        return {}

    @cached_property
    def base(self) -> str:
        """The base URL of relative links: the <base href> of the page, or else the URL of the page."""
        if not self._may_have_base:  # for most pages and for all JSON, this saves the search
            return self.url
        found = self.lexbor.css_first("base[href]")
        return base_of(found.attributes.get("href") or "", self.url) if found is not None else self.url

    @property
    def _may_have_base(self) -> bool:
        if self._utf8 is not None:
            return any(tag in self._utf8 for tag in _BASE_TAGS_UTF8)
        return any(tag in self.text for tag in _BASE_TAGS)

    def absolute(self, link: str) -> str:
        """Return the absolute http(s) URL of a link on this page; "" if the link has no such URL."""
        return absolute(link, self.base, self.encoding, routes=self.is_rendered)


def is_utf8(body: bytes, encoding: str) -> bool:
    """Return whether a quick test shows that the bytes of a body are the text in UTF-8.

    If so, a large page can be parsed without creating a str, which would need up to four bytes per character. For a small page
    that is not ASCII, the result is False, because the test would cost as much as decoding the page.
    """
    if encoding not in _LIKE_ASCII:
        return False
    if body.isascii():
        return True
    if encoding != "utf-8" or len(body) < _LARGE_BYTES or body.startswith(codecs.BOM_UTF8):
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(body), _PIECE_BYTES):
            decoder.decode(body[at:at + _PIECE_BYTES], final=at + _PIECE_BYTES >= len(body))
    except UnicodeDecodeError:
        return False
    return True


def header_map(headers: Mapping[bytes, list[bytes]]) -> dict[str, str]:
    """Return response headers as text. The values of repeated headers are joined with commas."""
    return {name.decode("latin-1"): ", ".join(cast("Any", entry).decode("latin-1") for entry in values)
            for name, values in headers.items()}
