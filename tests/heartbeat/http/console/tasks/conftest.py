"""A running service with a site and an SMTP server, and a signed-in browser.

For tests of a user's tasks.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from pipeline.heartbeat.token import load_or_create_token
from tests.servers import ports
from tests.servers.pages import PageSite
from tests.servers.program import Program
from tests.servers.smtp import SmtpServer

SETTINGS = """
[spiders.books]
start = "{url}/"
robots = false
tags = ["shop"]
download = ["a.file"]
schedule = "daily at 03:00"
[spiders.books.items]
each = "li"
key = ["name"]
fields = {{ name = "b", price = {{ css = "i", type = "price" }}, link = "a::attr(href)" }}
[spiders.slow]
start = "{url}/slow"
follow = ["a"]
concurrency = 1
robots = false
[spiders.slow.items]
each = "li"
key = ["name"]
fields = {{ name = "b" }}
[spiders.broken]
start = "{url}/broken"
robots = false
[spiders.broken.items]
each = "li"
key = ["name"]
fields = {{ name = "b" }}
[digests.daily]
spiders = ["books"]
to = ["reader@example.com"]
schedule = "daily at 07:00"
attach = ["csv"]
[mail]
host = "127.0.0.1"
port = {smtp}
security = "none"
from = "pipeline@example.com"
"""
BOOKS = 12
DEADLINE_MS = 30_000
PICTURES = os.environ.get("CONSOLE_PICTURES")
"""A folder for a picture of each page that a task ends on, at the widths of a phone and of a desk, in light and dark."""
LOOKS = [(width, scheme) for width in (360, 1280) for scheme in ("light", "dark")]


@dataclass
class Desk:
    """What a user works with: page is a tab that has signed in at the service."""

    program: Program
    site: PageSite
    smtp: SmtpServer
    page: Page
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.program.port}"

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    @contextmanager
    def task(self, name: str) -> Iterator[Page]:
        """Measure a task from the overview to its end, and take pictures of the page it ends on. `pytest -s` shows the time."""
        self.open("/")
        began = time.perf_counter()
        yield self.page
        self.seconds[name] = time.perf_counter() - began
        print(f"\n{name}: {self.seconds[name]:.1f} s")
        if PICTURES:
            self._take_pictures(Path(PICTURES) / name.replace(" ", "-"))

    def _take_pictures(self, base: Path) -> None:
        for width, scheme in LOOKS:
            self.page.set_viewport_size({"width": width, "height": 800})
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  the literals of LOOKS
            self.page.screenshot(path=f"{base}-{width}-{scheme}.png", full_page=True)
        self.page.set_viewport_size({"width": 1280, "height": 800})
        self.page.emulate_media(color_scheme="light")


def books(prices: int = 0) -> str:
    """The page of a shop. prices: added to each price."""
    rows = "".join(f'<li><b>Book {number}</b> <i>{number + prices}.50 €</i> <a href="/book/{number}">more</a></li>' for number in range(BOOKS))
    return f'<html><title>Books</title><body><ul>{rows}</ul><a class="file" href="/list.pdf">List</a>'


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A service whose spider `books` has run twice, with other prices, and a signed-in tab. Its tests share it."""
    folder = tmp_path_factory.mktemp("desk")
    program = Program(folder, ports.free_port())
    with PageSite({"/": books(), "/broken": "<p>nothing here"}) as site, SmtpServer() as smtp, sync_playwright() as playwright:
        site.pages["/list.pdf"] = b"%PDF-1.4\n%%EOF"
        program.write(SETTINGS.format(url=site.url, smtp=smtp.port))
        for prices in (0, 3):
            site.pages["/"] = books(prices)
            ended = program.run("run", "books")
            assert ended.returncode == 0, ended.stderr
        program.serve()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell") or shutil.which("chromium"),
                                             args=["--no-sandbox"] if os.getuid() == 0 else [])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="en")
            page.set_default_timeout(DEADLINE_MS)
            expect.set_options(timeout=DEADLINE_MS)  # 5 s otherwise, which a busy machine can take to end a run
            page.goto(f"http://127.0.0.1:{program.port}/?token={load_or_create_token(program.data).reveal()}")
            yield Desk(program, site, smtp, page)
        finally:
            browser.close()
            program.close()
