"""A single-page application: `python -m benchmarks._single_page_app PORT PAGES API_DELAY_MS`.

/page/N is the same empty document for each N. Its script fetches /api/page/N, and builds the products and links of the page from the
JSON. Page N links to pages 10 N + 1 … 10 N + 10, so that all are reached. Scripts, styles and pictures may be cached, as sites allow.
/log tells when the first and the last page were complete: when the API had answered, in seconds of time.monotonic().
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from tests.servers.ports import free_port

PRODUCTS = 10
LIBRARY_BYTES = 150_000
"""Size of a script that each page loads and parses, as with the common frameworks."""

DOCUMENT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Shop</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/shop.css"><script src="/static/library.js" defer></script><script src="/static/shop.js" defer></script></head>
<body><div id="app"><p class="loading">Loading …</p></div></body></html>"""

STYLE = "body { font-family: sans-serif } article { display: inline-block; width: 20em } img { width: 8em } .price { color: #a00 }"

SCRIPT = """
const element = (name, attributes, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const product = each => element("article", {class: "product"},
  element("img", {src: each.picture, alt: ""}),
  element("h3", {}, element("a", {href: each.url}, each.title)),
  element("p", {class: "price"}, "£" + each.price.toFixed(2)),
  element("p", {class: "stock"}, each.stock + " in stock"),
  element("p", {class: "text"}, each.text));
fetch("/api" + location.pathname).then(answer => answer.json()).then(page => {
  document.title = page.title;
  document.getElementById("app").replaceChildren(
    element("nav", {}, ...page.links.map(url => element("a", {href: url}, url))),
    element("main", {}, ...page.products.map(product)));
});
"""

PICTURE = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")
KEPT = {"Cache-Control": "max-age=3600"}


def library() -> str:
    """Many small functions, of which some are called at the start."""
    functions = []
    size = 0
    while size < LIBRARY_BYTES:
        number = len(functions)
        functions.append(f"function part{number}(state, change) {{ const next = Object.assign({{}}, state, change); next.version = {number}; "
                         f"return next.items ? next.items.map(item => item.id + {number}) : [next.version]; }}\n")
        size += len(functions[-1])
    calls = "".join(f"parts.push(part{number}({{items: [{{id: {number}}}]}}, {{}}));\n" for number in range(0, len(functions), 4))
    return f"'use strict';\n{''.join(functions)}const parts = [];\n{calls}"


class Shop:
    """pages: how many there are. delay_s: how long the API takes to answer."""

    def __init__(self, pages: int, delay_s: float) -> None:
        self._pages = pages
        self._delay_s = delay_s
        self._library = library()
        self._first_s = self._last_s = 0.0
        self._answered = 0

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes([web.get("/page/{number}", self._document), web.get("/api/page/{number}", self._data),
                                web.get("/static/{name}", self._static), web.get("/picture/{name}", self._picture), web.get("/log", self._log)])
        return application

    async def _document(self, request: web.Request) -> web.Response:
        return web.Response(text=DOCUMENT, content_type="text/html")

    async def _static(self, request: web.Request) -> web.Response:
        text, kind = {"shop.css": (STYLE, "text/css"), "shop.js": (SCRIPT, "text/javascript"),
                      "library.js": (self._library, "text/javascript")}[request.match_info["name"]]
        return web.Response(text=text, content_type=kind, headers=KEPT)

    async def _picture(self, request: web.Request) -> web.Response:
        return web.Response(body=PICTURE, content_type="image/png", headers=KEPT)

    async def _data(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        await asyncio.sleep(self._delay_s)
        self._answered += 1
        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s
        return web.json_response({
            "title": f"Page {number}", "links": [f"/page/{link % self._pages}" for link in range(number * 10 + 1, number * 10 + 11)],
            "products": [{"title": f"Product {number}-{n}", "url": f"/product/{number}-{n}", "price": number % 90 + 10 + n / 10, "stock": n,
                          "picture": f"/picture/{number}-{n}.png", "text": "Some words about it. " * 4} for n in range(PRODUCTS)]},
            headers={"Cache-Control": "no-store"})

    async def _log(self, request: web.Request) -> web.Response:
        """Answer with the log so far, and begin a new one."""
        found = {"answered": self._answered, "first_s": self._first_s, "last_s": self._last_s}
        self._answered, self._first_s, self._last_s = 0, 0.0, 0.0
        return web.json_response(found)


@contextmanager
def single_page_app(pages: int, *, delay_ms: int = 0) -> Iterator[str]:
    """Serve the application from a process of its own, and return its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-m", "benchmarks._single_page_app", str(port), str(pages), str(delay_ms)],
                               cwd=Path(__file__).parents[1])
    try:
        deadline_s = time.monotonic() + 30
        while True:
            try:
                log_of(url)
                break
            except OSError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


def log_of(url: str) -> dict[str, Any]:
    """Return the log of the application at this URL, which begins a new one."""
    with urllib.request.urlopen(f"{url}/log", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def main() -> None:
    port, pages, delay_ms = map(int, sys.argv[1:])
    uvloop.install()
    web.run_app(Shop(pages, delay_ms / 1000).application(), host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main()
