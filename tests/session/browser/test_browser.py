"""The browser of a session: pages, cookies, crashes and the ends of processes, with a real Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from pipeline.errors import BrowserError
from pipeline.session import Session
from pipeline.session.browser import browser as browser_module
from pipeline.session.browser.browser import SessionBrowser
from pipeline.session.browser.emulation import Emulation
from pipeline.session.browser.process.program import BrowserProgram
from tests.servers.pages import Answer, Asked, PageSite
from tests.session.conftest import OpenSession

pytestmark = pytest.mark.needs("chromium")
PLAIN = Emulation()
DEADLINE_S = 30.0


@contextlib.asynccontextmanager
async def browser_of(session: Session, folder: Path, *, max_pages: int = 2, remote: str | None = None) -> AsyncIterator[SessionBrowser]:
    browser = SessionBrowser(session, BrowserProgram(folder / "browsers", remote=remote), max_pages=max_pages)
    try:
        async with asyncio.timeout(3 * DEADLINE_S):
            yield browser
    finally:
        await browser.close()
    assert remote or not list((folder / "browsers").iterdir())


@pytest.fixture
def pages() -> Iterator[PageSite]:
    with PageSite({"/": "<title>hello</title>", "/favicon.ico": Answer(status=404)}) as started:
        yield started


def process_of(parent: int, name: str) -> int:
    """The child of a process whose command contains `name`."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent and name in (stat.parent / "cmdline").read_text():
                return int(stat.parent.name)
    raise LookupError(name)


async def hold(browser: SessionBrowser, url: str, opened: asyncio.Event) -> Page:
    """Keep a page open that waits for what never comes."""
    async with browser.page(PLAIN) as page:
        await page.goto(url)
        opened.set()
        await page.wait_for_selector("#never", timeout=DEADLINE_S * 1000)
        return page


def test_pages_share_the_cookies_of_the_jar_also_while_several_are_open(pages: PageSite, open_with: OpenSession, tmp_path: Path, running: str) -> None:
    def set_cookies(asked: Asked) -> Answer:
        return Answer("<script>document.cookie = 'script=1; max-age=600'</script>", headers={"Set-Cookie": "id=2; Path=/; HttpOnly"})

    pages.pages |= {"/set": set_cookies, "/logout": Answer("bye", headers={"Set-Cookie": "id=; Max-Age=0; Path=/"}),
                    **{f"/{number}": Answer("x", headers={"Set-Cookie": f"c{number}={number}; Path=/"}) for number in range(8)}}
    session = open_with(pages.url + "/")
    session.jar.store(pages.url, [b"old=b[x]=2; Path=/"])

    async def work() -> None:
        async with browser_of(session, tmp_path, max_pages=4, remote=running) as browser:
            async def one(number: int) -> None:
                async with browser.page(PLAIN) as page:
                    await page.goto(f"{pages.url}/{number}")
                    session.jar.store(pages.url, [f"plain{number}={number}".encode()])

            async with browser.page(PLAIN) as page:
                await page.goto(f"{pages.url}/set")
            assert session.jar.header(pages.url) == b"old=b[x]=2; id=2; script=1"
            session.jar.store(pages.url, [b"late=3"])
            async with browser.page(PLAIN) as page:
                await page.goto(f"{pages.url}/logout")
            assert session.jar.header(pages.url) == b"old=b[x]=2; script=1; late=3"
            await asyncio.gather(*map(one, range(8)))

    asyncio.run(work())
    assert next(asked for asked in pages.asked if asked.path == "/logout").headers["Cookie"] == "old=b[x]=2; id=2; script=1; late=3"
    assert sorted(cookie.name for cookie in session.jar) == sorted(["old", "script", "late", *(f"c{n}" for n in range(8)), *(f"plain{n}" for n in range(8))])


def test_a_page_that_is_used_again_has_nothing_of_its_former_use(pages: PageSite, open_with: OpenSession, tmp_path: Path, running: str) -> None:
    async def work() -> None:
        async with browser_of(open_with(pages.url + "/"), tmp_path, remote=running) as browser:
            async with browser.page(PLAIN) as first:
                assert await first.evaluate("[history.length, performance.getEntriesByType('resource').length]") == [1, 1]  # the guard proxy's, see authentication.py
                await first.goto(pages.url)
                assert await first.evaluate("performance.getEntriesByType('resource').map(each => each.name).filter(name => name.includes('.invalid'))") == []
                await first.evaluate("""() => {
                    window.name = 'mine'; sessionStorage.mine = 1; localStorage.kept = 1; history.pushState({}, '', '/two'); window.open('/popup');
                    addEventListener('pagehide', () => { sessionStorage.late = 1 }) }""")
                await first.set_viewport_size({"width": 300, "height": 300})
            async with browser.page(PLAIN) as page:
                assert page is first
                assert page.context.pages == [page]
                assert await page.evaluate("[location.href, window.name, history.length]") == ["about:blank", "", 1]
                await page.goto(pages.url)
                assert await page.evaluate("[window.name, {...sessionStorage}, {...localStorage}, innerWidth]") == ["", {}, {"kept": "1"}, 1280]

    asyncio.run(work())


