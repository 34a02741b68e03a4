"""The programs that benchmarks of crawls compare, and the site that they fetch.

All fetch with the same concurrency and priority, without robots.txt and delay. Ours has everything on: frontier, items, change
tracking, each page committed, progress. The floor is aiohttp and lexbor, which stores nothing. Crawlee runs where .venv-peers has
it: python -m venv .venv-peers && .venv-peers/bin/pip install 'crawlee[parsel]' urlwatch webchanges
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.servers.ports import free_port

HERE = Path(__file__).parents[1]
PEERS = HERE / ".venv-peers" / "bin" / "python"
CONCURRENCY = 16

SCRAPY_SPIDER = """
import sys
import scrapy

class Shop(scrapy.Spider):
    name = "shop"
    start_urls = [sys.argv[1]]
    custom_settings = {"CONCURRENT_REQUESTS": 16, "CONCURRENT_REQUESTS_PER_DOMAIN": 16, "ROBOTSTXT_OBEY": False,
                       "DOWNLOAD_DELAY": 0, "LOG_LEVEL": "ERROR", "TELNETCONSOLE_ENABLED": False,
                       "FEEDS": {sys.argv[2]: {"format": "jsonlines"}}}

    def parse(self, response):
        for product in response.css("article.product"):
            yield {"title": product.css("h3 a::text").get(), "url": response.urljoin(product.css("h3 a::attr(href)").get()),
                   "price": float(product.css(".price::text").get().strip("£")), "stock": product.css(".stock::text").get()}
        yield from response.follow_all(css="nav a")

from scrapy.crawler import CrawlerProcess
process = CrawlerProcess()
crawler = process.create_crawler(Shop)
process.crawl(crawler)
process.start()
stats = crawler.stats.get_stats()
print(stats["response_received_count"], stats.get("item_scraped_count", 0), stats["elapsed_time_seconds"])
"""

CRAWLEE = """
import asyncio, sys, time
from crawlee import ConcurrencySettings
from crawlee.crawlers import ParselCrawler
from crawlee.storage_clients import MemoryStorageClient

async def main():
    crawler = ParselCrawler(storage_client=MemoryStorageClient(), configure_logging=False, concurrency_settings=
                            ConcurrencySettings(min_concurrency=16, desired_concurrency=16, max_concurrency=16))
    seen = [0, 0]

    @crawler.router.default_handler
    async def handle(context):
        rows = [{"title": product.css("h3 a::text").get(), "url": product.css("h3 a::attr(href)").get(),
                 "price": float(product.css(".price::text").get().strip("£")), "stock": product.css(".stock::text").get()}
                for product in context.selector.css("article.product")]
        await context.push_data(rows)
        await context.enqueue_links(selector="nav a")
        seen[0] += 1
        seen[1] += len(rows)

    begun = time.perf_counter()
    await crawler.run([sys.argv[1]])
    print(*seen, time.perf_counter() - begun)

asyncio.run(main())
"""

FLOOR = """
import asyncio, sys, time
from urllib.parse import urljoin
import aiohttp, uvloop
from selectolax.lexbor import LexborHTMLParser

async def main():
    seen, waiting, items = {sys.argv[1]}, [sys.argv[1]], 0
    busy = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as client:
        async def work():
            nonlocal items, busy
            while waiting or busy:
                if not waiting:
                    await asyncio.sleep(0.001)
                    continue
                url = waiting.pop()
                busy += 1
                async with client.get(url) as answer:
                    page = LexborHTMLParser(await answer.text())
                for product in page.css("article.product"):
                    link = product.css_first("h3 a")
                    row = {"title": link.text(), "url": urljoin(url, link.attributes["href"]),
                           "price": float(product.css_first(".price").text().strip("£")), "stock": product.css_first(".stock").text()}
                    items += 1
                for link in page.css("nav a"):
                    link = urljoin(url, link.attributes["href"])
                    if link not in seen:
                        seen.add(link)
                        waiting.append(link)
                busy -= 1
        begun = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(16)))
        print(len(seen), items, time.perf_counter() - begun)

