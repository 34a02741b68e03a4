"""Decide which pages of a spider are rendered in a browser, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import regex
from pydantic import TypeAdapter, ValidationError

from pipeline.documents.regexes import search
from pipeline.errors import SpiderError
from pipeline.settings import RenderTable, SpiderTable
from pipeline.settings.models.render import Render
from pipeline.text import shown_url
from pipeline.urls import absolute, route_of

RENDER = "render"
"""The meta key with which a spider written in Python chooses for one request: True, False, or a table like `render` in the settings."""


class RenderRules:
    """The rules of one spider.

    table: `render` of the spider. starts: the URL and `render` of each start request. may_ask: whether requests may choose by their `meta`, as those of spiders
    written in Python. may_render: whether any page may be rendered.
    """

    def __init__(self, table: RenderTable | None, starts: Sequence[tuple[str, RenderTable | Literal[False] | None]] = (), *, may_ask: bool = False) -> None:
        self.table = table
        self._starts = starts
        self._only = [regex.compile(pattern) for pattern in table.only] if table is not None else []
        self._may_ask = may_ask
        self.may_render = may_ask or table is not None or any(render for _, render in starts)

    @classmethod
    def of(cls, table: SpiderTable) -> Self:
        return cls(table.render, [(start.url, start.render) for start in table.start], may_ask=not table.is_built_in)

    def table_for(self, url: str, *, method: str = "GET", start: int | None = None, meta: Mapping[str, Any] | None = None) -> RenderTable | None:
        """Return how a page is rendered; None if it is fetched without a browser.

        start: the index of the start request in the settings, if it is one. meta: the `meta` of a request of a spider written in Python. Raise
        SpiderError if its value is not valid.
        """
        if not self.may_render or method == "HEAD":
            return None
        asked = meta.get(RENDER) if meta is not None and self._may_ask else None
        if asked is not None:
            return self._asked(asked, url)
        own = self._starts[start][1] if start is not None and start < len(self._starts) else None
        if own is not None:
            return own or None
        return self.table if self.table is not None and (not self._only or any(self.matches(url))) else None

    def address(self, url: str, meta: Mapping[str, Any] | None = None, *, start: int | None = None) -> str:
        """Return the URL under which a page is requested: without fragment, except for the route of a page that is rendered (see pipeline.urls.route_of)."""
        try:
            routes = bool(route_of(url)) and self.table_for(url, start=start, meta=meta) is not None
        except SpiderError:  # the page fails
            routes = False
        return absolute(url, routes=routes) or url

    def table_for_url(self, url: str) -> RenderTable | None:
        """Return how the page with this URL is rendered, as a start request if there is one with this URL."""
        return self.table_for(url, start=next((place for place, (start, _) in enumerate(self._starts) if start == url), None))

    def counts(self, url: str) -> dict[str, tuple[int, int]]:
        """Return the counts of the patterns of `render.only` for a page (see `Page.counts`)."""
        found = self.matches(url)
        names = ["render.only"] if len(found) == 1 else [f"render.only[{place}]" for place in range(len(found))]
        return {name: (int(matches), 0) for name, matches in zip(names, found, strict=True)}

    def matches(self, url: str) -> list[bool]:
        """Return for each pattern of `render.only` whether it matches a URL."""
        return [search(pattern, url) is not None for pattern in self._only]

    def _asked(self, value: Any, url: str) -> RenderTable | None:
        if value is False:
            return None
        if value is True and self.table is not None:
            return self.table
        try:
            found: RenderTable = TypeAdapter(Render).validate_python("browser" if value is True else value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, ("meta", RENDER, *first["loc"])))
            raise SpiderError(f"{place}: {first['msg']}", where=shown_url(url), fix="use True, False, or a table with the keys of `render` in the settings") from error
        return found