def test_a_page_that_crashes_or_hangs_fails_alone(pages: PageSite, open_with: OpenSession, tmp_path: Path) -> None:
    async def work() -> None:
        async with browser_of(open_with(pages.url + "/"), tmp_path) as browser, browser.page(PLAIN) as other:
            await other.goto(pages.url)
            with pytest.raises(BrowserError, match="crashed") as crash:
                async with browser.page(PLAIN) as page:
                    await page.goto("chrome://crash")
            assert crash.value.retry
            with pytest.raises(TimeoutError):
                async with browser.page(PLAIN) as page, asyncio.timeout(0.3):
                    await page.evaluate("while (true) {}")
            async with browser.page(PLAIN) as page:
                await page.goto(pages.url)
                assert await page.title() == await other.title() == "hello"

    asyncio.run(work())


@pytest.mark.parametrize("victim", ["browser", "driver"])
def test_killed_processes_fail_the_open_pages_the_next_page_has_a_new_browser_and_no_line_is_left(
        victim: str, pages: PageSite, open_with: OpenSession, tmp_path: Path, *, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        async with browser_of(open_with(pages.url + "/"), tmp_path) as browser:
            opened = [asyncio.Event(), asyncio.Event()]
            held = [asyncio.create_task(hold(browser, pages.url, event)) for event in opened]
            for event in opened:
                await event.wait()
            driver = process_of(os.getpid(), "run-driver")
            os.kill(driver if victim == "driver" else process_of(driver, "--user-data-dir"), signal.SIGKILL)
            for task in held:
                with pytest.raises(BrowserError, match="ended unexpectedly") as ended:
                    await task
                assert ended.value.retry
            async with browser.page(PLAIN) as page:
                await page.goto(pages.url)
                assert await page.title() == "hello"

    asyncio.run(work())
    gc.collect()
    assert "never retrieved" not in caplog.text + "".join(capfd.readouterr())


def test_a_browser_that_cannot_stay_is_not_started_for_ever(open_with: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_module, "MAX_STARTS", 2)
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho '[1:1:FATAL:main.cc(1)] no luck today' >&2\nexit 3\n", "utf-8")
    broken.chmod(0o700)

    async def work() -> None:
        browser = SessionBrowser(open_with("http://127.0.0.1:9/"), BrowserProgram(tmp_path / "browsers", executable=str(broken)), max_pages=1)
        for attempt in range(3):
            with pytest.raises(BrowserError, match="no luck today" if attempt < 2 else "2 times") as failed:
                async with browser.page(PLAIN):
                    pass
            assert failed.value.retry == (attempt < 2)
        await browser.close()

    asyncio.run(work())
    assert not list((tmp_path / "browsers").iterdir())


def test_sites_see_the_emulation(pages: PageSite, open_with: OpenSession, tmp_path: Path, running: str) -> None:
    german = Emulation((400, 300), "de-DE", "Asia/Tokyo")
    phone = Emulation(None, device="iPhone 15")

    async def work() -> None:
        async with browser_of(open_with(pages.url + "/"), tmp_path, remote=running) as browser:
            async with browser.page(german) as page:
                await page.goto(pages.url)
                assert await page.evaluate("[innerWidth, innerHeight, navigator.language, Intl.DateTimeFormat().resolvedOptions().timeZone]") == [
                    400, 300, "de-DE", "Asia/Tokyo"]
            async with browser.page(phone) as page:
                await page.goto(pages.url)
                assert await page.evaluate("screen.width < 500 && 'ontouchstart' in window")
            with pytest.raises(BrowserError, match="no device named 'iPhone 1'"):
                async with browser.page(Emulation(device="iPhone 1")):
                    pass

    asyncio.run(work())
    asked = [each for each in pages.asked if each.path == "/"]
    assert asked[0].headers["Accept-Language"].startswith("de-DE")
    assert asked[0].headers["User-Agent"].startswith("crawl-to-inbox/")
    assert "iPhone" in asked[1].headers["User-Agent"]
    assert "crawl-to-inbox/" in asked[1].headers["User-Agent"]


def test_a_browser_that_runs_already_is_used_through_the_guard_proxy_and_left_running(pages: PageSite, open_with: OpenSession, tmp_path: Path, running: str) -> None:
    session = open_with(pages.url + "/")

    async def work() -> None:
        for _ in range(2):  # the first must not end it: it belongs to somebody else
            async with browser_of(session, tmp_path, remote=running) as browser:
                async with browser.page(PLAIN) as page:
                    await page.goto(pages.url)
                    assert await page.title() == "hello"
                assert browser.guard.received_bytes

    asyncio.run(work())


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_an_error_about_a_browser_elsewhere_does_not_contain_its_password_or_token(open_with: OpenSession, tmp_path: Path, scheme: str) -> None:
    async def work(place: str) -> None:
        remote = f"{scheme}://user:hush-password@{place}/json?token=hush-token"
        browser = SessionBrowser(open_with("http://site.test/"), BrowserProgram(tmp_path / "browsers", remote=remote), max_pages=1)
        with pytest.raises(BrowserError, match="404") as caught:
            async with browser.page(PLAIN):
                pass
        assert "hush" not in "".join(traceback.format_exception(caught.value))
        await browser.close()

    with PageSite() as site:
        asyncio.run(work(site.host))


def test_nothing_is_requested_without_the_proxy_of_the_spider_by_a_browser_elsewhere(open_with: OpenSession, tmp_path: Path) -> None:
    session = open_with("http://site.test/", 'proxy = "office"', before='[proxies]\noffice = "http://127.0.0.1:9"')

    async def work() -> None:
        browser = SessionBrowser(session, BrowserProgram(tmp_path / "browsers", remote="http://192.0.2.1:9222"), max_pages=1)
        with pytest.raises(BrowserError, match="nothing is requested without the proxy"):
            async with browser.page(PLAIN):
                pass
        await browser.close()

    asyncio.run(work())


def test_secret_headers_reach_only_trusted_origins_whatever_requests_them(pages: PageSite, open_with: OpenSession, tmp_path: Path, running: str) -> None:
    allow = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
    with PageSite({"/away": Answer("x", headers=allow), "/there": Answer("x", headers=allow)}) as other:
        pages.pages |= {"/api": Answer("x"), "/leave": Answer(status=302, headers={"Location": f"{other.url}/there"})}
        session = open_with(pages.url + "/", f'hosts = ["127.0.0.1:{other.host.rpartition(":")[2]}"]\nheaders = {{ X-Key = "geheim" }}')

        async def work() -> None:
            async with browser_of(session, tmp_path, remote=running) as browser:
                for _ in range(2):  # the second time in a page that is used again
                    async with browser.page(PLAIN) as page:
                        await page.goto(pages.url)
                        await page.evaluate(f"Promise.all(['/api', '{other.url}/away', '/leave'].map(url => fetch(url).then(answer => answer.text())))")

        asyncio.run(work())
        assert {asked.path: asked.headers.get("X-Key") for asked in pages.asked if asked.path != "/favicon.ico"} == dict.fromkeys(("/", "/api", "/leave"), "geheim")
        assert [asked.path for asked in other.asked if asked.headers.get("X-Key")] == []
        assert sorted(asked.path for asked in other.asked) == ["/away", "/away", "/there", "/there"]


def test_pages_of_an_older_login_do_not_replace_the_cookies_of_the_new_one(pages: PageSite, open_with: OpenSession, tmp_path: Path, running: str) -> None:
    pages.pages |= {"/old": Answer("x", headers={"Set-Cookie": "sid=old; Path=/"}), "/seen": Answer("x")}
    session = open_with(pages.url + "/", login=f'url = "{pages.url}/login"')

    async def work() -> None:
        async with browser_of(session, tmp_path, remote=running) as browser:
            async with browser.page(PLAIN) as page:
                await page.goto(pages.url)
                session.adopt("", 1)  # another process of the run has logged in
                session.jar.store(pages.url, [b"sid=new; Path=/"])
                async with browser.page(PLAIN) as other:
                    await page.goto(f"{pages.url}/old")
                    await other.goto(f"{pages.url}/seen")
            assert session.jar.header(pages.url) == b"sid=new"

    asyncio.run(work())
    assert next(asked for asked in pages.asked if asked.path == "/seen").headers["Cookie"] == "sid=new"
