"""Malformed responses are read as browsers read them, or refused with a reason.

Alike as page, as file and by the session.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import brotli
import pytest
from backports import zstd
from sqlalchemy import select

from pipeline.crawl.middlewares.page_cache import CachedPage, PageCache
from pipeline.errors import FetchError
from pipeline.session import open_session
from pipeline.session.client import Client, fetch
from pipeline.store.database import schema
from tests.crawl.conftest import Crawls
from tests.servers.authority import Authority
from tests.servers.scripted import Asked, End, ScriptedServer

BODY = b"<p>forty-two bytes of one page of one site"
WHOLE = "forty-two bytes of one page of one site"
CUT30 = "forty-two bytes of one page"
WPT = json.loads((Path(__file__).parents[2] / "data" / "wpt-content-lengths.json").read_text())["cases"]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
LENGTH = b"Content-Length: 42\r\n"


def chunked(data: bytes, size: int = 10, last: bytes = b"0\r\n\r\n") -> bytes:
    chunks = (data[at:at + size] for at in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + last


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def coded(name: str, data: bytes) -> bytes:
    """With its Content-Encoding, in one chunk, so that only the coding shows whether the body is complete."""
    return OK + b"Content-Encoding: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % name.encode() + chunked(data, 1000)


GZIP, ZSTD = gzip.compress(BODY), zstd.compress(BODY)

ANSWERS: dict[str, tuple[bytes, str]] = {
    # Responses that browsers read, with the text of the item
    "plain": (OK + LENGTH + b"\r\n" + BODY, WHOLE),
    "blanks around the length": (OK + b"Content-Length:  \t 42 \t \r\n\r\n" + BODY, WHOLE),
    "a blank before the colon": (OK + b"Content-Length : 30\r\n\r\n" + BODY, CUT30),
    "more than the length": (OK + b"Content-Length: 30\r\n\r\n" + BODY, CUT30),
    "more than its chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY) + b"HTTP/1.1 404 No\r\n\r\n", WHOLE),
    "bare line feeds in chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY).replace(b"\r\n", b"\n"), WHOLE),
    "blanks around a chunk's size": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY).replace(b"a\r\n", b"a  \r\n"), WHOLE),
    "identity beside a length": (OK + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "chunked beside a length": (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n" + chunked(BODY), WHOLE),
    "chunked beside two lengths": (
        OK + b"Content-Length: 7\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY), WHOLE),
    "Chunked": (OK + b"Transfer-Encoding: Chunked\r\n\r\n" + chunked(BODY), WHOLE),
    "chunked twice": (OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY), WHOLE),
    "gzip, chunked": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(GZIP), WHOLE),
    "chunk extensions and trailers": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY).replace(b"a\r\n", b"A ;name=value\r\n", 1)[:-2]
        + b"X-Checksum: 1\r\n\r\n", WHOLE),
    "HTTP/1.0 without a length": (b"HTTP/1.0 200 OK\r\n\r\n" + BODY, WHOLE),
    "HTTP/1.0 in chunks": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY), WHOLE),
    "HTTP/1.1 without a length": (OK + b"\r\n" + BODY, WHOLE),
    "a line without colon": (OK + b"this is no header\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "a name with a blank": (OK + b"X Powered By: us\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "a name that is none": (OK + b"X(1)\x80: us\r\n: nothing\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "folded lines": (OK + b"X-Long: a\r\n\tb\r\n  c\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "a folded line first": (b"HTTP/1.1 200 OK\r\n folded\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Type: text/html\nContent-Length: 42\n\n" + BODY, WHOLE),
    "a bare CR in a value": (OK + b"X-Split: a\rContent-Length: 5\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "control characters": (OK + b"X-Odd: \x01\x02\x7f\xff\xe9\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "no reason": (b"HTTP/1.1 200\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "an odd reason": (b"HTTP/1.1 200 \xd0\x9e\xd0\x9a : 5\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "no blank before the reason": (b"HTTP/1.1 200OK\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "lower case": (b"http/1.1 200 ok\r\ncontent-length: 42\r\n\r\n" + BODY, WHOLE),
    "HTTP/2.0": (b"HTTP/2.0 200 OK\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "an empty line first": (b"\r\n" + OK + LENGTH + b"\r\n" + BODY, WHOLE),
    "interim answers": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102\r\n\r\n"
                        + OK + LENGTH + b"\r\n" + BODY, WHOLE),
    "300 lines": (OK + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(300)) + LENGTH + b"\r\n" + BODY, WHOLE),
    "a line of 60 kB": (OK + b"Set-Cookie: a=" + b"x" * 60_000 + b"\r\n" + LENGTH + b"\r\n" + BODY, WHOLE),
    "200 kB in all": (OK + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 10_000) for n in range(20)) + LENGTH + b"\r\n" + BODY, WHOLE),
    "gzip": (coded("gzip", GZIP), WHOLE),
    "x-gzip, and in capitals": (coded("X-GZIP", GZIP), WHOLE),
    "gzip members": (coded("gzip", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])), WHOLE),
    "garbage after gzip": (coded("gzip", GZIP + b"<!-- cached -->"), WHOLE),
    "zeros after gzip": (coded("gzip", GZIP + bytes(300)), WHOLE),
    "deflate": (coded("deflate", zlib.compress(BODY)), WHOLE),
    "raw deflate": (coded("deflate", raw_deflate(BODY)), WHOLE),
    "garbage after deflate": (coded("deflate", zlib.compress(BODY) + b"garbage"), WHOLE),
    "br": (coded("br", brotli.compress(BODY)), WHOLE),
    "garbage after br": (coded("br", brotli.compress(BODY) + b"garbage"), WHOLE),
    "zstd": (coded("zstd", ZSTD), WHOLE),
    "zstd frames": (coded("zstd", zstd.compress(BODY[:9]) + b"\x50\x2a\x4d\x18\x02\0\0\0ab" + zstd.compress(BODY[9:])), WHOLE),
    "garbage after zstd": (coded("zstd", ZSTD + b"garbage"), WHOLE),
    "gzip in br": (coded("gzip, br", brotli.compress(GZIP)), WHOLE),
    "two lines of codings": (coded("deflate\r\nContent-Encoding: zstd", zstd.compress(zlib.compress(BODY))), WHOLE),
    "a coding that is none": (coded("utf-8", BODY), WHOLE),
    "identity and none": (coded("identity, none", BODY), WHOLE),
    # Truncated responses
    "shorter than its length": (OK + LENGTH + b"\r\n" + BODY[:12], "the body was cut short: 12 of 42 bytes arrived"),
    "shorter on HTTP/1.0": (b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\n" + BODY[:12], "the body was cut short: 12 of 42 bytes arrived"),
    "shorter than its two lengths": (OK + LENGTH + LENGTH + b"\r\n" + BODY[:12], "the body was cut short: 12 of 42 bytes arrived"),
    "shorter, identity": (OK + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + BODY[:12],
                          "the body was cut short: 12 of 42 bytes arrived"),
    "nothing of its length": (OK + LENGTH + b"\r\n", "the body was cut short: 0 of 42 bytes arrived"),
    "no last chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, last=b""), "the last chunk is missing"),
    "no end after the last chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, last=b"0\r\n"),
                                    "the last chunk is missing"),
    "cut in a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY)[:27], "the last chunk is missing"),
    "cut in a size of zeros": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"00a\r\n" + BODY[:10] + b"\r\n00",
                               "the last chunk is missing"),
    "a chunk without a size": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + BODY + b"\r\n0\r\n\r\n", "a chunk has no valid size"),
    "a chunk of -5": (OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + BODY + b"\r\n0\r\n\r\n", "a chunk has no valid size"),
    "a chunk of 0x2a": (OK + b"Transfer-Encoding: chunked\r\n\r\n0x2a\r\n" + BODY + b"\r\n0\r\n\r\n", "a chunk has no valid size"),
    "a chunk longer than its size": (OK + b"Transfer-Encoding: chunked\r\n\r\n20\r\n" + BODY + b"\r\n0\r\n\r\n",
                                     "no line break after a chunk"),
    "cut in the headers": (OK + LENGTH[:-4], "the response headers were cut short"),
    "cut before the empty line": (OK + LENGTH, "the response headers were cut short"),
    "gzip cut": (coded("gzip", GZIP[:-9]), "gzip data ended before its end marker"),
    "gzip's trailer cut": (coded("gzip", GZIP[:-1]), "gzip data ended before its end marker"),
    "gzip's second member cut": (coded("gzip", GZIP + GZIP[:1]), "gzip data ended before its end marker"),
    "deflate cut": (coded("deflate", zlib.compress(BODY)[:-1]), "deflate data ended before its end marker"),
    "raw deflate cut": (coded("deflate", raw_deflate(BODY)[:-1]), "deflate data ended before its end marker"),
    "br cut": (coded("br", brotli.compress(BODY)[:-1]), "br data ended before its end marker"),
    "zstd cut": (coded("zstd", ZSTD[:-1]), "zstd data ended before its end marker"),
    "gzip cut in br": (coded("gzip, br", brotli.compress(GZIP[:-1])), "gzip data ended before its end marker"),
    "nothing of a gzip without a length": (OK + b"Content-Encoding: gzip\r\n\r\n", "the body is empty, although its Content-Encoding is gzip"),
    "a transfer coding cut": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(GZIP[:-1]),
                              "gzip data ended before its end marker"),
    "all of it as a part": (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-41/42\r\nContent-Length: 42\r\n\r\n" + BODY, WHOLE),
    "a part that nobody asked for": (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-29/42\r\nContent-Length: 30\r\n\r\n"
                                     + BODY[:30], "206"),
    # Responses that are refused
    "lengths that differ": (OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\n" + BODY, "conflicting Content-Length values: 5 and 7"),
    "a NUL": (OK + b"X-Nul: a\0b\r\n" + LENGTH + b"\r\n" + BODY, "the response headers contain a NUL byte"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the server did not respond with HTTP"),
    "no status": (b"HTTP/1.1 OK\r\n" + LENGTH + b"\r\n" + BODY, "the server did not respond with HTTP"),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n" + LENGTH + b"\r\n" + BODY, "the server did not respond with HTTP"),
    "a status below 100": (b"HTTP/1.1 099 OK\r\n" + LENGTH + b"\r\n" + BODY, "the server responded with status 99"),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "the server responded with status 101"),
    "2,000 lines": (OK + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(2000)) + LENGTH + b"\r\n" + BODY,
                    "the response has more than 1,000 header lines"),
    "a line of 70 kB": (OK + b"Set-Cookie: a=" + b"x" * 70_000 + b"\r\n" + LENGTH + b"\r\n" + BODY,
                        "one of the response header lines is longer than 65,536 bytes"),
    "300 kB in all": (OK + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 60_000) for n in range(5)) + LENGTH + b"\r\n" + BODY,
                      "the response headers are larger than 262,144 bytes"),
    "compress": (coded("compress", BODY), "has the Content-Encoding compress, which is not supported"),
    "six codings": (coded("gzip, gzip, gzip, gzip, gzip, gzip", GZIP), "has 6 content codings"),
    "no gzip under the name": (coded("gzip", BODY), "but the body is damaged or is not gzip"),
    "a damaged gzip": (coded("gzip", GZIP[:-6] + b"\0\0" + GZIP[-4:]), "but the body is damaged or is not gzip"),
} | {f"WPT {case['input']!r}": (OK + case["input"].encode() + b"\r\n\r\n" + BODY, {
    42: WHOLE, 30: CUT30, None: "conflicting Content-Length values"}[case["output"]]) for case in WPT}

NAMES = list(ANSWERS)
FAILS = [name for name, (_, expected) in ANSWERS.items() if expected not in (WHOLE, CUT30)]


@pytest.mark.parametrize("ragged", [False, True])
def test_a_body_without_a_length_needs_the_close_notify_of_tls(crawls: Crawls, authority: Authority, ragged: bool) -> None:
    home = b"<p>1</p><a class=p href=/p></a><a class=d href=/d></a>"
    answers = {"/": OK + b"Content-Length: %d\r\n\r\n" % len(home) + home}
    with ScriptedServer(lambda asked: answers.get(asked.path, OK + b"\r\n" + BODY), authority.context(),
                        End.RAGGED if ragged else End.CLOSED) as started:
        crawls.write(f"""
            [spiders.s]
            start = "{started.url}/"
            follow = ["a.p"]
            download = ["a.d"]
            robots = false
            retries = 0
            ca_file = "{authority.ca_file}"
            [spiders.s.items]
            each = "p"
            key = ["t"]
            fields = {{ t = "::text" }}
            [spiders.s.downloads]
            attempts = 1
        """)
        run = crawls.perform()
        session = open_session("s", crawls.settings.spiders["s"], crawls.settings)
        with session.client() as client:
            said = fetched(client, f"{started.url}/s")
    assert run.complete is not ragged
    assert set(crawls.items()) == ({"1"} if ragged else {"1", WHOLE})
    assert run.progress.downloads_failed == ragged
    assert ("ended without close_notify" in said) if ragged else said == WHOLE
    assert ("ended without close_notify" in run.error) is ragged


def test_redirects_are_followed_although_their_bodies_are_truncated(crawls: Crawls) -> None:
    def script(asked: Asked) -> bytes:
        if asked.path == "/":
            return OK + b"\r\n<a class=p href=/p/1></a><a class=p href=/p/2></a><a class=d href=/d/1></a><a class=d href=/d/2></a>"
        if not asked.path.endswith("x"):
            coding = b"Content-Encoding: gzip\r\n" if asked.path.endswith("2") else b""
            return b"HTTP/1.1 302 Found\r\nLocation: %bx\r\n%bContent-Length: 100\r\n\r\n" % (asked.path.encode(), coding)
        return OK + LENGTH + b"\r\n" + BODY[:-1] + asked.path[-2].encode()

    with ScriptedServer(script) as started:
        crawls.write(f"""
            [spiders.s]
            start = "{started.url}/"
            follow = ["a.p"]
            download = ["a.d"]
            robots = false
            [spiders.s.items]
            each = "p"
            key = ["t"]
            fields = {{ t = "::text" }}
        """)
        run = crawls.perform()
        session = open_session("s", crawls.settings.spiders["s"], crawls.settings)
        with session.client() as client:
            assert fetched(client, f"{started.url}/s/1") == WHOLE[:-1] + "1"
    assert (run.complete, run.error, run.progress.downloads) == (True, "", 2)
    assert set(crawls.items()) == {WHOLE[:-1] + "1", WHOLE[:-1] + "2"}


def test_no_item_is_gone_when_its_page_becomes_too_large(crawls: Crawls) -> None:
    size = 10
    def page(asked: Asked) -> bytes:
        body = b"<a href=/2></a><p>1</p>" if asked.path == "/" else b"<p>2</p>" + b"<br>" * size
        return OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(body)

    with ScriptedServer(page) as started:
        crawls.write(f"""
            [spiders.s]
            start = "{started.url}/"
            follow = ["a"]
            max_page_size = "100kB"
            [spiders.s.items]
            each = "p"
            key = ["t"]
            fields = {{ t = "::text" }}
        """)
        assert crawls.run().complete
        size = 100_000
        run = crawls.run()
    assert not run.complete
    assert "larger than 100.0 kB" in run.error
    assert set(crawls.items()) == {"1", "2"}


def test_a_cached_page_that_cannot_be_decoded_is_fetched_again(crawls: Crawls) -> None:
    body, etag = gzip.compress(b"<p>1</p><p>2</p>"), '"1"'
    coded_head = OK + b'ETag: "1"\r\nContent-Encoding: gzip\r\n\r\n'
    with ScriptedServer(lambda asked: b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'
                        if asked.headers.get("if-none-match") == etag else coded_head + body) as started:
        crawls.write(f"""
            [spiders.s]
            start = "{started.url}/"
            robots = false
            [spiders.s.items]
            each = "p"
            key = ["t"]
            fields = {{ t = "::text" }}
        """)
        file = crawls.store.data_dir / "cache" / "s.sqlite3"
        cache = PageCache(file, 10**6)
        cache.put(f"{started.url}/", CachedPage([("ETag", etag), ("Content-Encoding", "gzip"), ("Content-Type", "text/html")], "", body[:-9]))
        cache.close()
        assert crawls.run().complete
        assert ["if-none-match" in asked.headers for asked in started.asked] == [True, False]
    assert set(crawls.items()) == {"1", "2"}


@contextmanager
def site() -> Iterator[ScriptedServer]:
    """A site where /p/N is a page and /d/N a file, each with the Nth response of the table."""
    links = "".join(f"<a class=p href=/p/{n}></a><a class=d href=/d/{n}></a>" for n in range(len(NAMES))).encode()
    home = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(links), links)

    def script(asked: Asked) -> bytes:
        return home if asked.path == "/" else ANSWERS[NAMES[int(asked.path.rpartition("/")[2])]][0]

    with ScriptedServer(script) as started:
        yield started


def text_of(page: bytes) -> str:
    return page.decode().removeprefix("<p>")


def test_each_malformed_response_is_read_alike_as_page_as_file_and_by_the_session(crawls: Crawls) -> None:
    with site() as started:
        crawls.write(f"""
            [spiders.s]
            start = "{started.url}/"
            follow = ["a.p"]
            download = ["a.d"]
            robots = false
            retries = 0
            [spiders.s.items]
            each = "p"
            key = ["t"]
            fields = {{ t = "::text" }}
            [spiders.s.downloads]
            attempts = 1
        """)
        run = crawls.perform()
        assert not run.complete
        with crawls.store.read() as connection:
            pages = {row.url: row.error for row in connection.execute(select(schema.frontier))}
            files = {url: (error, key) for url, error, key in connection.execute(
                select(schema.downloads.c.url, schema.downloads.c.error, schema.download_files.c.key).join_from(
                    schema.downloads, schema.download_files, isouter=True))}
        session = open_session("s", crawls.settings.spiders["s"], crawls.settings)
        wrong = []
        for number, name in enumerate(NAMES):
            expected = ANSWERS[name][1]
            file_error, key = files[f"{started.url}/d/{number}"]
            with session.client() as client:
                got = {"page": pages[f"{started.url}/p/{number}"],
                       "file": file_error if key is None else text_of(crawls.store.files.path(key).read_bytes()),
                       "session": fetched(client, f"{started.url}/s/{number}")}
            if name not in FAILS:
                got["page"] = got["page"] or expected  # its text is among the items
            wrong += [f"{name}: the {what} gives {said!r}, not {expected!r}" for what, said in got.items()
                      if (expected not in said if name in FAILS else expected != said)]
        assert not wrong, "\n".join(wrong)
        assert {item["t"] for item in crawls.items().values()} == {WHOLE, CUT30}


def fetched(client: Client, url: str) -> str:
    try:
        return text_of(fetch(client, "GET", url, max_bytes=10**6, timeout_s=20).body)
    except FetchError as error:
        return str(error)