uvloop.run(main())
"""

SETTINGS = """
[pipeline]
data_dir = "var"
fast_engine = {fast}
[heartbeat]
port = 0
[spiders.shop]
start = "{url}"
follow = ["nav a"]
robots = false
concurrency = {concurrency}
processes = {processes}
revalidate = {kept}
[spiders.shop.items]
each = "article.product"
key = ["url"]
[spiders.shop.items.fields]
title = "h3 a::text"
url = "h3 a::attr(href)"
price = {{ css = ".price::text", type = "number" }}
stock = ".stock::text"
"""


def generate(folder: Path, pages: int) -> None:
    """Page n links to pages 10 n + 1 … 10 n + 10, so that all are reached."""
    for number in range(pages):
        products = "".join(
            f'<article class="product"><h3><a href="/product/{number}-{n}">Product {number}-{n}</a></h3>'
            f'<p class="price">£{number % 90 + 10}.{n}0</p><p class="stock">{n} in stock</p><p class="text">'
            f"{'Some words about it. ' * 4}</p></article>" for n in range(10))
        links = "".join(f'<a href="/page/{link % pages}.html">page {link}</a>' for link in range(number * 10 + 1, number * 10 + 11))
        (folder / f"{number}.html").write_text(
            f"<!doctype html><html><head><title>Page {number}</title></head><body><nav>{links}</nav>{products}</body></html>")


@contextmanager
def nginx(folder: Path, *, page: str = "0", log: Path | None = None) -> Iterator[str]:
    """nginx serving folder/page on a free port; ended by its own process id. log: gets the status of each answer."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(f"""daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
        events {{}} http {{ log_format status '$status'; access_log {f"{log} status" if log else "off"}; types {{ text/html html; }} client_body_temp_path {folder}/b;
        proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
        server {{ listen 127.0.0.1:{port}; root {folder}; charset utf-8; }} }}""")
    folder.chmod(0o755)
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/page/{page}.html"
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Measured:
    """pages, items; s: of crawling; whole_s, cpu_s: of the process, start and end included."""

    pages: int
    items: int
    s: float
    whole_s: float
    cpu_s: float


def script(code: str, *arguments: str, folder: Path, python: str = sys.executable) -> Measured:
    """A contestant that prints pages, items and seconds."""
    file = folder / "contestant.py"
    file.write_text(code)
    done, whole_s, cpu_s = timed([python, str(file), *arguments], cwd=folder, preexec_fn=give_way)
    pages, items, seconds = done.split()[-3:]
    return Measured(int(pages), int(items), float(seconds), whole_s, cpu_s)


def timed(command: list[str], cwd: Path, **more: Any) -> tuple[str, float, float]:
    """What a command prints, its seconds, and the CPU seconds of all its processes."""
    others = children()
    before, begun = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr}")
    whole_s = time.perf_counter() - begun
    for pid in children() - others:  # left behind by the command: ours now (a subreaper's)
        os.waitpid(pid, 0)
    after = os.times()
    return done.stdout, whole_s, after[2] + after[3] - before[2] - before[3]


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def give_way() -> None:
    """As our own runs do: the same priority, in a session of its own."""
    os.setsid()
    os.nice(5)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("5")


def ours(url: str, folder: Path, *, kept: bool = False, processes: int | str = 1, fast: bool = True) -> Measured:
    """Run this program once; a second call on the same folder finds everything unchanged.

    kept: pages are kept on disk, so that unchanged ones are answered with 304 next time (the default). fast: the fast engine, not
    Scrapy's own.
    """
    folder.mkdir(exist_ok=True)
    (folder / "settings.toml").write_text(SETTINGS.format(url=url, concurrency=CONCURRENCY, kept=str(kept).lower(),
                                                          processes=json.dumps(processes), fast=str(fast).lower()))
    printed, whole_s, cpu_s = timed([sys.executable, "-m", "pipeline", "run", "shop", "--json"], folder,
                                env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "HOME": str(folder)})
    run: dict[str, Any] = json.loads(printed)[0]
    with sqlite3.connect(folder / "var" / "pipeline.sqlite3") as database:
        first_us, = database.execute("select min(fetched_at) from pages where run_id = ?", [run["run"]]).fetchone()
    seconds = datetime.fromisoformat(run["ended"]).timestamp() - first_us / 1e6
    return Measured(run["progress"]["pages"], run["progress"]["items"], seconds, whole_s, cpu_s)


def spread(values: list[float], form: str) -> str:
    return " / ".join(f"{value:{form}}" for value in (min(values), statistics.median(values), max(values)))
