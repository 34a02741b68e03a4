"""The browser of a run, or of a command for single pages. A login that needs one opens it.

The pages are then rendered in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from pipeline.session import Session
from pipeline.session.browser.render_rules import RenderRules
from pipeline.settings import BrowserTable, SpiderTable

if TYPE_CHECKING:
    from pipeline.session.browser.browser import SessionBrowser


def open_run_browser(session: Session, spider: SpiderTable, browser: BrowserTable, data_dir: Path) -> SessionBrowser:
    """Return the browser of a run, which has not started. Raises BrowserError if Playwright is not installed."""
    from pipeline.session.browser.process.program import BrowserProgram  # noqa: PLC0415  runs without a browser do not load it
    processes = 1 if spider.processes == "auto" else spider.processes  # further ones end when the memory is not enough
    program = BrowserProgram.of(browser, data_dir, memory_bytes=spider.memory_limit // processes)
    from pipeline.session.browser.browser import SessionBrowser  # noqa: PLC0415  loads Playwright, which is installed
    return SessionBrowser(session, program, max_pages=spider.concurrency)


@contextmanager
def logged_in(session: Session, spider: SpiderTable, browser: BrowserTable, data_dir: Path, *,
              has_loop: bool = False, is_run: bool = True) -> Iterator[tuple[asyncio.Runner, SessionBrowser] | tuple[None, None]]:
    """Log in. Yield the browser that was opened for the login, which can render the pages of the run, and the runner with its loop.

    Both are closed after the block. has_loop: whether the run has a loop of its own, so that its browser is another one. A login never changes its
    proxy, and the pages of a run do if the session has a pool, so that their browser is another one then, too. is_run: whether a run
    follows. If not, the caller renders single pages, and the session goes on checking its login in the browser; the loop is then asyncio's own:
    uvloop aborted a process of a command that was forked several times when it started Playwright's driver. Raises the errors of `ensure_login`.
    """
    if has_loop or session.storage is None or not session.has_one_proxy or not RenderRules.of(spider).may_render:
        session.ensure_login()
        yield None, None
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if is_run else None) as runner:
        found = open_run_browser(session, spider, browser, data_dir)
        from pipeline.session.browser.sync_browser import SyncBrowser  # noqa: PLC0415  as above
        session.share_browser(SyncBrowser(lambda: found, RenderRules.of(spider), session.storage, session.trusted, max_bytes=spider.max_page_size,
                                          runner=runner), for_logins=True)
        try:
            session.ensure_login()
            if is_run:
                session.share_browser(None)
            yield runner, found
        finally:
            session.share_browser(None)
            runner.run(found.close())
