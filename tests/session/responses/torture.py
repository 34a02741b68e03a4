"""Responses cut off at any byte: `python -m tests.session.responses.torture --cuts 5000`.

A real child process crawls a site of pages and files, on HTTP and TLS, in every content coding and framing, once completely.
Then it crawls the site many times while each response is cut off at a random byte of its headers or body, by a close or a
reset; some are 404 responses. No such page may count as fetched, no pass with one may be complete, no item may be gone, and
no file may be stored. From time to time a pass without cuts shows that nothing was lost, the page cache included: it finds no
change.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import random
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import brotli
import trustme
from backports import zstd
from sqlalchemy import select

from pipeline.model import ChangeKind, Run
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.crawl import items
from pipeline.store.database import schema
from pipeline.store.runs import runs
from pipeline.workers.forkserver import warm_up
from pipeline.workers.runner import Runner
from tests.servers.authority import Authority
from tests.servers.scripted import Asked, End, ScriptedServer

SETTINGS = """
[pipeline]
keep_free = "1MB"
[spiders.s]
start = ["{plain}/", "{secured}/"]
follow = ["a.p"]
download = ["a.d"]
robots = false
retries = 0
concurrency = 16
ca_file = "{ca_file}"
[spiders.s.items]
each = "p"
key = ["id"]
fields = {{ id = "b", value = "i" }}
[spiders.s.downloads]
attempts = 1
workers = 8
"""
WITHIN_S = 120.0

Pack = Callable[[bytes], bytes]


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CODINGS: dict[str, tuple[str, Pack]] = {
    "as it is": ("", lambda data: data),
    "gzip": ("gzip", gzip.compress),
    "gzip members": ("x-gzip", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])),
    "zlib": ("deflate", zlib.compress),
    "deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "br in gzip": ("br, gzip", lambda data: gzip.compress(brotli.compress(data))),
}


def chunks(body: bytes, form: str = "%x", size: int = 400) -> bytes:
    parts = (body[at:at + size] for at in range(0, len(body), size))
    return b"".join((form % len(part)).encode() + b"\r\n" + part + b"\r\n" for part in parts) + (form % 0).encode() + b"\r\n\r\n"


FRAMINGS: dict[str, Callable[[str, bytes], bytes]] = {
    "length": lambda status, body: b"HTTP/1.1 %b\r\nContent-Length: %d\r\n" % (status.encode(), len(body)),
    "two lengths": lambda status, body: b"HTTP/1.1 %b\r\nContent-Length: %d\r\nContent-Length: %d\r\n" % (
        status.encode(), len(body), len(body)),
    "HTTP/1.0": lambda status, body: b"HTTP/1.0 %b\r\nContent-Length: %d\r\n" % (status.encode(), len(body)),
    "identity": lambda status, body: b"HTTP/1.1 %b\r\nTransfer-Encoding: identity\r\nContent-Length: %d, %d\r\n" % (
        status.encode(), len(body), len(body)),
    "chunked": lambda status, body: b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n" % status.encode(),
    "chunks of zeros": lambda status, body: b"HTTP/1.1 %b\r\nTransfer-Encoding: Chunked\r\n" % status.encode(),
    "gzip, chunked": lambda status, body: b"HTTP/1.1 %b\r\nTransfer-Encoding: gzip, chunked\r\n" % status.encode(),
    "to the end": lambda status, body: b"HTTP/1.1 %b\r\n" % status.encode(),
    "interim first": lambda status, body: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 %b\r\nContent-Length: %d\r\n" % (
        status.encode(), len(body)),
}


@dataclass(frozen=True)
class Kind:
    """A content coding and a framing.

    A body that ends with the connection is complete by its end marker; several gzip members have none for the last one.
    """

    coding: str
    framing: str

    def answer(self, content: bytes, *, status: str = "200 OK", extra: bytes = b"") -> bytes:
        name, pack = CODINGS[self.coding]
        body = pack(content)
        if self.framing == "gzip, chunked":
            body = gzip.compress(body)
        head = FRAMINGS[self.framing](status, body) + extra
        if name:
            head += b"Content-Encoding: %b\r\n" % name.encode()
        if "chunk" in self.framing:
            body = chunks(body, "%08x" if "zeros" in self.framing else "%x")
        return head + b"\r\n" + body

    @property
    def ends(self) -> tuple[End, ...]:
        """The ends that show that a response is incomplete. RAGGED: on TLS only."""
        if self.framing != "to the end":
            return (End.CLOSED, End.RESET, End.RAGGED)
        return (End.RESET, End.RAGGED) if self.coding in ("as it is", "gzip members") else (End.CLOSED, End.RESET)


KINDS = [Kind(coding, framing) for coding in CODINGS for framing in FRAMINGS]


@dataclass
class Tally:
    rounds: int = 0
    cuts: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    alone: int = 0
    whole: int = 0


class Site:
    """The site: cuts off all responses, those of one page, or none."""

    def __init__(self, seed: str, copies: int) -> None:
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self.secured_host = ""
        self.round = 0
        self.only: str | None = None
        self.cutting = False
        self.cut: set[str] = set()
        self.tally = Tally()
        names = [f"{number}-{copy}" for copy in range(copies) for number in range(len(KINDS))]
        self.pages = {name: self._content(name) for name in names}
        self.files = {name: self._dice.randbytes(self._dice.randrange(1, 6000)) for name in names}

    def _content(self, name: str) -> bytes:
        entries = (f"<p><b>{name}-{number}</b><i>{self._dice.random()}</i></p>" for number in range(self._dice.randrange(1, 30)))
        return f"<html><body>{''.join(entries)}</body></html>".encode()

    def script(self, asked: Asked) -> bytes | tuple[bytes, End]:
        if asked.path == "/":
            return self._index()
        what, _, name = asked.path[1:].partition("/")
        number = int(name.partition("-")[0])
        kind = KINDS[number]
        with self._lock:
            whole = self._page(kind, name, asked) if what == "p" else self._file(kind, name, what, asked)
            if not self.cutting or self.only not in (None, asked.path):
                return whole
            if what == "p" and self._dice.random() < 0.15:
                whole = kind.answer(b"<p>no such page</p>" * 9, status="404 Not Found")
            return self._cut(kind, whole, asked)

    def _index(self) -> bytes:
        # Half of the files have a new URL in each round; the parts of the others are resumed.
        links = "".join(f"<a class=p href=/p/{name}></a><a class=d href=/{self._file_of(name)}/{name}></a>" for name in self.pages)
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(links) + links.encode()

    def _file_of(self, name: str) -> str:
        return "d" if sum(map(int, name.split("-"))) % 2 else f"d{self.round}"

    def _page(self, kind: Kind, name: str, asked: Asked) -> bytes:
        etag = f'"{name}"'
        if not self.cutting and asked.headers.get("if-none-match") == etag:
            return b"HTTP/1.1 304 Not Modified\r\nETag: %b\r\n\r\n" % etag.encode()
        extra = b"ETag: %b\r\n" % etag.encode() if int(name.partition("-")[0]) % 3 else b""
        return kind.answer(self.pages[name], extra=b"Content-Type: text/html\r\n" + extra)

    def _file(self, kind: Kind, name: str, what: str, asked: Asked) -> bytes:
        content, etag = self.files[name], f'"{what}/{name}"'.encode()
        start = asked.headers.get("range", "").removeprefix("bytes=").removesuffix("-")
        if start and asked.headers.get("if-range") == etag.decode() and int(start) < len(content):
            self.tally.resumed += 1
            return b"HTTP/1.1 206 Partial Content\r\nETag: %b\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n%b" % (
                etag, int(start), len(content) - 1, len(content), len(content) - int(start), content[int(start):])
        return kind.answer(content, extra=b"ETag: %b\r\n" % etag)

    def _cut(self, kind: Kind, whole: bytes, asked: Asked) -> tuple[bytes, End]:
        """Cut the response off at a random byte, more often near the end of the headers or the body."""
        body = whole.index(b"\r\n\r\n") + 4
        where = self._dice.random()
        at = body if where < 0.08 else self._dice.randrange(len(whole)) if where < 0.5 else \
            self._dice.randrange(max(0, body - 20), min(len(whole), body + 20)) if where < 0.7 else \
            self._dice.randrange(max(0, len(whole) - 24), len(whole))
        secured = asked.headers["host"] == self.secured_host
        ends = [end for end in kind.ends if end is not End.RAGGED or secured]
        self.cut.add(asked.path if not secured else f"tls {asked.path}")
        self.tally.cuts[f"{kind.coding}, {kind.framing}"] += 1
        return whole[:at], self._dice.choice(ends)


class Torture:
    """Crawls one site on two servers into one store."""

    def __init__(self, folder: Path, seed: str, copies: int) -> None:
        self._folder = folder
        self._dice = random.Random(f"{seed}/rounds")
        self._slots = itertools.count()
        self.site = Site(seed, copies)

    def play(self, cuts: int, alone: int) -> Tally:
        authority = Authority(trustme.CA(), self._folder)
        with ScriptedServer(self.site.script) as plain, ScriptedServer(self.site.script, authority.context()) as secured, \
                _opened(self._folder) as store:
            self._plain, self._secured = plain.url, secured.url
            self.site.secured_host = secured.url.removeprefix("https://")
            file = self._folder / "settings.toml"
            file.write_text(SETTINGS.format(plain=plain.url, secured=secured.url, ca_file=authority.ca_file), "utf-8")
            settings = load(file)
            self._whole(store, settings, first=True)
            pages = [f"/p/{name}" for name in self.site.pages]
            for path in self._dice.sample(pages, min(alone, len(pages))):
                self._cut(store, settings, only=path)
                self.site.tally.alone += 1
            while self.site.tally.cuts.total() < cuts:
                self._cut(store, settings)
                if self._dice.random() < 0.2:
                    self._whole(store, settings)
            self._whole(store, settings)
        return self.site.tally

    def _whole(self, store: Store, settings: Settings, *, first: bool = False) -> None:
        self.site.cutting = False
        run = self._run(store, settings)
        self.site.tally.whole += 1
        assert run.complete, run.error
        assert not run.progress.downloads_failed, run
        kinds = {change.kind for change in items.changes(store, "s")}
        assert kinds == {ChangeKind.NEW}, kinds
        assert first or not run.progress.new, run.progress
        for name, key in self._files(store):
            content = store.files.path(key).read_bytes()
            assert content == self.site.files[name], f"file {name} is not what the site has"

    def _cut(self, store: Store, settings: Settings, only: str | None = None) -> None:
        self.site.cutting, self.site.only = True, only
        self.site.cut.clear()
        had = {key for _, key in self._files(store)}
        run = self._run(store, settings)
        assert self.site.cut
        assert not run.complete, f"the pass is complete although {len(self.site.cut)} responses were cut off"
        assert {change.kind for change in items.changes(store, "s")} == {ChangeKind.NEW}
        with store.read() as connection:
            taken = {url for url, in connection.execute(select(schema.pages.c.url).where(
                schema.pages.c.pass_id == run.pass_id, schema.pages.c.status != 0))}
        wrong = [path for path in self.site.cut if self._url(path) in taken]
        assert not wrong, f"cut off, and counted as pages: {[self._shown(path) for path in wrong]}"
        if only is None:
            new = {key for _, key in self._files(store)} - had
            assert not new, f"cut off, and stored: {sorted(new)}"

    def _url(self, path: str) -> str:
        return self._secured + path[4:] if path.startswith("tls ") else self._plain + path

    def _shown(self, path: str) -> str:
        kind = KINDS[int(path.rpartition("/")[2].partition("-")[0])]
        return f"{path} ({kind.coding}, {kind.framing})"

    def _files(self, store: Store) -> list[tuple[str, str]]:
        with store.read() as connection:
            return [(url.rpartition("/")[2], key) for url, key in connection.execute(
                select(schema.download_files.c.url, schema.download_files.c.key))]

    def _run(self, store: Store, settings: Settings) -> Run:
        self.site.round += 1
        self.site.tally.rounds += 1
        now = datetime.now(UTC)
        runs.claim_slot(store, "s", f"slot {next(self._slots)}", due_at=now, reason="manual", now=now)
        run = runs.start_run(store, None, owner=store.owner, now=now, limit=9)
        assert run is not None

        async def work() -> Run:
            async with asyncio.timeout(WITHIN_S):
                return await Runner(store, settings).perform(run)

        return asyncio.run(work())


@contextmanager
def _opened(folder: Path) -> Iterator[Store]:
    store = open_store(folder / "var")
    try:
        yield store
    finally:
        store.close()


def torture(folder: Path, seed: int, *, cuts: int, copies: int, alone: int) -> Tally:
    """Run the crawls and count. Raises AssertionError with the seed when a cut response counted as complete."""
    warm_up()
    try:
        return Torture(folder, str(seed), copies).play(cuts, alone)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = torture(Path(folder), given.seed, cuts=given.cuts, copies=3, alone=4)
    fewest = min(tally.cuts.values())
    print(f"{tally.cuts.total()} responses cut off, of each of {len(tally.cuts)} kinds at least {fewest}, in {tally.rounds} passes "
          f"({tally.alone} with a single cut, {tally.whole} without) and {time.monotonic() - began:.0f} s, seed {given.seed}: "
          f"none counted as complete, no item gone, no file stored; {tally.resumed} responses resumed a part")


if __name__ == "__main__":
    main()
