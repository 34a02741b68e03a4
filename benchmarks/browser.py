"""Compare rendering with scrapy-playwright and changedetection.io, in turns.

Run it with `python -m benchmarks.browser [--pages 200] [--rounds 3]`.

Each renders the pages of a small single-page application (_single_page_app.py) in Debian's Chromium, four at a time, and reads the ten
products of each. Ours is `pipeline run`: items compared and stored, each page committed. scrapy-playwright is an idiomatic spider that
writes JSON lines. changedetection.io is its Playwright fetcher, four at once, with its delay of 5 s for each page set to 0 and a
script that waits for the products; it also takes a screenshot and the positions of the elements, as it does for each check. The pictures of
the products are loaded by all but "ours", which blocks them by default; "ours, all loaded" loads them, too.

Seconds are those of the whole command, start and end included. CPU seconds are those of all of its processes, memory is their
proportional set size (PSS) at the peak. First page: from the start of the command (ours: of the run's process) to the answer of the
application's API for the first page. Goals: 1.2 times as fast as scrapy-playwright, twice as fast as changedetection.io, under 700 MB,
the first page in under 2 s. The others run where .venv-peers has them: python -m venv .venv-peers &&
.venv-peers/bin/pip install scrapy-playwright changedetection.io
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

from benchmarks._crawlers import HERE, PEERS, children, give_way, spread
from benchmarks._single_page_app import PRODUCTS, log_of, single_page_app
from benchmarks.site import below, pss_bytes
from tests.servers.ports import free_port

PROGRAMS = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
"""Debian's; the first is what Playwright itself starts where it has installed its own browsers."""
AT_A_TIME = 4
LOOK_S = 0.2

SETTINGS = """
[pipeline]
data_dir = "var"
[heartbeat]
port = 0
[browser]
executable = "{chromium}"
[spiders.shop]
start = "{url}/page/0"
follow = ["nav a"]
robots = false
concurrency = {at_a_time}
processes = 1
render = {{ wait_for = "article.product"{more} }}
[spiders.shop.items]
each = "article.product"
key = ["url"]
[spiders.shop.items.fields]
title = "h3 a::text"
url = "h3 a::attr(href)"
price = {{ css = ".price::text", type = "number" }}
stock = ".stock::text"
"""

SCRAPY_PLAYWRIGHT = """
import sys
import scrapy
from scrapy_playwright.page import PageMethod

class Shop(scrapy.Spider):
    name = "shop"
    custom_settings = {"CONCURRENT_REQUESTS": 4, "CONCURRENT_REQUESTS_PER_DOMAIN": 4, "ROBOTSTXT_OBEY": False, "DOWNLOAD_DELAY": 0,
                       "LOG_LEVEL": "ERROR", "TELNETCONSOLE_ENABLED": False, "FEEDS": {sys.argv[2]: {"format": "jsonlines"}},
                       "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
                       "DOWNLOAD_HANDLERS": {"http": "scrapy_playwright.handler.ScrapyPlaywrightDownloadHandler",
                                             "https": "scrapy_playwright.handler.ScrapyPlaywrightDownloadHandler"},
                       "PLAYWRIGHT_MAX_PAGES_PER_CONTEXT": 4,
                       "PLAYWRIGHT_LAUNCH_OPTIONS": {"executable_path": sys.argv[3], "args": ["--no-sandbox"]}}

    def request(self, url):
        return scrapy.Request(url, meta={"playwright": True, "playwright_page_methods": [PageMethod("wait_for_selector", "article.product")]})

    async def start(self):
        yield self.request(sys.argv[1] + "/page/0")

    def parse(self, response):
        for product in response.css("article.product"):
            yield {"title": product.css("h3 a::text").get(), "url": response.urljoin(product.css("h3 a::attr(href)").get()),
                   "price": float(product.css(".price::text").get().strip("£")), "stock": product.css(".stock::text").get()}
        for link in response.css("nav a::attr(href)").getall():
            yield self.request(response.urljoin(link))

from scrapy.crawler import CrawlerProcess
process = CrawlerProcess()
crawler = process.create_crawler(Shop)
process.crawl(crawler)
process.start()
stats = crawler.stats.get_stats()
print(stats["response_received_count"], stats.get("item_scraped_count", 0))
"""

