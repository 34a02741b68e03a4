"""What makes rendering with Playwright fast.

Run it with `python -m benchmarks.libraries.page_rendering [--rounds 3] [--pages 60] [--only WORD]`.

Each variant differs in one point from the first. It renders the pages of benchmarks._single_page_app with its own browser, started
and closed outside the measured time, in turns. CPU seconds are those of all of its processes: Python, Playwright's driver, the browser.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import uvloop
from playwright.async_api import Browser, BrowserContext, CDPSession, Error, Page, Route, async_playwright

from benchmarks._crawlers import HERE, spread
from benchmarks._single_page_app import single_page_app
from benchmarks.cluster import tree_cpu_s
from benchmarks.site import below, pss_bytes

CHROMIUM, SHELL = "/usr/bin/chromium", "/usr/bin/chromium-headless-shell"
ARGUMENTS = ("--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run", "--disable-component-update", "--disable-sync")
READY = "article.product"
WAIT = """selector => new Promise(done => {
  const look = () => document.querySelector(selector) && (observer.disconnect(), done(document.documentElement.outerHTML));
  const observer = new MutationObserver(look);
  observer.observe(document, {childList: true, subtree: true});
  look();
})"""


@dataclass(frozen=True)
class Way:
    """One way of rendering. The defaults are the way that all others are compared with."""

    label: str
    fresh: Literal["nothing", "page", "context"] = "nothing"
    until: Literal["load", "domcontentloaded", "commit"] = "commit"
    content: Literal["content", "evaluate", "one evaluate", "cdp", "dom"] = "content"
    navigate: Literal["goto", "location", "cdp"] = "goto"
    intercept: Literal["nothing", "continue", "abort images", "cdp block", "cdp fetch", "cdp fetch documents"] = "nothing"
    proxy: Literal["nothing", "same process"] = "nothing"
    listen: bool = False
    cached: bool = True
    between: Literal["nothing", "goto", "commit", "cdp", "open"] = "nothing"
    """How the page is emptied after use: by goto until load or commit, by CDP Page.navigate, or by document.open()."""
    pages: int = 4
    executable: str = CHROMIUM
    arguments: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    loop: Literal["uvloop", "asyncio"] = "uvloop"
    node: str = ""
    """NODE_OPTIONS of Playwright's driver."""


BASE = Way("reused page, goto until commit, wait_for_selector, content()")
WAYS = (
    BASE,
    replace(BASE, label="a new page for each URL", fresh="page"),
    replace(BASE, label="a new context for each URL", fresh="context"),
    replace(BASE, label="about:blank between pages", between="goto"),
    replace(BASE, label="goto until load", until="load"),
    replace(BASE, label="goto until domcontentloaded", until="domcontentloaded"),
    replace(BASE, label="location.href in place of goto", navigate="location"),
    replace(BASE, label="evaluate outerHTML in place of content()", content="evaluate"),
    replace(BASE, label="one evaluate that waits and returns outerHTML", content="one evaluate"),
    replace(BASE, label="CDP: Page.navigate, one Runtime.evaluate that waits", navigate="cdp", content="cdp"),
    replace(BASE, label="listeners of request and response", listen=True),
    replace(BASE, label="route: all continued", intercept="continue"),
    replace(BASE, label="route: images aborted, others continued", intercept="abort images"),
    replace(BASE, label="CDP Network.setBlockedURLs for images", intercept="cdp block"),
    replace(BASE, label="imagesEnabled=false at launch", arguments=("--blink-settings=imagesEnabled=false",)),
    replace(BASE, label="no cache", cached=False),
    replace(BASE, label="a proxy in the same process", proxy="same process"),
    replace(BASE, label="asyncio's own loop", loop="asyncio"),
    replace(BASE, label="1 page", pages=1),
    replace(BASE, label="2 pages", pages=2),
    replace(BASE, label="8 pages", pages=8),
    replace(BASE, label="headless shell", executable=SHELL),
    replace(BASE, label="--headless=new", arguments=("--headless=new",), without=("--headless",)),
    replace(BASE, label="one renderer (--renderer-process-limit=1)", arguments=("--renderer-process-limit=1",)),
    replace(BASE, label="--in-process-gpu", arguments=("--in-process-gpu",)),
    replace(BASE, label="--disable-gpu", arguments=("--disable-gpu",)),
    replace(BASE, label="--disable-gpu --disable-software-rasterizer", arguments=("--disable-gpu", "--disable-software-rasterizer")),
    replace(BASE, label="all together: shell, one evaluate, CDP block", executable=SHELL, content="one evaluate", intercept="cdp block"),
    replace(BASE, label="all together, 3 pages", executable=SHELL, content="one evaluate", intercept="cdp block", pages=3),
    replace(BASE, label="all together, 6 pages", executable=SHELL, content="one evaluate", intercept="cdp block", pages=6),
    replace(BASE, label="all together, --process-per-site", executable=SHELL, content="one evaluate", intercept="cdp block", arguments=("--process-per-site",)),
    replace(BASE, label="all together, --in-process-gpu", executable=SHELL, content="one evaluate", intercept="cdp block", arguments=("--in-process-gpu",)),
    *(replace(BASE, label=f"all together, {label}", executable=SHELL, content="one evaluate", intercept="cdp block", between=between) for label, between in (
        ("about:blank between pages", "goto"), ("about:blank until commit", "commit"), ("about:blank by CDP", "cdp"), ("document.open between pages", "open"))),
    replace(BASE, label="all together, goto until load", executable=SHELL, content="one evaluate", intercept="cdp block", until="load"),
    replace(BASE, label="all together, wait_for_selector and evaluate", executable=SHELL, content="evaluate", intercept="cdp block"),
    replace(BASE, label="all together, but images and documents by CDP Fetch", executable=SHELL, content="one evaluate", intercept="cdp fetch"),
    replace(BASE, label="all together, but only documents by CDP Fetch", executable=SHELL, content="one evaluate", intercept="cdp fetch documents"),
    replace(BASE, label="all together, driver with small heap spaces", executable=SHELL, content="one evaluate", intercept="cdp block",
            node="--max-semi-space-size=1"),
    replace(BASE, label="all together, renderers with small heap spaces", executable=SHELL, content="one evaluate", intercept="cdp block",
            arguments=("--js-flags=--max-semi-space-size=1",)),
    replace(BASE, label="all together, renderers with small heap and caches", executable=SHELL, content="one evaluate", intercept="cdp block",
            arguments=("--js-flags=--max-semi-space-size=1 --optimize-for-size", "--enable-low-end-device-mode")),
    replace(BASE, label="all together, by CDP", executable=SHELL, content="cdp", navigate="cdp", intercept="cdp block"),
)


