"""One crawl of many rendered pages, which the tests of this folder look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from pipeline.model import Run
from pipeline.store import open_store
from pipeline.store.database.schema import frontier
from tests.crawl.conftest import Crawls
from tests.servers.browser import running_browser
from tests.servers.pages import PageSite

WHOLE = """
items.each = "html"
items.key = ["url"]
items.fields.url = { page = "url" }
items.fields.html = { css = "html", type = "html" }
items.fields.status = { page = "status" }
"""
"""Rules that take the whole page as an item."""


@dataclass
class RenderedPages:
    """The pages of one crawl. run: how the crawl ended."""

    site: PageSite
    run: Run
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)

    def html(self, path: str) -> str:
        """Return the content of a page as it was rendered."""
        return str(self.items[self.site.url + path]["html"])


def toml(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {toml(entry)}" for name, entry in value.items()) + " }"
    return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def crawl_pages(folder: Path, site: PageSite, starts: list[dict[str, Any]], settings: str = "", rules: str = WHOLE) -> RenderedPages:
    """Crawl start requests in one run. The `url` of each is a path."""
    store = open_store(folder / "data")
    try:
        crawls = Crawls(folder, store)
        requests = [{**start, "url": site.url + start["url"]} for start in starts]
        crawls.write(f"[spiders.s]\nstart = {toml(requests)}\nretries = 0\n{settings}\n{rules}")
        run = crawls.run()
        return RenderedPages(site, run, crawls.items(), site.paths())
    finally:
        store.close()


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    with running_browser() as url:
        yield url


@pytest.fixture
def quick_crawls(crawls: Crawls, running: str) -> Crawls:
    """Crawls whose runs use one browser, which runs already."""
    crawls.browser = running
    return crawls


@pytest.fixture(scope="module")
def shared_site() -> Iterator[PageSite]:
    with PageSite() as started:
        yield started


def failed_pages(crawls: Crawls) -> list[tuple[str, str]]:
    """Return the path and the error of each page that failed."""
    with crawls.store.read() as connection:
        return [(urlsplit(row.url).path, row.error) for row in connection.execute(select(frontier.c.url, frontier.c.error)) if row.error]