CHANGEDETECTION = """
import asyncio, os, subprocess, sys, tempfile, time, urllib.request
url, port, chromium = sys.argv[1:]
os.environ |= {"WEBDRIVER_DELAY_BEFORE_CONTENT_READY": "0", "PLAYWRIGHT_DRIVER_URL": f"http://127.0.0.1:{port}", "ALLOW_IANA_RESTRICTED_ADDRESSES": "true"}
from loguru import logger
logger.remove()
from changedetectionio.content_fetchers.playwright import fetcher
from parsel import Selector
WAIT = "new Promise(done => { const look = () => document.querySelector('article.product') ? done() : setTimeout(look, 20); look(); })"

async def main():
    seen, waiting, items, busy = {url + "/page/0"}, [url + "/page/0"], 0, 0

    async def work():
        nonlocal items, busy
        while waiting or busy:
            if not waiting:
                await asyncio.sleep(0.01)
                continue
            address = waiting.pop(0)
            busy += 1
            fetch = fetcher(screenshot_format="JPEG")
            fetch.webdriver_js_execute_code = WAIT
            await fetch.run(url=address, timeout=30, request_headers={}, request_method="GET", is_binary=False, fetch_favicon=False)
            page = Selector(fetch.content)
            for product in page.css("article.product"):
                row = {"title": product.css("h3 a::text").get(), "url": product.css("h3 a::attr(href)").get(),
                       "price": float(product.css(".price::text").get().strip("£")), "stock": product.css(".stock::text").get()}
                items += 1
            for link in page.css("nav a::attr(href)").getall():
                if url + link not in seen:
                    seen.add(url + link)
                    waiting.append(url + link)
            busy -= 1

    await asyncio.gather(*(work() for _ in range(4)))
    print(len(seen), items)

with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    browser = subprocess.Popen([chromium, "--headless", "--no-sandbox", f"--remote-debugging-port={port}", f"--user-data-dir={profile}", "about:blank"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/json/version", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        asyncio.run(main())
    finally:
        browser.terminate()
        browser.wait()
"""


@dataclass(frozen=True)
class Measured:
    """seconds: of the whole command; first_s: until the first page was complete; pages_s: from then until the last one was.

    cpu_s: of all processes. memory_bytes: of all processes, at the peak (PSS).
    """

    pages: int
    items: int
    seconds: float
    first_s: float
    pages_s: float
    cpu_s: float
    memory_bytes: int


