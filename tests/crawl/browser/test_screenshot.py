"""Tests of taking a picture of a page in a real browser.

When it is complete, what it leaves out, and when it must not be compared.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright

from pipeline.crawl.browser.screenshot import MAX_HEIGHT, LoadRecord, Picture, PictureRules, part_selector, take_picture
from pipeline.errors import FetchError
from pipeline.pixel_difference import MAX_PIXELS
from pipeline.pixel_difference import opened as opened_for_comparison
from pipeline.session.browser.pages.isolated_world import IsolatedWorld
from pipeline.session.browser.process.program import BrowserProgram
from pipeline.settings import SelectorTable
from tests.crawl.browser.png import png
from tests.servers.pages import Answer, PageSite

pytestmark = pytest.mark.needs("chromium")

HEAD = "<!doctype html><meta charset=utf-8><style>body{margin:0}div{height:100px}</style>"
Take = Callable[..., Picture]


@pytest.fixture(scope="module")
def take() -> Iterator[Take]:
    """Takes the picture of a URL with one browser for all tests."""
    with asyncio.Runner() as runner:
        playwright = runner.run(async_playwright().start())
        browser: Browser = runner.run(playwright.chromium.launch(
            executable_path=BrowserProgram(Path("unused")).path(""), args=["--no-sandbox"] if os.geteuid() == 0 else []))

        page: Page = runner.run(browser.new_page(viewport={"width": 640, "height": 400}))

        async def taken(url: str, rules: PictureRules, timeout_s: float) -> Picture:
            record = LoadRecord(page)
            try:
                await page.goto(url)
                return await take_picture(page, IsolatedWorld(await page.context.new_cdp_session(page)), rules, record, timeout_s=timeout_s)
            finally:
                record.close()

        yield lambda url, timeout_s=20.0, **rules: runner.run(taken(url, PictureRules(**rules), timeout_s))
        runner.run(browser.close())
        runner.run(playwright.stop())


def opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.png)).convert("RGB")


def test_the_whole_page_is_taken_beyond_the_window(take: Take, site: PageSite) -> None:
    site.pages["/"] = HEAD + "<div style='background:#f00'></div>" + "<div></div>" * 8 + "<div style='background:#00f'></div>"
    picture = take(site.url)
    assert picture[1:] == (640, 1000, "", False, ())
    assert opened(picture).size == (640, 1000)
    assert (opened(picture).getpixel((5, 5)), opened(picture).getpixel((5, 995))) == ((255, 0, 0), (0, 0, 255))


def test_hidden_elements_take_no_room_even_where_the_page_allows_no_styles(take: Take, site: PageSite) -> None:
    site.pages["/"] = Answer(HEAD + "<div class=ad>x</div><div>y</div><div class=ad>z</div>",
                             headers={"Content-Security-Policy": "style-src 'unsafe-inline'; script-src 'none'"})
    whole, part = take(site.url), take(site.url, hide=(".ad", "#none"))
    assert (whole.height, whole.hidden) == (400, ())  # the window
    assert part.hidden == (2, 0)
    assert take(site.url, part="body", hide=(".ad",)).height == 100


def test_a_selector_that_no_browser_knows_is_named(take: Take, site: PageSite) -> None:
    site.pages["/"] = HEAD
    with pytest.raises(FetchError, match=r"watch\.visual\.ignore: the browser does not know the selector 'a\['"):
        take(site.url, hide=("a[",))


def test_the_picture_of_a_part_is_its_box(take: Take, site: PageSite) -> None:
    site.pages["/"] = HEAD + "<div></div><p id=p style='margin:20px;height:50px;width:200px;background:#0f0'></p><p id=q style='display:none'>"
    picture = take(site.url, part="#p")
    assert (picture.width, picture.height, picture.problem) == (200, 50, "")
    assert opened(picture).getextrema() == ((0, 0), (255, 255), (0, 0))
    assert take(site.url, part="xpath=//p[@id='q']").problem == "the watched part is not visible"
    assert take(site.url, part="#none").problem == "the watched part was not found on the page"


@pytest.mark.parametrize(("part", "selector"), [
    ({"css": "main > p::text"}, "main > p"), ({"css": "a::attr(href)"}, "a"), ({"css": ".x"}, ".x"), ({"xpath": "//p"}, "xpath=//p"), (None, ""),
    ({"xpath": "//h1/text()"}, "xpath=//h1"), ({"xpath": "//a/@href"}, "xpath=//a"), ({"jmes": "a"}, ""),
    ({"css": "p:contains('x')"}, "xpath=descendant-or-self::p[contains(., 'x')]")])
def test_the_part_of_the_settings_becomes_a_selector_of_the_browser(part, selector) -> None:
    assert part_selector(SelectorTable.model_validate(part) if part else None) == selector


def test_images_that_load_only_when_they_are_seen_are_in_the_picture(take: Take, site: PageSite) -> None:
    site.pages["/late.png"] = Answer(png(100, 100, "#0000ff"), headers={"Content-Type": "image/png"})
    site.pages["/"] = HEAD + "<div></div>" * 40 + "<img src=/late.png loading=lazy width=100 height=100>" + (
        "<script>new IntersectionObserver((seen, o) => { if (seen[0].isIntersecting) { o.disconnect(); "
        "later.src = '/late.png?js' } }).observe(later)</script>").replace("<script>", "<img id=later width=100 height=100><script>")
    picture = take(site.url)
    colours = {colour: count for count, colour in opened(picture).getcolors(1 << 24)}
    assert colours[0, 0, 255] == 2 * 100 * 100


@pytest.mark.parametrize(("answer", "problem"), [
    (Answer("busy", 503), r"the image http://127\.0\.0\.1:\d+/a\.png did not load \(HTTP 503\)"),
    (Answer("slow down", 429), r"did not load \(HTTP 429\)"),
    (Answer(png(64, 64, "#ff0000"), headers={"Content-Type": "image/png"}, cut=0), r"did not load \(ERR_EMPTY_RESPONSE|ERR_CONTENT_LENGTH_MISMATCH\)"),
    (Answer("no", 404), r"^$"),  # missing in each picture
    (Answer("no picture", headers={"Content-Type": "image/png"}), r"^$"),
])
def test_a_picture_with_an_image_that_did_not_load_is_not_compared(take: Take, site: PageSite, answer: Answer, problem: str) -> None:
    site.pages["/a.png"] = answer
    site.pages["/"] = HEAD + "<img src=/a.png>"
    picture = take(site.url)
    assert re.search(problem, picture.problem)
    assert bool(picture.png) is not bool(picture.problem)


def test_a_font_or_style_sheet_that_did_not_load_is_named(take: Take, site: PageSite) -> None:
    site.pages["/f.woff2"] = Answer("busy", 503)
    site.pages["/"] = HEAD + "<style>@font-face{font-family:F;src:url(/f.woff2)}p{font-family:F}</style><p>text"
    assert "the font http" in take(site.url).problem
    site.pages["/s.css"] = Answer("busy", 500)
    site.pages["/"] = HEAD + "<link rel=stylesheet href=/s.css><p>text"
    assert "the stylesheet http" in take(site.url).problem


def test_animations_and_carets_are_the_same_in_each_picture(take: Take, site: PageSite) -> None:
    site.pages["/"] = HEAD + ("<style>@keyframes k{from{background:#fff}to{background:#000}}div{animation:k .3s infinite alternate}</style><div></div>"
                              "<input autofocus>")
    assert take(site.url).png == take(site.url).png


def test_a_page_that_does_not_stop_moving_is_not_compared_unless_the_moving_part_is_left_out(take: Take, site: PageSite, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.crawl.browser.screenshot._SETTLE_S", 0.3)
    site.pages["/"] = HEAD + ("<div id=m style='background:red'>x</div><script>let i = 0; setInterval(() => { m.style.width = `${++i * 37 % 600}px` }, 15)</script>")
    assert "does not stop moving" in take(site.url).problem
    assert take(site.url, hide=("#m",)).problem == ""


def test_a_very_high_page_is_cut_and_this_is_said(take: Take, site: PageSite) -> None:
    site.pages["/"] = HEAD + "<div style='height:40000px'></div>"
    picture = take(site.url, is_compared=False)
    assert (picture.height, picture.cut) == (MAX_HEIGHT, True)


def test_a_very_wide_part_is_less_high_so_that_its_picture_can_be_compared(take: Take, site: PageSite) -> None:
    site.pages["/"] = HEAD + f"<p id=p style='margin:0;width:4000px;height:{MAX_HEIGHT}px;background:#0f0'></p>"
    picture = take(site.url, part="#p", timeout_s=60.0)
    assert picture.cut
    assert picture.width * picture.height <= MAX_PIXELS
    assert opened_for_comparison(picture.png).size == (picture.width, picture.height)
