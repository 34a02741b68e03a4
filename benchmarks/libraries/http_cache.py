"""Conditional requests: our middleware beside Scrapy's HttpCacheMiddleware.

Scrapy's has RFC2616Policy and the same storage.

    python -m benchmarks.libraries.http_cache

Each variant crawls a site twice with Scrapy's own engine; in between, the site changes. Printed is what the second crawl saw of
each page, and the CPU time of a crawl of unchanged pages (median of five, in turns). "max-age=0" is Scrapy's middleware with that
request header, which makes it ask the server about each page.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import scrapy
from aiohttp import web
from scrapy.crawler import AsyncCrawlerProcess, Crawler
from scrapy.http import Request, Response
from scrapy.responsetypes import responsetypes

from pipeline.crawl.middlewares.http_cache import Revalidate, _headers, _pairs
from pipeline.crawl.middlewares.page_cache import CachedPage, PageCache

PAGES, ROUNDS, MAX_BYTES = 1000, 5, 200_000_000
VARIANTS = ("ours", "Scrapy's", "Scrapy's, max-age=0")
OLD = formatdate(1_700_000_000, usegmt=True)
CHANGES = {"/max-age": "changed although max-age had not passed", "/last-modified": "changed, with Last-Modified only",
           "/error": "answers 500", "/cut": "connection closed", "/member": "other member's cookie, Vary: Cookie"}


class Ours(Revalidate):
    """Our middleware without a run around it."""

    def __init__(self, crawler: Crawler) -> None:
        self._max_bytes = MAX_BYTES
        self._cache = PageCache(Path(crawler.settings["CACHE_FILE"]), MAX_BYTES)
        crawler.signals.connect(self._closed, signal=scrapy.signals.spider_closed)


class Storage:
    """Our page cache as a storage of Scrapy's middleware."""

    def __init__(self, settings: Any) -> None:
        self._cache = PageCache(Path(settings["CACHE_FILE"]), MAX_BYTES)

    def open_spider(self, spider: scrapy.Spider) -> None:
        """Nothing to open."""

    def close_spider(self, spider: scrapy.Spider) -> None:
        self._cache.close()

    def retrieve_response(self, spider: scrapy.Spider, request: Request) -> Response | None:
        kept = self._cache.get(request.url)
        if kept is None:
            return None
        headers = _headers(kept)
        kind = responsetypes.from_args(headers=headers, url=request.url, body=kept.body)
        return kind(url=request.url, headers=headers, body=kept.body)

    def store_response(self, spider: scrapy.Spider, request: Request, response: Response) -> None:
        self._cache.put(request.url, CachedPage(_pairs(response.headers), "", response.body))


class Site:
    """A server in a thread. `changed` is what happens between the two crawls."""

    def __init__(self) -> None:
        self.changed = False
        self.port = 0
        self.body = "x" * 20_000

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path, new = request.path, self.changed
        if path == "/cut" and new and request.transport is not None:
            request.transport.close()
        if path == "/error" and new:
            return web.Response(status=500, text="broken")
        headers = {"ETag": f'"{path in ("/max-age", "/last-modified") and new}"', "Content-Type": "text/html"}
        if path == "/max-age":
            headers["Cache-Control"] = "max-age=3600"
        if path in ("/last-modified", "/member"):
            headers["Last-Modified"] = headers.pop("ETag") and OLD
            if path == "/last-modified" and new:
                headers["Last-Modified"] = formatdate(time.time(), usegmt=True)
        if path == "/member":
            headers["Vary"] = "Cookie"
        known = request.headers.get("If-None-Match") or request.headers.get("If-Modified-Since")
        if known and known == (headers.get("ETag") or headers["Last-Modified"]):
            return web.Response(status=304, headers=headers)
        said = f"for {request.headers.get('Cookie')}" if path == "/member" else "new" if new else "old"
        return web.Response(text=f"<p>{said}</p>{self.body}", headers=headers)

    def serve(self, ready: threading.Event) -> None:
        async def run() -> None:
            app = web.Application()
            app.router.add_get("/{path:.*}", self.answer)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            ready.set()
            await asyncio.Event().wait()

        asyncio.run(run())


