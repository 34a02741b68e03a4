"""Tests of what a crawl archives: requests and responses as they were on the wire, and nothing else."""

from __future__ import annotations

import gzip
import os
import random
import signal
import socket
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.housekeeping.segments import recover_segments
from pipeline.archive.writing import writer_process
from pipeline.crawl.archiving import Archiving
from pipeline.crawl.frontier import archive_writer
from pipeline.crawl.frontier.archive_writer import ArchiveWriter
from pipeline.model import Page
from pipeline.settings import SpiderArchiveTable
from tests.archive.exchanges import exchange
from tests.crawl.archive.records import archived, pages
from tests.crawl.conftest import Crawls
from tests.download.torture import can_mount
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.raw import start_raw

RULES = 'follow = ["a"]\nretries = 1\n[spiders.s.items]\neach = "p"\nkey = ["k"]\n[spiders.s.items.fields]\nk = "b"\nv = "i"\n'


def test_request_and_response_are_archived_byte_by_byte(crawls: Crawls) -> None:
    body = gzip.compress(b"<p><b>1</b></p>" * 50)
    chunked = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    head = (b"HTTP/1.1 200 Fine\r\nx-ODD-name: a\r\nSet-Cookie: sid=geheim; Path=/\r\nX-Twice: 1\r\ncontent-Type: text/html\r\nX-Twice:  2\r\n"
            b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
    received: list[bytes] = []

    def say(connection: socket.socket, stopping: threading.Event) -> None:
        connection.sendall(head + chunked)

    with start_raw(say, received) as url:
        crawls.write(f'[spiders.s]\nstart = "{url}/page?a=1&b=%20x"\nrobots = false\narchive = true\nheaders = {{ X-Mine = "ä" }}\n{RULES}')
        run = crawls.perform()
    assert run.progress.archived_pages == 1, run.error
    assert run.progress.archived_bytes > 500
    info, response, request, metadata = archived(crawls.store.data_dir)
    assert (info.kind, response.kind, request.kind, metadata.kind) == ("warcinfo", "response", "request", "metadata")
    assert response.url == request.url == f"{url}/page?a=1&b=%20x"
    assert request.head + b"\r\n\r\n" == received[0]
    assert response.body == body
    assert response.head.split(b"\r\n") == [
        b"HTTP/1.1 200 Fine", b"x-ODD-name: a", b"Set-Cookie: sid=****; Path=/", b"X-Twice: 1", b"content-Type: text/html", b"X-Twice: 2",
        b"Content-Encoding: gzip", b"X-Orig-Transfer-Encoding: chunked"]
    assert response.headers["WARC-IP-Address"] == "127.0.0.1"
    assert metadata.body.decode().strip() == "redacted: response header Set-Cookie"


def test_redirects_errors_repeated_attempts_and_confirmations_are_archived_but_neither_robots_txt_nor_the_login(crawls: Crawls, site: PageSite) -> None:
    attempts: list[Asked] = []

    def unsure(asked: Asked) -> Answer:
        attempts.append(asked)
        return Answer("later", status=503) if len(attempts) == 1 else Answer("<p><b>unsure</b></p>")

    def confirmed(asked: Asked) -> Answer:
        return Answer(status=304) if asked.headers.get("If-None-Match") == '"1"' else Answer("<p><b>same</b></p>", headers={"ETag": '"1"'})

    site.pages = {
        "/robots.txt": Answer("User-agent: *\nDisallow: /secret", headers={"Content-Type": "text/plain"}),
        "/login": "<form method=post action=/in><input name=user></form>", "/in": Answer("<p>welcome</p>", headers={"Set-Cookie": "sid=1"}),
        "/check": "<p>ok</p>",
        "/": "".join(f"<a href=/{name}>{name}</a>" for name in ("moved", "missing", "unsure", "confirmed", "secret")),
        "/moved": Answer(status=302, headers={"Location": "/again"}), "/again": Answer('<meta http-equiv="refresh" content="0; url=/end">'),
        "/end": "<p><b>end</b></p>", "/unsure": unsure, "/confirmed": confirmed}
    crawls.write(f"""
        [spiders.s]
        start = "{site.url}/"
        archive = true
        concurrency = 1
        login = {{ url = "{site.url}/login", fields = {{ user = "me" }}, check_url = "{site.url}/check", check = "p" }}
        {RULES}""")
    first = crawls.perform()
    assert first.progress.archived_pages == 5, first.error
    assert "archive" not in first.error
    assert sorted(pages(crawls.store.data_dir, site.url)) == [
        ("response", "/", "200"), ("response", "/again", "200"), ("response", "/confirmed", "200"), ("response", "/end", "200"),
        ("response", "/missing", "404"), ("response", "/moved", "302"), ("response", "/unsure", "200"), ("response", "/unsure", "503")]
    begun = len(pages(crawls.store.data_dir, site.url))
    crawls.perform()
    again = pages(crawls.store.data_dir, site.url)[begun:]
    assert ("revisit", "/confirmed", "304") in again
    assert ("revisit", "/", "200") in again  # the same body
    assert ("response", "/missing", "404") in again


def test_a_page_is_fetched_whole_if_the_archive_has_no_copy_that_a_304_could_confirm(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": lambda asked: Answer(status=304) if "If-None-Match" in asked.headers else Answer("<p><b>1</b></p>", headers={"ETag": '"1"'})}
    spider = f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\n'
    crawls.write(spider + RULES)
    crawls.perform()
    crawls.write(f"{spider}archive = true\n{RULES}")
    crawls.perform()
    crawls.perform()
    assert pages(crawls.store.data_dir, site.url) == [("response", "/", "200"), ("revisit", "/", "304")]


def test_only_pages_with_a_change_are_archived_if_the_settings_say_so(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<a href=/a>a</a><a href=/b>b</a>", "/a": "<p><b>a</b><i>1</i></p>", "/b": "<p><b>b</b><i>1</i></p>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\narchive = "changed"\n{RULES}')
    assert crawls.perform().progress.archived_pages == 2
    assert sorted(pages(crawls.store.data_dir, site.url)) == [("response", "/a", "200"), ("response", "/b", "200")]
    site.pages["/b"] = "<p><b>b</b><i>2</i></p>"
    second = crawls.perform()
    assert second.progress.archived_pages == 1
    assert pages(crawls.store.data_dir, site.url)[2:] == [("response", "/b", "200")]
    before = len(list((crawls.store.data_dir / "archive").rglob("*.warc.gz")))
    assert crawls.perform().progress.archived_pages == 0
    assert len(list((crawls.store.data_dir / "archive").rglob("*.warc.gz"))) == before
    assert not list((crawls.store.data_dir / "archive").rglob("*.part"))


SPIDER = """
import scrapy
from scrapy.http import HtmlResponse

class Replace:
    def process_response(self, request, response):
        return HtmlResponse(response.url, body=b"<p><b>replaced</b></p>", encoding="utf-8", request=request)

    def process_request(self, request):
        if request.url.endswith("/ours"):
            return HtmlResponse(request.url, body=b"<p><b>ours</b></p>", encoding="utf-8", request=request)

class Mine(scrapy.Spider):
    custom_settings = {"DOWNLOADER_MIDDLEWARES": {Replace: 1000}}

    def parse(self, response):
        yield {"k": response.css("b::text").get()}
        if not response.meta.get("child"):
            yield scrapy.Request(response.urljoin("/ours"), meta={**response.meta, "child": 1}, callback=lambda found: [{"k": "ours"}])
"""


def test_the_archive_has_what_the_server_sent_if_a_middleware_replaces_it(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<p><b>sent</b></p>"}
    (crawls.folder / "mine.py").write_text(SPIDER)
    crawls.write(f'[spiders.s]\nspider = "mine.py:Mine"\nstart = "{site.url}/"\nrobots = false\narchive = true\nitems.key = ["k"]\n')
    run = crawls.perform()
    assert set(crawls.items()) == {"replaced", "ours"}
    assert [(each.url, each.body) for each in archived(crawls.store.data_dir) if each.kind == "response"] == [(f"{site.url}/", b"<p><b>sent</b></p>")]
    assert "1 page not archived, because a component of the project fetched them or stopped their download" in run.error


def test_an_archive_that_cannot_be_written_fails_alone_and_the_run_says_so(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<a href=/1>1</a><p><b>0</b></p>", "/1": "<p><b>1</b></p>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\narchive = true\n{RULES}')
    (crawls.store.data_dir / "archive").write_text("a file where a folder should be")
    run = crawls.perform()
    assert (run.outcome.value if run.outcome else "", run.complete) == ("succeeded", True)
    assert set(crawls.items()) == {"0", "1"}
    assert (run.progress.archived_pages, run.progress.not_archived) == (0, 2)
    assert run.error.endswith("2 pages not archived: Not a directory")
    (crawls.store.data_dir / "archive").unlink()
    assert "archived" not in crawls.perform().error
    assert len(pages(crawls.store.data_dir, site.url)) == 2


@pytest.mark.skipif(not can_mount(), reason="a tmpfs can be mounted by root on Linux only")
@pytest.mark.parametrize("what", ["all", "changed"])
def test_a_full_disk_fails_the_archive_and_not_the_crawl(what: str, crawls: Crawls, site: PageSite) -> None:
    noise = random.Random(1).randbytes(100_000).hex()
    site.pages = {f"/{number}": f"<p><b>{number}</b></p><a href=/{number + 1}>x</a>" + noise[::number] for number in range(1, 20)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/1"\nrobots = false\nconcurrency = 1\narchive = "{what}"\n{RULES}')
    disk = crawls.store.data_dir / "archive"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=320k", "tmpfs", str(disk)], check=True)
    try:
        run = crawls.perform()
        found = pages(crawls.store.data_dir, site.url, files="*.warc.gz*")  # the disk may have no room for the index of a part: it is closed later
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    assert run.outcome is not None
    assert (run.outcome.value, run.complete, run.progress.items) == ("succeeded", True, 19)
    assert 0 < run.progress.archived_pages < 19
    assert len(found) >= run.progress.archived_pages
    assert run.progress.archived_pages + run.progress.not_archived >= 19
    assert f"{run.progress.not_archived} pages not archived: No space left on device" in run.error


@pytest.mark.parametrize("case", [
    pytest.param(("all", False, 4), id="all pages"), pytest.param(("changed", False, 4), id="changed pages"),
    pytest.param(("all", True, 4), id="killed"), pytest.param(("changed", True, 4), id="killed with changed pages"),
    pytest.param(("all", True, 20), id="killed before its work"), pytest.param(("all", False, 30), id="not needed in the end")])
def test_a_long_run_is_archived_by_a_process_of_its_own_or_if_that_is_killed_by_the_runs(
        case: tuple[str, bool, int], crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    what, killed, pages_in_thread = case
    started: list[int] = []

    class Noted(writer_process.WriterProcess):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)

    def page(asked: Asked) -> Answer:
        number = int(asked.path[1:])
        if killed and number == 12:
            os.kill(started[0], signal.SIGKILL)
        return Answer(f"<p><b>{number}</b></p><a href=/{number + 1}>x</a>")

    monkeypatch.setattr(writer_process, "WriterProcess", Noted)
    monkeypatch.setattr(archive_writer, "PAGES_IN_THREAD", pages_in_thread)
    site.pages = {f"/{number}": page for number in range(1, 20)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/1"\nrobots = false\nconcurrency = 1\narchive = "{what}"\n{RULES}')
    run = crawls.perform()
    recover_segments(crawls.store, crawls.settings, settled_s=0)
    expected = {f"/{number}" for number in range(1, 20)} | ({"/20"} if what == "all" else set())
    assert {path for _, path, _ in pages(crawls.store.data_dir, site.url)} == expected
    assert run.progress.archived_pages == len(expected)
    assert run.progress.archived_bytes > 5_000
    assert "archive" not in run.error
    assert len(started) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
    assert not list((crawls.store.data_dir / "archive").rglob("*.part"))


def test_a_page_in_the_spool_is_kept_although_the_disk_has_become_nearly_full(tmp_path: Path) -> None:
    archiving = Archiving(SpiderArchiveTable(what="changed"), tmp_path / "archive" / "s" / "segments")
    writer = ArchiveWriter(archiving, "s", 1)
    for path in ("/a", "/b"):
        writer.before_commit([Page(f"http://a.test{path}", 200, datetime.now(UTC), exchanges=(exchange(path),))])
        object.__setattr__(archiving, "keep_free_bytes", 10**18)
        writer.after_commit({0})
        object.__setattr__(archiving, "keep_free_bytes", 0)
    assert writer.close().archived_pages
    assert [each.url.rpartition("/")[2] for each in archived(tmp_path) if each.kind == "response"] == ["a", "b"]


def test_a_spider_without_rules_may_only_archive(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "page"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\narchive = true\n')
    run = crawls.perform()
    assert (run.suspect, run.error, run.progress.archived_pages) == (False, "", 1)


def test_nothing_is_archived_without_the_setting(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<p><b>0</b></p>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\n{RULES}')
    crawls.perform()
    assert not Path(crawls.store.data_dir / "archive").exists()
