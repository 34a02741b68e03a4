"""The built-in spider `watch`.

The text, and a picture if wanted, of each page, or of a part of each page, is an item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import regex
from scrapy.http import Response

from pipeline.crawl.browser.visual_watch import picture_of
from pipeline.crawl.built_in import BuiltInSpider, TriedRule
from pipeline.crawl.collector import Found
from pipeline.crawl.extract import CompiledRule, Document, RejectedItem, RuleFailedError
from pipeline.crawl.extract.page_text import NoiseFilter, is_binary, is_html, is_html_type, page_text, plain_text
from pipeline.crawl.interfaces import IS_RENDERED
from pipeline.documents.regexes import search
from pipeline.documents.removal import without_elements
from pipeline.documents.scripted_pages import script_message, shows_nothing
from pipeline.settings import SelectorTable, SpiderTable, WatchTable
from spiders.crawl import document_of

_SHORT = 400
"""A page with at most this many characters of text may show nothing without JavaScript: the text contains that of noscript elements."""


class WatchSpider(BuiltInSpider):
    """Watches the text of pages. An item has the fields url, name and text.

    The text consists of the lines of the page, without the elements of `without`, empty lines and the matches of `ignore`. Text that is not HTML
    is unchanged. With `visual`, the item has the field picture, too, which pipeline.crawl.browser.visual_watch adds.
    """

    name = "watch"
    key = "url"
    does = "compares the text of pages, or of parts of them"
    item = "a page: `url`, `name`, `text`, and `picture` with watch.visual"

    def __init__(self, table: WatchTable, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        part = table.part
        if part is not None and part.css is not None and part.type == "text" and "::" not in part.css:
            part = part.model_copy(update={"type": "html"})  # with type "html", each block element becomes a line
        self._part = CompiledRule(part) if part is not None else None
        self._is_html = part is not None and part.type == "html"
        self._is_named = table.name is not None
        self._name = CompiledRule(table.name if table.name is not None else SelectorTable(page="title"))
        self._without = table.without
        self._ignored = len(table.visual.ignore) if table.visual is not None else 0
        self._noise = NoiseFilter(table.ignore)

    @classmethod
    def arguments(cls, table: SpiderTable) -> dict[str, Any]:
        return {"table": table.watch}

    @classmethod
    def own_rules(cls, table: SpiderTable, document: Document) -> Iterator[TriedRule]:
        """Yield the rules for `part` and `name`, and a rule for each selector of `without` and each pattern of `ignore`."""
        watch = table.watch
        for place, selector in enumerate(watch.without):
            yield TriedRule(f"watch.without[{place}]", selector, partial(_values, SelectorTable(css=selector), document))
        page = without_elements(document, watch.without)[0] if watch.without else document
        for name, rule, read in (("watch.part", watch.part, page), ("watch.name", watch.name, document)):
            if rule is not None:
                yield TriedRule(name, rule, partial(_values, rule, read))
        lines = _lines(watch.part, page)
        for place, pattern in enumerate(watch.ignore):
            yield TriedRule(f"watch.ignore[{place}]", pattern, partial(_matches, pattern, lines))

    def parse(self, response: Response, **kwargs: Any) -> Iterator[Found]:
        """Yield the item of a page. If the page lacks the watched part, reject the item, so that it is not reported as changed."""
        url = response.meta.get("redirect_urls", [response.url])[0]
        document = document_of(response)
        if document is None:
            kind = _content_type(response) or "no type"
            yield Found(rejected=[RejectedItem({"url": url}, f"the response is not text, but {kind}")])
            return
        content_type = _content_type(response)
        html = is_html_type(content_type) or is_html(document.text, content_type)  # is_html_type first, because it needs no decoding
        if not html and is_binary(document.text):
            yield Found(rejected=[RejectedItem({"url": url}, "the response is not text, but binary data")])
            return
        picture = picture_of(response)
        counts = {} if picture is None else {f"watch.visual.ignore[{place}]": (count, 0) for place, count in zip(range(self._ignored), picture.hidden, strict=False)}
        try:
            if html or self._is_named:
                names = self._name.values(document)
                name = " ".join(str((names or [""])[0]).split())
                if self._is_named:
                    counts["watch.name"] = (len(names), 0)
            else:
                name = unquote(urlsplit(url).path.rpartition("/")[2])
            page = document
            if self._without and html:
                page, removed = without_elements(document, self._without)
                counts |= {f"watch.without[{place}]": (count, 0) for place, count in enumerate(removed)}
            if self._part is None:
                text = page_text(page.text) if html else plain_text(page.text)
                if html and len(text) <= _SHORT and shows_nothing(document) and (reason := script_message(document, is_rendered=IS_RENDERED in response.flags)):
                    yield Found(rejected=[RejectedItem({"url": url, "name": name}, reason)])
                    return
            else:
                parts = [str(part) for part in self._part.values(page)]
                counts["watch.part"] = (len(parts), 0)
                if not parts:
                    reason = "the watched part was not found on the page"
                    yield Found(rejected=[RejectedItem({"url": url, "name": name}, reason)], counts=counts)
                    return
                text = "\n".join(page_text(part) if self._is_html else part for part in parts)
            yield Found(items=[{"url": url, "name": name, "text": self._noise.without(text)}], counts=counts, picture=picture)
        except RuleFailedError as reason:
            yield Found(rejected=[RejectedItem({"url": url}, str(reason))])


def _values(rule: SelectorTable, document: Document) -> list[Any]:
    return CompiledRule(rule).values(document)


def _matches(pattern: str, lines: Iterable[str]) -> list[str]:
    """Return the matches of a pattern of `ignore`: one for each line in which the pattern matches."""
    compiled = regex.compile(f"(?:{pattern})")
    return [match for line in lines if (match := search(compiled, line)) is not None]


def _lines(part: SelectorTable | None, document: Document) -> list[str]:
    """Return the lines of the watched part of a page; [] if the selector of the part fails.

    `pipeline try` shows the failure itself at the rule for the part.
    """
    if part is None:
        read = page_text if is_html(document.text, document.headers.get("content-type", "")) else plain_text
        return read(document.text).splitlines()
    try:
        values = CompiledRule(part.model_copy(update={"type": "html"})).values(document)
    except RuleFailedError:
        return []
    return page_text("\n".join(map(str, values))).splitlines()


def _content_type(response: Response) -> str:
    return (response.headers.get("Content-Type") or b"").decode("latin-1")
