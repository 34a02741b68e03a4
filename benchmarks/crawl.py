"""Crawling a generated site side by side with a plain Scrapy spider: `python -m benchmarks.crawl [--pages 4000]`.

The site has 10 items and 10 links a page and is served by nginx on loopback. Both fetch it with the same
concurrency, no robots.txt and no delay. Ours has everything on: frontier, items, change tracking committed page by
page, progress reported. Start-up is left out on both sides and printed apart.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parents[1]
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

SETTINGS = """
[pipeline]
data_dir = "var"
[heartbeat]
port = 0
[spiders.shop]
start = "{url}"
follow = ["nav a"]
robots = false
concurrency = {concurrency}
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
def nginx(folder: Path) -> Iterator[str]:
    """nginx serving folder/page on a free port; ended by its own process id."""
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(f"""daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
        events {{}} http {{ access_log off; types {{ text/html html; }} client_body_temp_path {folder}/b;
        proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
        server {{ listen 127.0.0.1:{port}; root {folder}; charset utf-8; }} }}""")
    folder.chmod(0o755)
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/page/0.html"
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


def plain_scrapy(url: str, folder: Path) -> tuple[int, int, float, float]:
    """Pages, items, seconds of crawling, seconds of the whole process."""
    script = folder / "plain.py"
    script.write_text(SCRAPY_SPIDER)
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, str(script), url, str(folder / "items.jsonl")], capture_output=True, text=True, check=True)
    pages, items, seconds = done.stdout.split()[-3:]
    return int(pages), int(items), float(seconds), time.perf_counter() - begun


def ours(url: str, folder: Path, *, kept: bool = False) -> tuple[int, int, float, float]:
    """The same of a run of ours; a second call on the same folder finds everything unchanged.

    kept: pages are kept on disk, so that unchanged ones are answered with 304 next time (the default).
    """
    folder.mkdir(exist_ok=True)
    (folder / "settings.toml").write_text(SETTINGS.format(url=url, concurrency=CONCURRENCY, kept=str(kept).lower()))
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "pipeline", "run", "shop", "--json"], cwd=folder, capture_output=True,
                          text=True, check=True, env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "HOME": str(folder)})
    whole = time.perf_counter() - begun
    run: dict[str, Any] = json.loads(done.stdout)[0]
    with sqlite3.connect(folder / "var" / "pipeline.sqlite3") as database:
        first_us, = database.execute("select min(fetched_at) from pages where run_id = ?", [run["run"]]).fetchone()
    seconds = datetime.fromisoformat(run["ended"]).timestamp() - first_us / 1e6
    return run["progress"]["pages"], run["progress"]["items"], seconds, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=4000)
    pages = parser.parse_args().pages
    if shutil.which("nginx") is None:
        print("skipped: nginx is not installed")
        return
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "page").mkdir()
        generate(folder / "page", pages)
        with nginx(folder) as url:
            rows = [("ours, first crawl", ours(url, folder / "a")), ("ours, unchanged", ours(url, folder / "a")),
                    ("ours, pages kept for 304", ours(url, folder / "b", kept=True)),
                    ("ours, all answered 304", ours(url, folder / "b", kept=True)),
                    ("plain Scrapy, JSON lines", plain_scrapy(url, folder))]
    base = rows[-1][1][0] / rows[-1][1][2]
    print(f"{'':28}{'pages':>7}{'items':>8}{'s':>8}{'pages/s':>9}{'ratio':>7}{'start-up and end s':>20}")
    for label, (fetched, items, seconds, whole) in rows:
        rate = fetched / seconds
        print(f"{label:28}{fetched:>7}{items:>8}{seconds:>8.2f}{rate:>9.0f}{rate / base:>7.2f}{whole - seconds:>20.2f}")


if __name__ == "__main__":
    main()
