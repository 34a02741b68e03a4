"""Tests with Chromium that pages get the web storage of the session.

What they store is in the session afterwards.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipeline.session import Session, open_session
from pipeline.session.browser.browser import SessionBrowser
from pipeline.session.browser.emulation import Emulation
from pipeline.session.browser.pages.page_storage import keep_databases
from pipeline.session.browser.process.program import BrowserProgram
from pipeline.session.web_storage import OriginStorage, WebStorage
from pipeline.settings import load
from tests.servers.pages import PageSite

DATABASE = """async write => await new Promise((done, fail) => {
  const opening = indexedDB.open("auth", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("tokens");
  opening.onerror = fail;
  opening.onsuccess = () => {
    const store = opening.result.transaction("tokens", write ? "readwrite" : "readonly").objectStore("tokens");
    const asked = write ? store.put({value: "t0ken"}, "me") : store.get("me");
    asked.onsuccess = () => { opening.result.close(); done(asked.result && asked.result.value); };
  };
})"""


@pytest.mark.needs("chromium")
def test_pages_have_the_storage_of_the_session_and_their_own_is_in_the_session_afterwards(tmp_path: Path, running: str) -> None:
    with PageSite({"/": "<p>hello"}) as site, PageSite({"/": "<p>other"}) as other:
        (tmp_path / "settings.toml").write_text(
            f'[spiders.s]\nstart = "{site.url}/"\nhosts = ["{site.host}", "{other.host}"]\nrender = "browser"\n[spiders.s.login]\ncheck = "p"\n', "utf-8")
        settings = load(tmp_path / "settings.toml")
        session = open_session("s", settings.spiders["s"], settings)
        assert session.storage is not None
        session.storage.put(site.url, OriginStorage({"kept": "1"}, {"tab": "2"}))
        asyncio.run(_use(session, session.storage, site, other, BrowserProgram(tmp_path, remote=running)))


async def _use(session: Session, storage: WebStorage, site: PageSite, other: PageSite, program: BrowserProgram) -> None:
    async def look(browser: SessionBrowser, url: str, script: str) -> object:
        async with browser.page(Emulation()) as page:
            await page.goto(url)
            found = await page.evaluate(script)
            await keep_databases(page.context, storage, session.trusted)
            return found

    def open_browser() -> SessionBrowser:
        return SessionBrowser(session, program, max_pages=1)

    both = "() => [{...localStorage}, {...sessionStorage}]"
    browser = open_browser()
    try:
        assert await look(browser, site.url, both) == [{"kept": "1"}, {"tab": "2"}]
        await look(browser, site.url, "() => { localStorage.clear(); localStorage.own = '3'; }")
        assert storage.of(site.url) == OriginStorage({"own": "3"}, {"tab": "2"})
        storage.put(site.url, OriginStorage({"own": "of another process"}))
        assert await look(browser, site.url, both) == [{"own": "of another process"}, {}]
        await look(browser, other.url, "() => { localStorage.theirs = '4'; }")
        assert storage.of(other.url).is_empty  # not an origin that gets secrets
        await look(browser, site.url, f"async () => await ({DATABASE})(true)")
    finally:
        await browser.close()
    browser = open_browser()
    try:
        assert await look(browser, site.url, f"async () => await ({DATABASE})(false)") == "t0ken"
    finally:
        await browser.close()