def crawl(variant: str, file: str, urls: list[str], cookie: str) -> None:
    """Print what a crawl saw of each URL, and its CPU seconds."""
    seen: dict[str, str] = {}

    class Spider(scrapy.Spider):
        name = "pages"

        async def start(self) -> Any:
            for url in urls:
                yield Request(url, headers={"Cookie": cookie}, errback=self.failed)

        def parse(self, response: Response) -> None:
            seen[response.url] = response.css("p::text").get()

        def failed(self, failure: Any) -> None:
            status = getattr(getattr(failure.value, "response", None), "status", "")
            seen[failure.request.url] = f"failure: {type(failure.value).__name__} {status}".strip()

    settings: dict[str, Any] = {"CACHE_FILE": file, "LOG_ENABLED": False, "RETRY_ENABLED": False, "COOKIES_ENABLED": False,
                                "CONCURRENT_REQUESTS_PER_DOMAIN": 16, "DOWNLOAD_DELAY": 0, "TELNETCONSOLE_ENABLED": False,
                                "ROBOTSTXT_OBEY": False}
    if variant == "ours":
        settings["DOWNLOADER_MIDDLEWARES"] = {Ours: 900}
    else:
        settings |= {"HTTPCACHE_ENABLED": True, "HTTPCACHE_STORAGE": Storage,
                     "HTTPCACHE_POLICY": "scrapy.extensions.httpcache.RFC2616Policy"}
    if "max-age=0" in variant:
        settings["DEFAULT_REQUEST_HEADERS"] = {"Cache-Control": "max-age=0"}
    process = AsyncCrawlerProcess(settings)
    process.crawl(Spider)
    began = time.process_time()
    process.start()
    print(json.dumps([seen, time.process_time() - began]))


def crawled(variant: str, file: Path, urls: list[str], cookie: str = "member=1") -> tuple[dict[str, str], float]:
    done = subprocess.run([sys.executable, "-m", "benchmarks.libraries.http_cache", variant, str(file), cookie], check=True,
                          input="\n".join(urls), capture_output=True, text=True)
    seen, cpu = json.loads(done.stdout.splitlines()[-1])
    return seen, cpu


def main() -> None:
    if len(sys.argv) > 1:
        crawl(sys.argv[1], sys.argv[2], sys.stdin.read().split(), sys.argv[3])
        return
    site, ready = Site(), threading.Event()
    threading.Thread(target=site.serve, args=(ready,), daemon=True).start()
    ready.wait()
    urls = [f"http://127.0.0.1:{site.port}{path}" for path in CHANGES]
    pages = [f"http://127.0.0.1:{site.port}/pages/{number}" for number in range(PAGES)]
    with tempfile.TemporaryDirectory() as folder:
        for number, variant in enumerate(VARIANTS):
            file = Path(folder, f"{number}.sqlite3")
            site.changed = False
            crawled(variant, file, urls)
            site.changed = True
            seen, _ = crawled(variant, file, urls, "member=2")
            print(variant)
            for url, what in zip(urls, CHANGES.values(), strict=True):
                print(f"    {what:45}{seen.get(url)}")
        site.changed = False
        took: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for turn in range(ROUNDS + 1):
            for number, variant in enumerate(VARIANTS):
                seen, cpu = crawled(variant, Path(folder, f"{number}.sqlite3"), pages)
                assert len(seen) == PAGES, len(seen)
                took[variant] += [cpu] if turn else []
        for variant, found in took.items():
            print(f"{variant:22}{statistics.median(found) / PAGES * 1000:.2f} ms of CPU a page that is unchanged")


if __name__ == "__main__":
    main()
