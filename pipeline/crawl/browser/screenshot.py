"""Take a picture of a rendered page, when everything has loaded and nothing moves any more."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

import cssselect

from pipeline.errors import FetchError
from pipeline.pixel_difference import MAX_PIXELS, difference, opened
from pipeline.session.browser.pages.isolated_world import PRELUDE, IsolatedWorld
from pipeline.settings import RenderTable, SelectorTable, SpiderTable
from pipeline.settings.fields.browser_values import is_browser_css
from pipeline.text import clean_line, shown_url

if TYPE_CHECKING:
    from playwright.async_api import ElementHandle, FloatRect, Page, Request, Response

MAX_HEIGHT = 16_000
"""Maximum height of a picture in pixels. Browsers repeat or cut larger ones."""
_SETTLE_S = 5.0
"""How long a page may take until two pictures in a row are the same."""
_LOAD_S = 15.0
"""How long images and fonts may take to load after the page is complete."""
_PICTURE_S = 10.0
"""How long a picture for the archive may take."""
_KINDS = frozenset({"document", "font", "image", "script", "stylesheet"})
"""Types of the resources without which a page does not look complete."""
_LATER = frozenset({408, 425, 429})
"""The client errors (4xx) that another attempt may not get."""
_BLOCKED = ("net::ERR_BLOCKED_BY_CLIENT", "net::ERR_ABORTED")
"""Failures of requests that this program has blocked, or that the page itself has given up."""
_MAX_NAMED = 20
_MAX_ELEMENTS = 200
"""The elements of the watched part that are looked for on the page."""


@cache
def _settle_script() -> str:
    return Path(__file__).with_name("settle.js").read_text("utf-8").replace("// PRELUDE", PRELUDE)


@dataclass(frozen=True)
class PictureRules:
    """What a picture shows.

    part: selector of Playwright for the part of the page; "" takes the whole page. hide: CSS selectors of elements that are left out.
    is_compared: whether pictures are taken until the page does not move any more. threshold, min_change: how much two pictures in a row may
    differ then, as in VisualTable.
    """

    part: str = ""
    hide: tuple[str, ...] = ()
    is_compared: bool = True
    threshold: float = 0.1
    min_change: float = 0.001

    @classmethod
    def of(cls, spider: SpiderTable, render: RenderTable) -> PictureRules | None:
        """Return the rules for a page of a spider; None if no picture of it is taken. render: how this page is rendered.

        Elements that are removed from the compared text (`watch.without`) are left out of compared pictures, too.
        """
        visual = spider.watch.visual if spider.spider == "watch" else None
        if visual is not None:
            hide = (*visual.ignore, *filter(is_browser_css, spider.watch.without))
            return cls(part_selector(spider.watch.part), hide, threshold=visual.threshold, min_change=visual.min_change)
        if render.screenshot is None:
            return None
        return cls(part_selector(spider.watch.part) if render.screenshot == "part" else "", is_compared=False)


def part_selector(part: SelectorTable | None) -> str:
    """Return a selector of Playwright for a part of a page; "" if the part is no element, such as a match of a regular expression."""
    if part is None:
        return ""
    if part.css is not None:
        css = re.sub(r"\s*::(?:text|attr\([^)]*\))", "", part.css)
        if css and not is_browser_css(css):  # what browsers do not know, such as `:contains("x")`
            with suppress(cssselect.SelectorError):
                return f"xpath={cssselect.HTMLTranslator().css_to_xpath(css)}"
        return css
    if part.xpath is not None:
        return "xpath=" + re.sub(r"/+(?:text\(\)|@[\w:-]+)$", "", part.xpath.strip())  # a text or an attribute has no picture, but its element has one
    return ""


class Picture(NamedTuple):
    """A picture of a page as PNG.

    problem: why the picture must not be compared with others, such as an image that did not load; "" if it is complete. cut: whether the page
    is higher than the picture. hidden: for each selector of `hide`, the number of elements that it left out.
    """

    png: bytes = b""
    width: int = 0
    height: int = 0
    problem: str = ""
    cut: bool = False
    hidden: tuple[int, ...] = ()


class LoadRecord:
    """Records which images, fonts, style sheets and scripts of a page could not be loaded. Make it before the page is navigated.

    Only failures that another attempt may not have are recorded: an image that the site does not have is missing in each picture.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._failed: dict[str, str] = {}
        self._listeners: dict[Literal["requestfailed", "response"], Any] = {"requestfailed": self._on_failure, "response": self._on_response}
        for event, listener in self._listeners.items():
            page.on(event, listener)

    def close(self) -> None:
        for event, listener in self._listeners.items():
            self._page.remove_listener(event, listener)

    @property
    def problem(self) -> str:
        """Why the page does not look complete; "" if nothing failed."""
        return next(iter(self._failed.values()), "")

    def _on_failure(self, request: Request) -> None:
        reason = request.failure or "unknown"
        if not reason.startswith(_BLOCKED):
            self._note(request, reason.removeprefix("net::"))

    def _on_response(self, response: Response) -> None:
        status = response.status
        if status >= 500 or status in _LATER:
            self._note(response.request, f"HTTP {status}")
        elif status < 400:
            self._failed.pop(response.url, None)  # the page has requested it once more

    def _note(self, request: Request, reason: str) -> None:
        if request.resource_type in _KINDS and len(self._failed) < _MAX_NAMED:
            kind = "frame" if request.resource_type == "document" else request.resource_type
            self._failed.setdefault(request.url, f"the {kind} {shown_url(request.url)} did not load ({clean_line(reason, 60)})")