@dataclass(frozen=True)
class Measured:
    s: float
    cpu_s: float
    start_s: float
    memory_bytes: int
    """Of all processes, after the last page (PSS)."""


class Rendering:
    """Renders URLs one way, with the pages of one browser."""

    def __init__(self, way: Way, browser: Browser, options: dict[str, Any]) -> None:
        self._way = way
        self._browser = browser
        self._options = options
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, urls: list[str]) -> int:
        """Render all, and return the memory that all processes have at the end."""
        waiting = iter(urls)
        context = await self._browser.new_context(**self._options)

        async def work() -> None:
            page = cdp = None
            for url in waiting:
                own = await self._browser.new_context(**self._options) if self._way.fresh == "context" else context
                if page is None or self._way.fresh != "nothing":
                    page, cdp = await self._new_page(own)
                html = await self._render(page, cdp, url)
                assert html.count("<article") == 10, (url, html)
                await self._empty(page, cdp)
                if self._way.fresh != "nothing":
                    await page.close()
                if own is not context:
                    await own.close()

        await asyncio.gather(*(work() for _ in range(self._way.pages)))
        memory_bytes = sum(map(pss_bytes, below(os.getpid())))
        await context.close()
        return memory_bytes

    async def _empty(self, page: Page, cdp: CDPSession | None) -> None:
        if self._way.between == "goto":
            await page.goto("about:blank")
        elif self._way.between == "commit":
            await page.goto("about:blank", wait_until="commit")
        elif self._way.between == "cdp":
            assert cdp is not None
            await cdp.send("Page.navigate", {"url": "about:blank"})
        elif self._way.between == "open":
            await page.evaluate("() => { document.open(); document.close() }")

    async def _new_page(self, context: BrowserContext) -> tuple[Page, CDPSession | None]:
        page, way = await context.new_page(), self._way
        cdp = await context.new_cdp_session(page) if "cdp" in (way.navigate, way.content) or way.intercept.startswith("cdp") or not way.cached else None
        if way.intercept == "continue":
            await page.route("**/*", lambda route: route.continue_())
        elif way.intercept == "abort images":
            await page.route("**/*", abort_images)
        elif way.intercept == "cdp block":
            assert cdp is not None
            await cdp.send("Network.enable")
            await cdp.send("Network.setBlockedURLs", {"urls": ["*.png"]})
        elif way.intercept.startswith("cdp fetch"):
            assert cdp is not None
            await self._fetch_by_cdp(cdp, images=way.intercept == "cdp fetch")
        if not way.cached:
            assert cdp is not None
            await cdp.send("Network.enable")
            await cdp.send("Network.setCacheDisabled", {"cacheDisabled": True})
        if way.listen:
            for event in ("request", "response", "requestfinished"):
                page.on(event, lambda _: None)
        return page, cdp

    async def _fetch_by_cdp(self, cdp: CDPSession, *, images: bool) -> None:
        """Continue documents, at their request and their response, and fail images."""
        async def paused(event: dict[str, Any]) -> None:
            blocked = event["resourceType"] == "Image"
            with suppress(Error):
                await cdp.send("Fetch.failRequest" if blocked else "Fetch.continueRequest",
                               {"requestId": event["requestId"], **({"errorReason": "BlockedByClient"} if blocked else {})})

        cdp.on("Fetch.requestPaused", lambda event: self._tasks.add(asyncio.create_task(paused(event))))
        patterns = [{"urlPattern": "*", "resourceType": "Document", "requestStage": stage} for stage in ("Request", "Response")]
        await cdp.send("Fetch.enable", {"patterns": patterns + ([{"urlPattern": "*", "resourceType": "Image"}] if images else [])})

    async def _render(self, page: Page, cdp: CDPSession | None, url: str) -> str:
        way = self._way
        if way.navigate == "goto":
            await page.goto(url, wait_until=way.until)
        elif way.navigate == "location":
            async with page.expect_navigation(wait_until=way.until):
                await page.evaluate("url => { location.href = url }", url)
        else:
            assert cdp is not None
            await cdp.send("Page.navigate", {"url": url})
        if way.content == "cdp":
            assert cdp is not None
            found = await cdp.send("Runtime.evaluate", {"expression": f"({WAIT})({json.dumps(READY)})", "awaitPromise": True, "returnByValue": True})
            return str(found["result"]["value"])
        if way.content == "one evaluate":
            return str(await page.evaluate(WAIT, READY))
        await page.wait_for_selector(READY)
        if way.content == "evaluate":
            return str(await page.evaluate("document.documentElement.outerHTML"))
        return await page.content()


