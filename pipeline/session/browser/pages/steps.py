"""Perform the steps of [spiders.NAME.render] on a page, and wait until the page is complete."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from playwright.async_api import Error, Locator, Page
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from pipeline.errors import FetchError
from pipeline.session.browser.net_errors import NotShownError
from pipeline.session.browser.pages.isolated_world import PRELUDE, IsolatedWorld
from pipeline.session.requests import reveal
from pipeline.settings import StepTable
from pipeline.settings.fields.browser_values import NETWORK_IDLE, wait_s
from pipeline.text import clean_line

_OPTIONAL_S = 1.0
"""How long an optional step waits for its element."""
_OPTION_S = 3.0
"""How long a list may take to get the option that a step selects."""
_AGAIN_S = 2.0
"""How long a repeated click waits until its element can be clicked again."""
_GROWS_S = 1.0
"""How long the end of a page is watched for further content after scrolling."""
_MOST_SCROLLS = 200
_SCROLL = """async (waitMs) => {""" + PRELUDE + """
    const root = getter(Document, 'scrollingElement')(document) || rootOf(document);
    const height = root.scrollHeight;
    window.scrollTo(0, height);
    const until = performance.now() + waitMs;
    while (performance.now() < until) {
        if (root.scrollHeight > height) return true;
        await new Promise(done => setTimeout(done, 50));
    }
    return false;
}"""


_APPEARS = """([selector, limitMs]) => new Promise(done => {""" + PRELUDE + """
    const end = found => { observer.disconnect(); clearInterval(timer); done(found) };
    const look = () => {
        try { if (first(selector)) end(true) } catch (error) { end(false) }
    };
    const until = performance.now() + limitMs;
    const check = () => {  // also for what no mutation tells, such as `:checked`
        if (performance.now() > until || all('*').some(each => shadowOf(each))) end(false);
        else look();
    };
    const observer = new MutationObserver(look);
    const timer = setInterval(check, 250);
    observer.observe(document, {childList: true, subtree: true, attributes: true});
    look();
})"""
"""Waits until a selector matches. False if this needs Playwright's selector engine: another language than CSS, or a page with shadow roots."""


async def wait_for(page: Page, world: IsolatedWorld, conditions: Sequence[str], *, timeout_s: float, limit_s: float | None = None) -> None:
    """Wait until each condition holds: a CSS selector matches, no request is sent for half a second, or a time such as "2s" has passed.

    Raise FetchError, which names the condition, if one does not hold within timeout_s seconds. limit_s: the time limit that the error names, if
    timeout_s is what is left of it.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    for condition in conditions:
        left_s = max(0.001, deadline - loop.time())
        try:
            if (pause_s := wait_s(condition)) is not None:
                await asyncio.sleep(min(pause_s, left_s))
            elif condition == NETWORK_IDLE:
                await page.wait_for_load_state("networkidle", timeout=left_s * 1000)
            elif not await _appears_soon(world, condition, left_s):
                await page.wait_for_selector(condition, state="attached", timeout=max(1.0, (deadline - loop.time()) * 1000))
        except (PlaywrightTimeoutError, TimeoutError) as error:
            raise not_in_time(condition, limit_s or timeout_s) from error
        except Error as error:
            if reason := invalid_selector(str(error)):
                raise FetchError(f"the selector '{clean_line(condition, 100)}' is not valid: {reason}", fix="correct `render.wait_for`") from error
            raise


async def _appears_soon(world: IsolatedWorld, selector: str, timeout_s: float) -> bool:
    """Wait until a selector matches. Return False if it must be waited for by Playwright's selector engine.

    The engine is loaded anew into each document that it is used in, which costs a third of the CPU time of an average page.
    """
    try:
        return bool(await asyncio.wait_for(world.call(_APPEARS, [selector, timeout_s * 1000]), timeout_s + 1))
    except Error:  # another document has replaced the page, or the page is gone
        return False


def not_in_time(condition: str, timeout_s: float) -> NotShownError:
    """Return the error for a condition of `wait_for` that did not hold in time."""
    what = f"the page still sends requests after {timeout_s:.0f} s" if condition == NETWORK_IDLE else \
        f"the selector '{clean_line(condition, 100)}' did not appear within {timeout_s:.0f} s"
    return NotShownError(what, fix="check `render.wait_for` in a browser, or increase `timeout`", retry=True)


async def perform(page: Page, world: IsolatedWorld, steps: Sequence[StepTable], *, timeout_s: float) -> None:
    """Perform the steps one after the other, all of them within timeout_s seconds.

    Raise FetchError, which names the step, if a step fails. Secret values are read here, and no error contains them.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    for number, step in enumerate(steps, 1):
        left_s = max(0.001, deadline - loop.time())
        try:
            await _perform(page, world, step, left_s)
        except FetchError as error:
            raise _failed(number, step, error.what, retry=error.retry) from error
        except PlaywrightTimeoutError as error:
            cover = await _covering(page, world, step.click) if step.click is not None else ""
            raise _failed(number, step, f"the element is covered by {cover}" if cover else f"not possible within {left_s:.0f} s", retry=True) from error
        except Error as error:
            text = str(error)
            if "crash" in text or "has been closed" in text:
                raise
            if reason := invalid_selector(text):
                raise _failed(number, step, f"the selector is not valid: {reason}", retry=False) from None
            # The cause is left out, since the messages of Playwright contain the value of the field.
            raise _failed(number, step, "the element does not allow it", retry=False) from None


