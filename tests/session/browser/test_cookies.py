"""Cookies go from the jar to a real browser and back, and stay the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, async_playwright

from pipeline.session.browser.pages.cookies import ContextCookies, from_browser
from pipeline.session.browser.process.program import BrowserProgram
from pipeline.session.cookies.cookie import Cookie
from pipeline.session.cookies.cookie_store import CookieStore

pytestmark = pytest.mark.needs("chromium")
DAY_S = 86_400
NOW_S = int(time.time())

ODD = [
    Cookie("a", "1", "shop.example"),
    Cookie("b[x]", "2", "shop.example", expires_s=NOW_S + DAY_S),
    Cookie("quoted", '"with, comma"', "shop.example", http_only=True),
    Cookie("utf8", "Zürich 北京", "shop.example"),
    Cookie("empty", "", "shop.example"),
    Cookie("equals", "a=b=c==", "shop.example"),
    Cookie("__Host-id", "s3", "shop.example", secure=True, http_only=True),
    Cookie("__Secure-id", "s4", "shop.example", host_only=False, secure=True),
    Cookie("deep", "x", "shop.example", path="/a/b/"),
    Cookie("everywhere", "x", "shop.example", host_only=False),
    Cookie("same", "host", "shop.example", path="/"),
    Cookie("same", "domain", "shop.example", host_only=False),
    Cookie("strict", "x", "shop.example", same_site="Strict"),
    Cookie("lax", "x", "shop.example", same_site="Lax"),
    Cookie("none", "x", "shop.example", same_site="None", secure=True),
    Cookie("long", "x", "shop.example", expires_s=NOW_S + 399 * DAY_S),
    Cookie("years", "x", "shop.example", expires_s=NOW_S + 4000 * DAY_S),
    Cookie("address", "x", "127.0.0.1"),
    Cookie("local", "x", "localhost", secure=True),
    Cookie("", "nameless", "shop.example"),
]


class Loop:
    """Runs coroutines with one browser. context: a new browser context for each test."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._playwright = self.run(async_playwright().start())
        self._browser = self.run(self._playwright.chromium.launch(executable_path=BrowserProgram(Path("unused")).path(""), args=["--no-sandbox"]))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def context(self) -> BrowserContext:
        context = self.run(self._browser.new_context())
        assert isinstance(context, BrowserContext)
        return context

    def close(self) -> None:
        self.run(self._browser.close())
        self.run(self._playwright.stop())
        self._runner.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    opened = Loop()
    yield opened
    opened.close()


def by_key(jar: CookieStore) -> dict[Any, Cookie]:
    return {cookie.key: cookie for cookie in jar}


def test_odd_cookies_survive_the_way_to_the_browser_and_back(loop: Loop) -> None:
    jar, context = CookieStore(), loop.context()
    jar.add(ODD)
    before, version = by_key(jar), jar.version
    cookies = ContextCookies(jar, context)
    loop.run(cookies.give())
    found = {cookie.key: cookie for each in loop.run(context.cookies()) if (cookie := from_browser(each))}
    assert {key: (cookie.value, cookie.secure, cookie.http_only) for key, cookie in found.items()} == {
        key: (cookie.value, cookie.secure, cookie.http_only) for key, cookie in before.items()}
    loop.run(cookies.take())
    assert by_key(jar) == before
    assert jar.version == version
