"""Fetch single pages with the session of a spider: login, cookies, proxy, refreshes, PDF as HTML."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from pipeline.crawl.browser.run_browser import logged_in
from pipeline.crawl.extract import Document
from pipeline.crawl.middlewares import pdf
from pipeline.session import Session, open_session
from pipeline.session.client import Client, fetch
from pipeline.session.page import Page
from pipeline.session.refreshes import follow_refreshes
from pipeline.settings import Settings, SpiderTable
from pipeline.store.session_files import SessionFiles
from pipeline.workers.pages.rendering import SinglePages


@dataclass(frozen=True)
class FetchedPage:
    """page: the page as the site sent it. document, body: the page to which rules are applied; for a PDF file, its HTML.

    is_rendered: whether the page was rendered in a browser. notes: what was left out of it then.
    """

    page: Page
    document: Document
    body: bytes
    is_rendered: bool = False
    notes: tuple[str, ...] = ()


class PageFetcher:
    """Fetches pages with the session of one spider."""

    def __init__(self, spider: SpiderTable, session: Session, client: Client, rendered: SinglePages) -> None:
        self.spider = spider
        self.session = session
        self._client = client
        self.rendered = rendered

    def get(self, url: str) -> FetchedPage:
        """Fetch a page, in a browser if the settings say so. Raises the PipelineError of the request."""
        spider = self.spider
        table = self.rendered.table_for(url)
        if table is not None and (rendered := self.rendered.get(url, table)) is not None:
            answer, notes, is_dom = rendered
            return self._fetched(Page(answer, "utf-8" if is_dom else spider.encoding), is_rendered=is_dom, notes=notes)
        page = Page(fetch(self._client, "GET", url, max_bytes=spider.max_page_size, timeout_s=spider.timeout), spider.encoding)
        page = follow_refreshes(self._client, page, method="GET", is_wanted=lambda page: False, encoding=spider.encoding,
                                max_bytes=spider.max_page_size, timeout_s=spider.timeout)
        return self._fetched(page)

    def _fetched(self, page: Page, *, is_rendered: bool = False, notes: tuple[str, ...] = ()) -> FetchedPage:
        answer, spider = page.answer, self.spider
        body, text, headers, encoding = answer.body, page.text, dict(answer.headers), page.encoding
        if spider.pdf and pdf.is_pdf(body):
            body, headers["Content-Type"] = asyncio.run(pdf.page_of(body, answer.url)), "text/html; charset=utf-8"
            text, encoding = body.decode(), "utf-8"
        return FetchedPage(page, Document(url=answer.url, status=answer.status, text=text, headers=lambda: headers, encoding=encoding, is_rendered=is_rendered), body,
                           is_rendered, notes)


@contextmanager
def open_pages(settings: Settings, name: str, stored: SessionFiles) -> Iterator[PageFetcher]:
    """Log in if the spider `name` has a login, and yield a PageFetcher.

    stored: the private files of the spider. Raises the PipelineError of the session or of the login.
    """
    spider = settings.spiders[name]
    session = open_session(name, spider, settings, stored)
    with logged_in(session, spider, settings.browser, settings.data_dir, is_run=False) as (runner, browser), session.client() as client, \
            closing(SinglePages(spider, session, settings, runner, browser)) as rendered:
        yield PageFetcher(spider, session, client, rendered)