async def abort_images(route: Route) -> None:
    if route.request.resource_type == "image":
        await route.abort()
    else:
        await route.continue_()


@asynccontextmanager
async def forward_proxy() -> AsyncIterator[str]:
    """A proxy for plain HTTP that keeps the connection to the site for each connection of the browser."""
    connections: set[asyncio.Task[None]] = set()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        back: asyncio.Task[None] | None = None
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, url, rest = head.split(b" ", 2)
                place, _, path = url.removeprefix(b"http://").partition(b"/")
                if upstream is None:
                    host, _, port = place.decode().partition(":")
                    answers, upstream = await asyncio.open_connection(host, int(port or 80))
                    back = asyncio.create_task(copy(answers, writer))
                upstream.write(method + b" /" + path + b" " + rest)
        if back is not None:
            back.cancel()
        for each in (upstream, writer):
            if each is not None:
                each.close()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in connections:
            task.cancel()


async def measure(way: Way, urls: list[str]) -> Measured:
    async with forward_proxy() as proxy, async_playwright() as playwright:
        begun_s = time.perf_counter()
        browser = await playwright.chromium.launch(
            executable_path=way.executable, args=[*ARGUMENTS, *way.arguments], ignore_default_args=list(way.without) or None,
            proxy={"server": proxy, "bypass": "<-loopback>"} if way.proxy == "same process" else None)
        start_s = time.perf_counter() - begun_s
        begun_s, cpu_s = time.perf_counter(), tree_cpu_s(os.getpid())
        memory_bytes = await Rendering(way, browser, {}).run(urls)
        found = Measured(time.perf_counter() - begun_s, tree_cpu_s(os.getpid()) - cpu_s, start_s, memory_bytes)
        await browser.close()
    return found


def measure_apart(way: Way, url: str, pages: int) -> Measured | str:
    """Measure in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.libraries.page_rendering", "--measure", str(WAYS.index(way)), "--url", url,
                           "--pages", str(pages)], cwd=HERE, capture_output=True, text=True, check=False, timeout=300)
    return Measured(*json.loads(done.stdout)) if done.returncode == 0 else done.stderr.strip().split("\n")[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--only", nargs="*", default=[""], help="words of the labels of the variants to measure")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        way = WAYS[given.measure]
        if way.node:
            os.environ["NODE_OPTIONS"] = way.node
        run: Callable[[Awaitable[Measured]], Measured] = uvloop.run if way.loop == "uvloop" else asyncio.run  # type: ignore[assignment]
        found = run(measure(way, [f"{given.url}/page/{number}" for number in range(given.pages)]))
        print(json.dumps([found.s, found.cpu_s, found.start_s, found.memory_bytes]))
        return
    ways = [way for way in WAYS if way is BASE or any(word in way.label for word in given.only)]
    rounds: dict[Way, list[Measured]] = {way: [] for way in ways}
    with single_page_app(given.pages) as url:
        for number in range(given.rounds):
            for way in ways:
                measured = measure_apart(way, url, given.pages)
                if isinstance(measured, str):
                    print(f"{way.label}: {measured}")
                else:
                    rounds[way].append(measured)
            print(f"round {number + 1} of {given.rounds} done; load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    print(f"{given.pages} pages, {given.rounds} rounds, min / median / max; load {os.getloadavg()[0]:.1f}")
    print(f"{'':58}{'pages/s':>22}{'times the first':>22}{'CPU ms/page':>20}{'start s':>20}{'memory MB':>20}")
    for way, measured in rounds.items():
        if len(measured) == given.rounds:
            print(f"{way.label:58}{spread([given.pages / each.s for each in measured], '.1f'):>22}"
                  f"{spread([base.s / each.s for base, each in zip(rounds[BASE], measured, strict=True)], '.2f'):>22}"
                  f"{spread([1e3 * each.cpu_s / given.pages for each in measured], '.0f'):>20}{spread([each.start_s for each in measured], '.2f'):>20}"
                  f"{spread([each.memory_bytes / 1e6 for each in measured], '.0f'):>20}")


if __name__ == "__main__":
    main()