class Watch(Thread):
    """Looks at the processes of a command until it ends: their memory, and the CPU time of those that nobody waits for."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = Event()
        self.memory_bytes = 0

    def run(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.memory_bytes = max(self.memory_bytes, sum(map(pss_bytes, below(self._pid))))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def measured(command: list[str], folder: Path, url: str, counts: Callable[[str], tuple[int, int, float]], **more: object) -> Measured:
    """Run a command. counts: of what it printed, the pages, the items and how many seconds after its start the clock of its first page starts."""
    log_of(url)
    before, others, begun_s = os.times(), children(), time.monotonic()
    with (folder / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True, **more)  # type: ignore[call-overload]
        watch = Watch(process.pid)
        watch.start()
        printed, _ = process.communicate()
    seconds = time.monotonic() - begun_s
    watch.stop()
    for pid in children() - others:  # left behind by the command: ours now (a subreaper's)
        os.waitpid(pid, 0)
    if process.returncode:
        sys.exit(f"{command}: {(folder / 'errors.txt').read_text()}\n{printed}")
    after, log = os.times(), log_of(url)
    pages, items, clock_s = counts(printed)
    return Measured(pages, items, seconds, log["first_s"] - begun_s - clock_s, log["last_s"] - log["first_s"],
                    after[2] + after[3] - before[2] - before[3], watch.memory_bytes)


def ours(url: str, browser: Path, folder: Path, *, more: str = "") -> Measured:
    """`pipeline run` in the folder. more: further settings of `render`."""
    (folder / "settings.toml").write_text(SETTINGS.format(url=url, chromium=browser, at_a_time=AT_A_TIME, more=more))
    begun = datetime.now().astimezone()

    def counts(printed: str) -> tuple[int, int, float]:
        run = json.loads(printed)[0]
        if run["outcome"] != "succeeded":
            sys.exit(f"ours: {printed}")
        return run["progress"]["pages"], run["progress"]["items"], (datetime.fromisoformat(run["started"]) - begun).total_seconds()

    return measured([sys.executable, "-m", "pipeline", "run", "shop", "--json"], folder, url, counts,
                    env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "HOME": str(folder)})


def script(code: str, url: str, folder: Path, *arguments: str) -> Measured:
    """A peer that prints its pages and items."""
    file = folder / "peer.py"
    file.write_text(code)

    def counts(printed: str) -> tuple[int, int, float]:
        pages, items = map(int, printed.split()[-2:])
        return pages, items, 0.0

    return measured([str(PEERS), str(file), url, *arguments], folder, url, counts, preexec_fn=give_way, env=os.environ | {"HOME": str(folder)})


def scrapy_playwright(url: str, browser: Path, folder: Path) -> Measured:
    return script(SCRAPY_PLAYWRIGHT, url, folder, str(folder / "items.jsonl"), str(browser))


def changedetection(url: str, browser: Path, folder: Path) -> Measured:
    return script(CHANGEDETECTION, url, folder, str(free_port()), str(browser))


OURS, ALL, SCRAPY, CHANGES = "ours", "ours, all loaded", "scrapy-playwright", "changedetection.io"
GOALS = ((OURS, SCRAPY, 1.2), (ALL, SCRAPY, 1.2), (OURS, CHANGES, 2.0))
"""How many times as fast each program must be as another at the median."""
MODULES = {SCRAPY: "scrapy_playwright", CHANGES: "changedetectionio"}


def is_installed(module: str) -> bool:
    return PEERS.exists() and subprocess.run([str(PEERS), "-c", f"import importlib.util as u; exit(u.find_spec({module!r}) is None)"],
                                             check=False).returncode == 0


def print_results(rounds: dict[str, list[Measured]]) -> None:
    print(f"{'min / median / max':20}{'seconds':>25}{'pages/s after the first':>27}{'first page s':>24}{'CPU ms/page':>24}{'memory MB':>21}")
    for label, found in rounds.items():
        print(f"{label:20}{spread([each.seconds for each in found], '6.2f'):>25}{spread([(each.pages - 1) / each.pages_s for each in found], '6.1f'):>27}"
              f"{spread([each.first_s for each in found], '5.2f'):>24}{spread([1e3 * each.cpu_s / each.pages for each in found], '4.0f'):>24}"
              f"{spread([each.memory_bytes / 1e6 for each in found], '4.0f'):>21}")
    for label, other, goal in GOALS:
        if label in rounds and other in rounds:
            ratios = [theirs.seconds / own.seconds for own, theirs in zip(rounds[label], rounds[other], strict=True)]
            verdict = "met" if statistics.median(ratios) >= goal else "missed"
            print(f"{label} / {other}: {spread(ratios, '.2f')} times as fast (goal {goal}: {verdict})")
    if OURS not in rounds:
        return
    first_s = statistics.median(each.first_s for each in rounds[OURS])
    memory_mb = max(each.memory_bytes for each in rounds[OURS]) / 1e6
    print(f"first page {first_s:.2f} s (goal under 2: {'met' if first_s < 2 else 'missed'}); "
          f"memory {memory_mb:.0f} MB (goal under 700: {'met' if memory_mb < 700 else 'missed'})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay-ms", type=int, default=0, help="how long the application's API takes to answer")
    parser.add_argument("--browser", type=Path, help="Chromium for all of them; by default Debian's headless shell, or else its chromium")
    parser.add_argument("--only", nargs="*", help="labels of the programs to measure")
    given = parser.parse_args()
    browser = given.browser or next(filter(Path.exists, PROGRAMS), None)
    if browser is None:
        print("skipped: Chromium is not installed")
        return
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what a command leaves behind is ours when that ends
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name, single_page_app(given.pages, delay_ms=given.delay_ms) as url:
        programs = {OURS: partial(ours, url, browser), ALL: partial(ours, url, browser, more=", block = []"),
                    SCRAPY: partial(scrapy_playwright, url, browser), CHANGES: partial(changedetection, url, browser)}
        programs = {label: program for label, program in programs.items() if given.only is None or label in given.only}
        for label in [label for label in programs if label in MODULES and not is_installed(MODULES[label])]:
            print(f"{label} is left out: see the first lines of this file")
            del programs[label]
        rounds: dict[str, list[Measured]] = {label: [] for label in programs}
        labels = list(programs)
        if not labels:
            return
        for number in range(given.rounds):
            at = number % len(labels)
            for label in (*labels[at:], *labels[:at]):
                folder = Path(name, f"{number}-{labels.index(label)}")
                folder.mkdir()
                found = programs[label](folder)
                if (found.pages, found.items) != (given.pages, given.pages * PRODUCTS):
                    sys.exit(f"{label}: {found}, but the application has {given.pages} pages with {PRODUCTS} items each")
                rounds[label].append(found)
            print(f"round {number + 1} of {given.rounds} done; load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    print(f"{given.pages} pages, {given.rounds} rounds, {browser.name}; load {os.getloadavg()[0]:.1f}")
    print_results(rounds)


if __name__ == "__main__":
    main()
