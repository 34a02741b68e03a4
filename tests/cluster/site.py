"""A site of several spiders for a cluster.

Items that change, files of many versions, logins that expire, slow answers.

It records each request with the run that sent it (the header X-Run, see SPIDER), and each login. A user has one session: a login
ends the session before.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from tests.servers.pages import Answer, Asked, PageSite

ITEMS_A_PAGE = 3
ARRIVALS = 40
FILES = 2
FILE_BYTES = 60_000
ANSWER_S = 0.3
_PROOF_USES = 3
"""How many requests a session proves its login with."""
SPIDER = """
from pipeline.crawl.context import context_of
from spiders.crawl import CrawlSpider


class NamesItsRun:
    @classmethod
    def from_crawler(cls, crawler):
        one = cls()
        one.run = str(context_of(crawler).run.id)
        return one

    def process_request(self, request):
        request.headers["X-Run"] = self.run


class Marked(CrawlSpider):
    custom_settings = {"DOWNLOADER_MIDDLEWARES": {NamesItsRun: 610}}
"""
"""The module marked.py of each node: the spider `crawl`, whose requests name their run. Only a built-in spider can span several nodes."""


@dataclass(frozen=True)
class Request:
    """One request for a page. at, until: when it came and was answered, by the monotonic clock. run: 0 if unknown."""

    spider: str
    run: int
    peer: str
    path: str
    at: float
    until: float


@dataclass(frozen=True)
class Login:
    """A login that succeeded. needless: the session of the login before was still valid; that login came from the address
    `before_peer` at `before_at`."""

    spider: str
    peer: str
    at: float
    needless: bool
    before_at: float
    before_peer: str


class ClusterSite:
    """The pages /SPIDER/NUMBER and files /SPIDER/fNUMBER of each spider, behind its login /SPIDER/login.

    spiders: the number of pages of each spider.
    """

    def __init__(self, spiders: Mapping[str, int], rng: random.Random, host: str = "127.0.0.1") -> None:
        self._rng = rng
        self._lock = threading.Lock()
        self.calm = False
        self.spiders = spiders
        self.shown: dict[str, dict[str, int]] = {name: {} for name in spiders}
        """What the site shows now: of each spider the value of each key."""
        self.ever: dict[str, set[str]] = {name: set() for name in spiders}
        """Every key that came to stay."""
        self.requests: list[Request] = []
        self.logins: list[Login] = []
        self.session_ends: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._valid: dict[str, str] = {}
        self._uses: Counter[str] = Counter()
        self._came = 0
        self._versions = {(name, number): 0 for name in spiders for number in range(FILES)}
        for name in spiders:
            for page in range(spiders[name]):
                for number in range(ITEMS_A_PAGE):
                    self._show(name, f"{page}-{number}")
        pages = {f"/{name}/{page}": self._page for name in spiders for page in range(spiders[name])}
        pages |= {f"/{name}/f{number}": self._file for name in spiders for number in range(FILES)}
        pages |= {f"/{name}/login": self._login for name in spiders}
        self.site = PageSite(pages, host=host)

    def _show(self, spider: str, key: str, *, stays: bool = True) -> None:
        self.shown[spider][key] = 0
        if stays:
            self.ever[spider].add(key)

    def _login(self, asked: Asked) -> Answer:
        spider = asked.path.split("/")[1]
        if asked.method != "POST":
            return Answer("<form method=post><input name=user><input name=password type=password></form>")
        fields = parse_qs(asked.body.decode())
        if fields.get("user") != [spider] or fields.get("password") != ["geheim"]:
            return Answer("<p>wrong password</p>", 200)
        with self._lock:
            before = next((login for login in reversed(self.logins) if login.spider == spider), None)
            self.logins.append(Login(spider, asked.peer, time.monotonic(), needless=spider in self._valid,
                                     before_at=before.at if before else 0.0, before_peer=before.peer if before else ""))
            self._uses[spider] = 0
            self._valid[spider] = token = f"{spider}{self._rng.randrange(10**12)}"
        return Answer(status=303, headers={"Location": f"/{spider}/0", "Set-Cookie": f"sid={token}; Path=/{spider}; Max-Age=86400"})

    def _is_logged_in(self, spider: str, asked: Asked) -> bool:
        """Whether the request belongs to the valid session, which then may end."""
        if f"sid={self._valid.get(spider, '-')}" not in asked.headers.get("Cookie", ""):
            return False
        self._uses[spider] += 1
        if not self.calm and self._uses[spider] > _PROOF_USES and self._rng.random() < 0.03:  # never while it logs in
            del self._valid[spider]
            self.session_ends[spider] += 1
            return False
        return True

    def _page(self, asked: Asked) -> Answer:
        began = time.monotonic()
        _, spider, page = asked.path.split("/")
        try:
            return self._page_of(spider, page, asked)
        finally:
            with self._lock:
                self.requests.append(Request(spider, int(asked.headers.get("X-Run", "0")), asked.peer, asked.path, began, time.monotonic()))

    def _page_of(self, spider: str, page: str, asked: Asked) -> Answer:
        with self._lock:
            if not self._is_logged_in(spider, asked):
                return Answer(status=302, headers={"Location": f"/{spider}/login"})
            fault = self._fault(spider)
            if fault == "down":
                return Answer("down", 503)
            if not self.calm:
                self._change(spider, page)
            items = "".join(f"<p><b>{key}</b><i>{value}</i></p>" for key, value in self.shown[spider].items()
                            if key.startswith(f"{page}-"))
        links = "".join(f"<a class=page href=/{spider}/{other}>{other}</a>" for other in range(self.spiders[spider]))
        files = "".join(f"<a class=file href=/{spider}/f{number}>f</a>" for number in range(FILES))
        answer = Answer(f"<a class=logout href=/{spider}/bye>log out</a>{items}{links}{files}")
        time.sleep(ANSWER_S * (4 if fault == "slow" else 1))
        if fault == "cut":
            answer.cut = len(answer.body) // 2
        return answer

    def _change(self, spider: str, page: str) -> None:
        shown = self.shown[spider]
        for key in shown:
            if key.startswith(f"{page}-") and self._rng.random() < 0.3:
                shown[key] += 1
        if self._rng.random() < 0.03 and self._came < ARRIVALS:
            self._came += 1
            self._show(spider, f"{page}-new-{self._came}")
        fleeting = f"{page}-fleeting"
        if self._rng.random() < 0.2 and shown.pop(fleeting, None) is None:
            self._show(spider, fleeting, stays=False)

    def _file(self, asked: Asked) -> Answer:
        _, spider, name = asked.path.split("/")
        number = int(name[1:])
        with self._lock:
            if not self._is_logged_in(spider, asked):
                return Answer(status=302, headers={"Location": f"/{spider}/login"})
            fault = self._fault(spider)
            if not self.calm and self._rng.random() < 0.1:
                self._versions[spider, number] += 1
            version = self._versions[spider, number]
        if fault == "down":
            return Answer("down", 503)
        tag = f'"{spider}-{number}-{version}"'
        if asked.headers.get("If-None-Match") == tag:
            return Answer(status=304, headers={"ETag": tag})
        time.sleep(ANSWER_S * (4 if fault == "slow" else 1))
        answer = Answer(content_of(spider, number, version), headers={"Content-Type": "application/octet-stream", "ETag": tag})
        if fault == "cut":
            answer.cut = FILE_BYTES // 2
        return answer

    def _fault(self, spider: str) -> str:
        """What goes wrong with an answer. A new login is never kept from proving itself: its run would fail, and the next would log in again."""
        if self.calm or self._uses[spider] <= _PROOF_USES:
            return ""
        kind = self._rng.choices(("", "down", "cut", "slow"), (88, 3, 3, 6))[0]
        if kind:
            self.faults[kind] += 1
        return kind

    def versions(self, spider: str, number: int) -> list[str]:
        """The SHA-256 of every version of this file, the newest last."""
        return [hashlib.sha256(content_of(spider, number, version)).hexdigest()
                for version in range(self._versions[spider, number] + 1)]


def content_of(spider: str, number: int, version: int) -> bytes:
    return random.Random(f"{spider}/{number}/{version}").randbytes(FILE_BYTES)
