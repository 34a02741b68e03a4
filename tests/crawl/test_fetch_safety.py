"""A hostile or broken site cannot reach private addresses, fill the memory, or delay for ever."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from urllib3.connection import HTTPConnection

from pipeline.errors import FetchError
from pipeline.model import Outcome
from pipeline.session import open_session
from pipeline.session.client import fetch
from pipeline.session.politeness.ssrf_guard import is_public
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite
from tests.servers.raw import start_raw

ITEM = '\n[spiders.s.items.fields]\nx = "p"'
WIDE = """
import scrapy
class Wide(scrapy.Spider):
    def parse(self, response):
        yield {"id": response.url, "text": response.css("p::text").get()}
        for link in response.css("a::attr(href)").getall():
            yield response.follow(link)
"""


@pytest.mark.parametrize("way", ["redirect", "link"])
@pytest.mark.parametrize("name", ["127.0.0.1", "127.1", "localhost", "NAME"])
def test_a_site_cannot_send_a_crawl_to_services_of_this_machine(crawls: Crawls, site: PageSite, way: str, name: str) -> None:
    if name == "NAME":  # a host name that does not show its address
        name = socket.gethostname()
        if is_public(socket.gethostbyname(name)):
            pytest.skip("this machine's own name leads to a public address")
    with PageSite({"/inner": "<p>secret</p>", "/robots.txt": ""}) as inner:
        target = inner.url.replace("127.0.0.1", name) + "/inner"
        (crawls.folder / f"wide_{way}_{name.replace('.', '_').replace('-', '_')}.py").write_text(WIDE)
        spider = next(crawls.folder.glob("wide_*.py")).stem + ":Wide"
        site.pages = {"/": Answer(status=302, headers={"Location": target}) if way == "redirect"
                      else f"<p>outer</p><a href='{target}'>in</a>"}
        crawls.write(f'[spiders.s]\nspider = "{spider}"\nstart = "{site.url}/"\nretries = 0')
        run = crawls.run()
        assert inner.asked == []
        assert "private address" in run.error
        assert "secret" not in str(crawls.items())
        if name in ("127.0.0.1", "localhost"):
            crawls.write(f'[spiders.s]\nspider = "{spider}"\nstart = "{site.url}/"\nhosts = ["{target.split("/")[2]}"]')
            crawls.run()
            assert "secret" in str(crawls.items())


def test_a_spider_that_is_public_only_fetches_no_private_address_that_its_own_settings_name(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<p>inner</p>", "/robots.txt": ""}
    place = site.url.partition("//")[2]
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nhosts = ["{place}"]\npublic_only = true\nretries = 0{ITEM}')
    assert "only public addresses are fetched, because of public_only = true" in crawls.run().error
    assert site.asked == []


@pytest.mark.parametrize("name", ["127.0.0.1", "127.1", "localhost", "intranet.example"])
def test_downloads_and_logins_refuse_private_addresses_too(crawls: Crawls, site: PageSite, name: str,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def resolved(host: str | bytes | None, *rest: object, **more: object) -> object:
        return resolve("127.0.0.1" if host == "intranet.example" else host, *rest, **more)  # type: ignore[arg-type]
    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with PageSite({"/secret": "secret"}) as inner:
        target = inner.url.replace("127.0.0.1", name) + "/secret"
        site.pages = {"/file": Answer(status=302, headers={"Location": target})}
        crawls.write(f'[spiders.s]\nstart = "{site.url}/"')
        with open_session("s", crawls.settings.spiders["s"], crawls.settings).client() as client:
            for url in (target, f"{site.url}/file"):
                with pytest.raises(FetchError, match="private address"):
                    client.get(url)
        assert inner.asked == []


def test_an_address_is_checked_before_the_request_if_a_later_urllib3_connects_without_the_method_that_is_overridden(
        crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more))

    def connect(self: HTTPConnection) -> None:
        self.sock = socket.create_connection((self.host, self.port or 80), 5)
    monkeypatch.setattr(HTTPConnection, "connect", connect)
    crawls.write('[spiders.s]\nstart = "http://shop.example/"')
    session = open_session("s", crawls.settings.spiders["s"], crawls.settings)
    with session.client() as client, pytest.raises(FetchError, match="private address"):
        client.get(site.url.replace("127.0.0.1", "intranet.example"))
    assert site.asked == []


BOMB = """
import asyncio, gzip, pathlib, resource, sys, zlib
import brotli
from backports import zstd
sys.path.insert(0, sys.argv[3])
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite
from pipeline.store import open_store
from pipeline.session import open_session
from pipeline.session.client import fetch
from pipeline.session.politeness.ssrf_guard import is_public
from pipeline.errors import FetchError
way, folder = sys.argv[1], pathlib.Path(sys.argv[2])
with PageSite({"/robots.txt": "", "/small": Answer("<p>small</p>")}) as site:
    for kind in sys.argv[4:]:
        site.pages["/" + kind] = Answer((folder / kind).read_bytes(), headers={"Content-Encoding": kind})
    crawls = Crawls(folder, open_store(folder / ("data-" + way)))
    def crawl(path):
        crawls.write(f'[spiders.s]\\nstart = "{site.url}{path}"\\nmax_page_size = "4MB"\\nretries = 0\\n'
                     '[spiders.s.items.fields]\\nx = "p"')
        if way == "crawl":
            return crawls.run()
        with open_session("s", crawls.settings.spiders["s"], crawls.settings).client() as client:
            try:
                fetch(client, "GET", site.url + path, max_bytes=4_000_000, timeout_s=20)
            except FetchError as error:
                return error
    crawl("/small")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind in sys.argv[4:]:
        ended = crawl("/" + kind)
        assert "larger than 4.0 MB" in str(getattr(ended, "error", ended)), ended
        print(kind, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 MB of zeros, compressed with each content coding that the program accepts."""
    import zlib

    import brotli  # type: ignore[import-untyped]
    from backports import zstd
    folder = tmp_path_factory.mktemp("bombs")
    block, count = bytes(2**20), 120
    deflate, gz = zlib.compressobj(9), zlib.compressobj(9, zlib.DEFLATED, 31)
    br, zs = brotli.Compressor(quality=5), zstd.ZstdCompressor()
    packers = {"deflate": (deflate.compress, deflate.flush), "gzip": (gz.compress, gz.flush),
               "br": (br.process, br.finish), "zstd": (zs.compress, zs.flush)}
    for kind, (pack, end) in packers.items():
        (folder / kind).write_bytes(b"".join([*(pack(block) for _ in range(count)), end()]))
    return folder


@pytest.mark.parametrize("way", ["crawl", "client"])
def test_a_decompression_bomb_of_each_coding_takes_less_than_50_mb(bombs: Path, way: str) -> None:
    kinds = ("gzip", "deflate", "br", "zstd")
    done = subprocess.run([sys.executable, "-c", BOMB, way, str(bombs), str(Path(__file__).parents[2]), *kinds],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    grown = dict(line.split() for line in done.stdout.splitlines())  # the peak so far
    assert set(grown) == set(kinds)
    assert all(int(megabytes) <= 4 + 50 for megabytes in grown.values()), grown


def drip_body(connection: socket.socket, stopping: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 100000\r\n\r\n")
    while not stopping.wait(0.05):
        connection.sendall(b"x")


def drip_header(connection: socket.socket, stopping: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not stopping.wait(0.05):
        connection.sendall(b"x")


def endless_headers(connection: socket.socket, stopping: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    line = b"X-More: " + b"y" * 1000 + b"\r\n"
    while not stopping.is_set():
        connection.sendall(line * 50)


def endless_line(connection: socket.socket, stopping: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not stopping.is_set():
        connection.sendall(b"y" * 65536)


def many_interim_answers(connection: socket.socket, stopping: threading.Event) -> None:
    while not stopping.is_set():
        connection.sendall(b"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n" * 100)


ENDLESS = [drip_body, drip_header, endless_headers, endless_line, many_interim_answers]


@pytest.mark.parametrize("say", ENDLESS, ids=lambda say: say.__name__)
def test_a_page_without_end_fails_in_time(crawls: Crawls, say: Callable[[socket.socket, threading.Event], None]) -> None:
    with start_raw(say) as url:
        crawls.write(f'[spiders.s]\nstart = "{url}/"\nrobots = false\nretries = 0\ntimeout = "700ms"{ITEM}')
        began = time.monotonic()
        assert crawls.run().outcome is Outcome.FAILED
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("say", ENDLESS, ids=lambda say: say.__name__)
def test_a_login_page_or_file_without_end_fails_in_time(crawls: Crawls, say: Callable[[socket.socket, threading.Event], None],
                                                      ) -> None:
    with start_raw(say) as url:
        crawls.write(f'[spiders.s]\nstart = "{url}/"\ntimeout = "700ms"')
        began = time.monotonic()
        with open_session("s", crawls.settings.spiders["s"], crawls.settings).client() as client, \
                pytest.raises(FetchError):
            fetch(client, "GET", url, max_bytes=10**6, timeout_s=0.7)
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("where", ["file:///etc/passwd", "data:text/html,<p>x</p>", "ftp://127.0.0.1/x", "gopher://a/",
                                   "javascript:alert(1)"])
def test_a_redirect_to_another_scheme_is_not_followed(crawls: Crawls, site: PageSite, where: str) -> None:
    site.pages = {"/": Answer(status=302, headers={"Location": where})}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nretries = 0{ITEM}')
    run = crawls.run()
    assert crawls.items() == {}
    assert site.paths() == ["/"] or run.outcome is Outcome.FAILED
