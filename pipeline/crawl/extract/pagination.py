"""Pagination: request the next page of a listing by number, offset or cursor."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, Self
from urllib.parse import quote_plus

from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.http import Request as ScrapyRequest
from scrapy.http import Response

from pipeline.crawl.context import context_of
from pipeline.crawl.extract import CompiledRule, Document
from pipeline.crawl.interfaces import START, VARIANT
from pipeline.model import Json, Request
from pipeline.settings import PagesTable

PAGE = "pipeline_page"
"""The meta key of a request for a further page of a listing.

The value contains the number of the page, and a hash of the previous page's items.
"""
_FILLED = "pipeline_page_filled"


class Pagination:
    """Creates the request for the next page of a listing. The current page number is stored in the meta of the request."""

    def __init__(self, table: PagesTable) -> None:
        self._table = table
        self._cursor = CompiledRule(table.cursor) if table.cursor is not None else None

    @property
    def name(self) -> str:
        """The name of the rule in [spiders.NAME]."""
        return "pages" if self._cursor is None else "pages.cursor"

    def applies(self, response: Response) -> bool:
        """Return whether a further page of the listing may follow: this is a page of the listing, and `limit` is not reached."""
        meta = response.meta
        here = meta.get(PAGE)
        if not here and (meta.get("depth", 0) or VARIANT in meta):
            return False  # the page is neither a start page nor a further page of the listing
        return not self._table.limit or (here or {}).get("number", 0) + 1 < self._table.limit

    def after(self, response: Response, document: Document, items: list[dict[str, Json]]) -> Request | None:
        """Return the request for the next page of a listing to which the rule applies; None after the last page.

        items: the items of the current page. Raise RuleFailedError if the rule for the cursor cannot be applied.
        """
        meta = response.meta
        here: dict[str, Json] = meta.get(PAGE) or {}
        number = here.get("number", 0) + 1
        had = sha256(json.dumps(items, sort_keys=True, default=str).encode()).hexdigest()[:16]
        if self._cursor is not None:
            value = next((found for found in self._cursor.values(document) if found not in ("", False)), None)
            if value is None:
                return None
        elif not items or had == here.get("had"):  # the same items as before: many sites send the last page again for all higher page numbers
            return None
        else:
            value = self._table.first + number * self._table.step
        url = here.get("url") or meta.get("redirect_urls", [response.url])[0]
        following = {"number": number, "value": value, "url": url, "had": had}
        if self._table.state is not None:
            following["state"] = _hidden_fields(document, self._table.state)
        kept = {START: meta[START]} if START in meta else {}
        if self._table.where == "query":
            return Request(with_param(url, self._table.param, str(value)), meta={**kept, PAGE: following})
        return Request(url, meta={**kept, PAGE: following, VARIANT: f"page {value}"})


class FillPageNumber:
    """Sets the page number in the body of a request: in a form or in JSON. FillStartRequest has added the body before."""

    def __init__(self, crawler: Crawler) -> None:
        pages = context_of(crawler).table.pages
        if pages is None or pages.where == "query":
            raise NotConfigured
        self._pages = pages

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def process_request(self, request: ScrapyRequest) -> ScrapyRequest | None:
        here = request.meta.get(PAGE)
        if here is None or _FILLED in request.meta:
            return None
        meta = {**request.meta, _FILLED: True}
        if self._pages.where == "json":
            return request.replace(body=with_member(request.body, self._pages.param, here["value"]), meta=meta)
        body = request.body
        for name, value in (*here.get("state", ()), (self._pages.param, here["value"])):
            body = with_field(body, name, value)
        if request.method == "POST":
            return request.replace(body=body, meta=meta)
        # The start request was a GET, so the form is on the start page.
        headers = {**request.headers, "Content-Type": "application/x-www-form-urlencoded"}
        return request.replace(method="POST", body=body, headers=headers, meta=meta)


def _hidden_fields(document: Document, form: str) -> list[list[str]]:
    """Return the hidden fields (name, value) of the first form that the CSS selector `form` matches."""
    found = document.parsel.css(form)[:1].css("input[type=hidden][name]")
    return [[field.attrib["name"], field.attrib.get("value", "")] for field in found]


def with_param(url: str, name: str, value: str) -> str:
    """Return the URL with one query parameter set: replaced in its place, or added at the end."""
    head, _, query = url.partition("#")[0].partition("?")
    return f"{head}?{_set_pair(query, quote_plus(name), quote_plus(value))}"


def with_field(form: bytes, name: str, value: Json) -> bytes:
    """Set one field in a URL-encoded form, and return the form."""
    return _set_pair(form.decode("ascii", "surrogateescape"), quote_plus(name), quote_plus(str(value))).encode(
        "ascii", "surrogateescape")


def _set_pair(pairs: str, name: str, value: str) -> str:
    kept = pairs.split("&") if pairs else []
    places = [place for place, pair in enumerate(kept) if pair.partition("=")[0] == name]
    if not places:
        return "&".join([*kept, f"{name}={value}"])
    kept[places[0]] = f"{name}={value}"
    return "&".join(pair for place, pair in enumerate(kept) if place not in places[1:])


def with_member(body: bytes, path: str, value: Json) -> bytes:
    """Return a JSON body with one member set.

    path: the names of the nested members that lead to the member, separated by dots.
    """
    document: Any = json.loads(body) if body else {}
    *outer, name = path.split(".")
    inside = document
    for step in outer:
        inside = inside.setdefault(step, {})
    inside[name] = value
    return json.dumps(document, ensure_ascii=False).encode()
