"""Render single pages with the session of a spider, one after the other, in one browser."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from requests.structures import CaseInsensitiveDict

from pipeline.crawl.browser.rendered import RenderRequest
from pipeline.crawl.browser.screenshot import Picture, PictureRules
from pipeline.errors import FetchError
from pipeline.session import Session
from pipeline.session.browser.render_rules import RenderRules
from pipeline.session.client import MAX_REDIRECTS
from pipeline.session.errors import TOO_MANY_REDIRECTS, TOO_MANY_REDIRECTS_FIX
from pipeline.session.page import Answer
from pipeline.session.politeness.robots import Robots
from pipeline.session.responses.head import is_redirect
from pipeline.settings import RenderTable, Settings, SpiderTable
from pipeline.text import clean_line, counted, shown_url
from pipeline.urls import redirect_target

if TYPE_CHECKING:
    from pipeline.crawl.browser.renderer import Renderer
    from pipeline.session.browser.browser import SessionBrowser


class SinglePages:
    """Renders the pages of a spider that its settings say. The caller must close the object.

    runner, browser: those of the login, which the caller closes; None means that this object has its own.
    """

    def __init__(self, spider: SpiderTable, session: Session, settings: Settings, runner: asyncio.Runner | None = None, browser: SessionBrowser | None = None) -> None:
        self._spider = spider
        self._session = session
        self._settings = settings
        self._rules = RenderRules.of(spider)
        self._robots = Robots(session.look, on_delay=lambda place, delay_s: None) if spider.robots else None
        self._runner = runner
        self._browser = browser
        self._is_lent = runner is not None
        self._renderer: Renderer | None = None
        self.takes_pictures = False
        """Whether pictures are taken of the pages of which the settings say so."""
        self.picture_rules: PictureRules | None = None
        """What the picture of the last page shows; None if none was taken."""
        self.picture: Picture | None = None
        """The picture of the last page."""

    def table_for(self, url: str) -> RenderTable | None:
        """Return how a page is rendered; None if it is fetched without a browser. A start URL may have a table of its own."""
        return self._rules.table_for_url(url)

    def get(self, url: str, table: RenderTable) -> tuple[Answer, tuple[str, ...], bool] | None:
        """Render a page, following redirects. Return the response, notes about what the page lacks, and whether its body is a DOM.

        Return None if it is not HTML: it is to be requested without the browser. Raises the PipelineError of the request.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(self._get(url, table))

    async def _get(self, url: str, table: RenderTable) -> tuple[Answer, tuple[str, ...], bool] | None:
        renderer = self._opened()
        self.picture_rules = PictureRules.of(self._spider, table) if self.takes_pictures else None
        for hops in range(MAX_REDIRECTS + 1):
            self._session.ssrf_guard.check_url(url)
            found = await renderer.render(RenderRequest(url, "GET", {}, b"", table, picture=self.picture_rules))
            self.picture = found.picture
            if found.is_other:
                return None
            headers = CaseInsensitiveDict(found.headers)
            if not is_redirect(found.status, location="Location" in headers):
                if found.is_html:
                    headers["Content-Type"] = "text/html; charset=utf-8"
                frames = f"the page has {counted(len(found.frames), 'frame')}, whose content is not part of it, such as {shown_url(found.frames[0])}" if found.frames else ""
                notes = (*found.notes, *renderer.refusals(), *filter(None, [frames]), *(f"the page starts the download of {shown_url(each)}" for each in found.downloads))
                return Answer(found.url, found.status, headers, found.body, hops=hops), notes, found.is_html
            target = redirect_target(headers["Location"], url)
            if not target:
                raise FetchError(f"the server redirected to an invalid or unsupported URL: {clean_line(headers['Location'], 100)}", where=shown_url(url))
            url = target
        raise FetchError(TOO_MANY_REDIRECTS, where=shown_url(url), fix=TOO_MANY_REDIRECTS_FIX)

    def _opened(self) -> Renderer:
        if self._renderer is None:
            from pipeline.crawl.browser.renderer import Renderer  # noqa: PLC0415  spiders that render no page do not load Playwright
            table = self._settings.browser
            if self._browser is None:
                from pipeline.session.browser.browser import SessionBrowser  # noqa: PLC0415  as above
                from pipeline.session.browser.process.program import BrowserProgram  # noqa: PLC0415  as above
                self._browser = SessionBrowser(self._session, BrowserProgram.of(table, self._settings.data_dir, memory_bytes=self._spider.memory_limit), max_pages=1)
            self._renderer = Renderer(self._browser, timeout_s=self._spider.timeout, max_bytes=self._spider.max_page_size,
                                      max_load_bytes=table.max_load, check_document=self._check_document)
        return self._renderer

    async def _check_document(self, url: str) -> None:
        self._session.ssrf_guard.check_url(url)
        if self._robots is not None:
            await asyncio.to_thread(self._robots.check, url)

    def close(self) -> None:
        """End the browser, if it was started. That of the login remains."""
        if self._runner is not None and not self._is_lent:
            with suppress(KeyboardInterrupt):
                if self._browser is not None:
                    self._runner.run(self._browser.close())
            self._runner.close()