def described(step: StepTable) -> str:
    """Return a step as in the settings, without its value, such as "click 'button.more'"."""
    for name in ("click", "fill", "select", "press", "scroll", "wait"):
        if (value := getattr(step, name)) is not None:
            return f"{name} '{clean_line(value, 100)}'"
    raise AssertionError


def invalid_selector(text: str) -> str:
    """Return what is wrong with a selector, as a message of Playwright says; "" for other messages."""
    found = re.search(r"(Unexpected token .*?while parsing[^\n]*|Unknown engine [^\n]*|is not a valid selector[^\n]*|Malformed selector[^\n]*|"
                      r"Failed to parse selector[^\n]*)", text)
    return clean_line(found[1], 120) if found else ""


def _failed(number: int, step: StepTable, why: str, *, retry: bool) -> NotShownError:
    return NotShownError(f"step {number} ({described(step)}) failed: {why}", fix="check `render.steps` in a browser", retry=retry)


async def _perform(page: Page, world: IsolatedWorld, step: StepTable, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    selector = step.click or step.fill or step.select
    locator = page.locator(selector).first if selector else None
    if locator is not None and not await _appears(locator, step, timeout_s):
        return
    for time in range(step.times):
        left_s = max(0.001, deadline - loop.time())
        if step.click is not None:
            assert locator is not None
            if not await _click(locator, left_s, again=time > 0):
                return
        elif step.press is not None:
            await page.keyboard.press(step.press)
        elif step.scroll is not None:
            await _scroll_to_end(world, deadline)
        elif step.wait is not None:
            await _wait(page, world, step, left_s)
        else:
            assert locator is not None
            await _enter(locator, step, left_s)


async def _appears(locator: Locator, step: StepTable, timeout_s: float) -> bool:
    """Wait for the element of a step. Return False if a step that is optional has none."""
    limit_s = min(timeout_s, _OPTIONAL_S) if step.optional else timeout_s
    try:
        await locator.wait_for(state="attached" if step.select else "visible", timeout=limit_s * 1000)
    except PlaywrightTimeoutError as error:
        if step.optional:
            return False
        raise FetchError(f"the element did not appear within {timeout_s:.0f} s", retry=True) from error
    return True


async def _click(locator: Locator, timeout_s: float, *, again: bool) -> bool:
    """Click an element. Return False if the click is a repeated one and the element is gone, hidden or disabled."""
    try:
        await locator.click(timeout=(min(timeout_s, _AGAIN_S) if again else timeout_s) * 1000)
    except PlaywrightTimeoutError:
        if again and (not await locator.count() or not await locator.is_visible() or not await locator.is_enabled()):
            return False
        raise
    return True


_COVERING = """([x, y]) => {
    const found = Document.prototype.elementFromPoint.call(document, x, y);
    if (!found) return '';
    const id = Element.prototype.getAttribute.call(found, 'id'), classes = Element.prototype.getAttribute.call(found, 'class') || '';
    return found.localName + (id ? '#' + id : classes.trim().split(/\\s+/).filter(Boolean).slice(0, 2).map(name => '.' + name).join(''));
}"""


async def _covering(page: Page, world: IsolatedWorld, selector: str) -> str:
    """Return which element would get a click in place of the one to click, such as the banner of a dialog; "" if none or if it cannot be found out."""
    locator = page.locator(selector).first
    try:
        async with asyncio.timeout(_OPTIONAL_S):
            box = await locator.bounding_box(timeout=_OPTIONAL_S * 1000)
            if box is None:
                return ""
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            is_own = "(element, [x, y]) => { const found = element.getRootNode().elementFromPoint(x, y); return !found || element.contains(found) || found.contains(element) }"
            if await locator.evaluate(is_own, [x, y]):
                return ""
            return clean_line(str(await world.call(_COVERING, [x, y])), 100)
    except (Error, TimeoutError):
        return ""


async def _enter(locator: Locator, step: StepTable, timeout_s: float) -> None:
    assert step.value is not None
    value = reveal(step.value)
    if step.fill is not None:
        await locator.fill(value, timeout=timeout_s * 1000)
    else:
        try:
            await locator.select_option(value, timeout=min(timeout_s, _OPTION_S) * 1000)  # a value or a label
        except PlaywrightTimeoutError as error:
            raise FetchError("the list has no option with this value or label") from error


async def _wait(page: Page, world: IsolatedWorld, step: StepTable, timeout_s: float) -> None:
    assert step.wait is not None
    try:
        await wait_for(page, world, [step.wait], timeout_s=min(timeout_s, _OPTIONAL_S) if step.optional else timeout_s)
    except FetchError as error:
        if not (step.optional and error.retry):
            raise


async def _scroll_to_end(world: IsolatedWorld, deadline: float) -> None:
    """Scroll to the end of the page until the page does not grow any more."""
    loop = asyncio.get_running_loop()
    for _ in range(_MOST_SCROLLS):
        if loop.time() > deadline:
            raise FetchError("the page still grows when the time is over", retry=True)
        if not await world.call(_SCROLL, _GROWS_S * 1000):
            return
    raise FetchError(f"the page still grows after scrolling {_MOST_SCROLLS} times")