class _Area(TypedDict):
    """What settle.js returns: the size of the page in CSS pixels, and what is missing ("" if nothing is).

    late: the URL of an image that has not loaded. invalid: a selector that the browser does not know.
    """

    width: float
    height: float
    problem: Literal["image", "font", ""]
    late: str
    hidden: list[int]
    invalid: str


def _problem_of(area: _Area) -> str:
    match area["problem"]:
        case "image":
            return f"the image {shown_url(area['late'])} did not load in time"
        case "font":
            return "a font did not load in time"
        case _:
            return ""


async def take_picture(page: Page, world: IsolatedWorld, rules: PictureRules, record: LoadRecord, *, timeout_s: float) -> Picture:
    """Take a picture of a page. The page is scrolled to its end and back, and its styles are changed: take its content before.

    Raises FetchError if a selector of `hide` is not valid, playwright.async_api.Error if the page has crashed.
    """
    from playwright.async_api import TimeoutError as PlaywrightTimeoutError  # noqa: PLC0415  an extra, which only pictures need

    end = time.monotonic() + timeout_s
    try:
        part = await page.query_selector_all(rules.part) if rules.part else None
        area: _Area = await world.call(_settle_script(), {
            "hide": rules.hide, "maxHeight": MAX_HEIGHT, "waitMs": 1000 * min(_LOAD_S, timeout_s)})
        if area["invalid"]:
            raise FetchError(f"the browser does not know the selector {clean_line(area['invalid'], 100)!r}", where="watch.visual.ignore",
                             fix="correct the CSS selector")
        if problem := _problem_of(area) or record.problem:
            return Picture(problem=problem, hidden=tuple(area["hidden"]))
        clip: FloatRect | None = {"x": 0, "y": 0, "width": area["width"], "height": area["height"]}
        if part is not None:
            clip = await _around(part)
        if clip is None:
            return Picture(problem="the watched part is not visible" if part else "the watched part was not found on the page", hidden=tuple(area["hidden"]))
        height = clip["height"]
        clip["height"] = _height(clip)
        shot = await _still(page, clip, rules, end)
    except PlaywrightTimeoutError:
        return Picture(problem="the picture could not be taken in time")
    if isinstance(shot, str):
        return Picture(problem=shot, hidden=tuple(area["hidden"]))
    if record.problem:
        return Picture(problem=record.problem, hidden=tuple(area["hidden"]))
    return Picture(shot, round(clip["width"]), round(clip["height"]), cut=height > clip["height"], hidden=tuple(area["hidden"]))


async def whole_page(page: Page, world: IsolatedWorld, *, timeout_s: float, max_bytes: int) -> bytes:
    """Return a picture of a page as it is at this moment, as PNG; b"" if it cannot be taken in time or is larger than max_bytes."""
    from playwright.async_api import Error  # noqa: PLC0415  as above

    limit_s = max(0.1, min(_PICTURE_S, timeout_s))
    try:
        async with asyncio.timeout(limit_s):
            size = await world.call("() => [innerWidth, document.documentElement.scrollHeight]")
            width, height = (max(1, int(side)) for side in size)
            png: bytes = await page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": min(height, MAX_HEIGHT)},
                                               scale="css", type="png", timeout=1000 * limit_s)
    except (Error, TimeoutError, TypeError, ValueError):  # the page is gone, has replaced its document, or its scripts never end
        return b""
    return png if len(png) <= max_bytes else b""


async def _around(part: Sequence[ElementHandle]) -> FloatRect | None:
    """Return the area in which the elements of a part are; None if none is visible. The page is at its top."""
    boxes = [box for element in part[:_MAX_ELEMENTS] if (box := await element.bounding_box()) is not None and box["width"] >= 1 and box["height"] >= 1]
    if not boxes:
        return None
    left, top = (max(0, math.floor(min(box[side] for box in boxes))) for side in ("x", "y"))
    right, bottom = math.ceil(max(box["x"] + box["width"] for box in boxes)), math.ceil(max(box["y"] + box["height"] for box in boxes))
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def _height(area: FloatRect) -> float:
    """Return the height of the picture: a very wide one is less high, so that it can be compared."""
    return min(area["height"], MAX_HEIGHT, MAX_PIXELS // (math.ceil(area["width"]) + 1))


async def _still(page: Page, clip: FloatRect, rules: PictureRules, end: float) -> bytes | str:
    """Return a picture that is the same as the one before it, or the reason why there is none."""
    shoot = partial(page.screenshot, full_page=True, clip=clip, animations="disabled", caret="hide", scale="css", type="png")
    still_by = min(end, time.monotonic() + _SETTLE_S)
    before: bytes = await shoot(timeout=1000 * max(0.1, end - time.monotonic()))
    while rules.is_compared:
        after: bytes = await shoot(timeout=1000 * max(0.1, end - time.monotonic()))
        if after == before or _is_same(before, after, rules):
            return after
        if time.monotonic() > still_by:
            return "the page does not stop moving (add what moves to watch.visual.ignore)"
        before = after
    return before


def _is_same(before: bytes, after: bytes, rules: PictureRules) -> bool:
    found = difference(opened(before), opened(after), threshold=rules.threshold)
    return not found.pixels or found.share < rules.min_change
