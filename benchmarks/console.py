"""The pages and the API of the real service on a large store, beside a running crawl.

How long answers take over HTTP.

    python -m benchmarks.console [--seconds 25] [--keep FOLDER] [--plain]

300 spiders, a million items (half of them of one spider), 100,000 runs of two weeks. A spider crawls a local site all the time. First
one person looks at pages and a script asks the API, in turn, and another client asks the lines protocol every 20 ms. Then four
clients use the API at its rate limit while browsers listen to /events. Goals: overview and item search under 200 ms at p95, lines
under 20 ms at p99. --keep leaves the filled store in a folder for the next time.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import quote

from benchmarks import _large_store
from benchmarks._large_store import ABSENT, ABSENT_COMMON, BIG, RARE, spider_names, words
from benchmarks.heartbeat import percentile
from benchmarks.site import below, pss_bytes
from pipeline.store import open_store
from pipeline.store.console.item_index import BATCH, FILE, ItemIndex
from tests.servers.ports import free_port
from tests.servers.program import Program, eventually

SPIDERS = 300
EVENTS = 50
SITE_DELAY_S = 0.05
CRAWL = """
[spiders.live]
start = "http://127.0.0.1:{site}/0"
schedule = "every 12h"
follow = ["a"]
concurrency = 8
robots = false
items.each = "li"
items.key = ["name"]
items.fields = {{ name = "b", price = "i", about = "p" }}
"""


@dataclass
class Times:
    """Seconds of each kind of question, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def add(self, kind: str, seconds: float) -> None:
        self.seconds.setdefault(kind, []).append(seconds)


def settings(site: int) -> str:
    at = (datetime.now(UTC) + timedelta(hours=12)).strftime("daily at %H:%M")
    rest = "".join(f'[spiders.{name}]\nstart = "http://127.0.0.1:1/"\nschedule = "{at}"\ntags = ["{("books", "shoes", "parts")[number % 3]}"]\n'
                   for number, name in enumerate(spider_names(SPIDERS)))
    return CRAWL.format(site=site) + rest


def serve_site(pipe: Connection, delay_s: float) -> None:
    """Serve pages of ten items, without end. Every page has four links."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                number = int(request.split()[1][1:] or 0)
                items = "".join(f"<li><b>thing {number * 10 + at}</b><i>{at}</i><p>{vocabulary[(number * 31 + at * 7) % 5000]} for the house"
                                for at in range(10))
                text = (items + "".join(f"<a href=/{number * 4 + at}>on</a>" for at in range(1, 5))).encode()
                await asyncio.sleep(delay_s)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
                await writer.drain()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    vocabulary = words(5000)
    asyncio.run(main())


class Client:
    """Asks over one kept connection. read: returns the next token."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        self._connection.request("GET", path, headers=self._headers)
        response = self._connection.getresponse()
        return response.status, response.read(), dict(response.headers)


def questions(port: int, token: str) -> dict[str, str]:
    """Return the path of each kind of question."""
    frequent, middle, big = words()[30], words()[300], f"/spiders/{BIG}/items"
    client = Client(port, token)
    item = json.loads(client.get(f"/api/v1{big}?limit=1")[1])["items"][0]["id"]
    search = {"frequent": frequent, "middle": middle, "rare": RARE, "absent": ABSENT, "absent, of common letters": ABSENT_COMMON}
    return {"overview": "/", "overview, filtered": "/?q=shop1&sort=next", "API spiders": "/api/v1/spiders",
            "items": big} | {f"search {kind}": f"{big}?q={quote(word)}" for kind, word in search.items()} | {
            "search of a small spider": f"/spiders/shop007/items?q={ABSENT}", "search in items that are new": "/spiders/live/items?q=thing+77",
            "API search rare": f"/api/v1{big}?q={RARE}", "API search absent": f"/api/v1{big}?q={ABSENT}",
            "item": f"{big}/{item}", "API changes": f"/api/v1/spiders/{BIG}/changes", "API runs": f"/api/v1/runs?spider={BIG}", "API all runs": "/api/v1/runs",
            "spider": f"/spiders/{BIG}"}


def ask_pages(port: int, token: str, pipe: Connection) -> None:
    """Ask each question in turn, with short pauses, until told to stop."""
    found, client = Times(), Client(port, token)
    paths = questions(port, token)
    for path in paths.values():  # once to warm up
        client.get(path)
    pipe.send(None)
    for kind, path in _again(paths, lambda: pipe.poll(0.02)):
        began = time.perf_counter()
        status, body, _ = client.get(path)
        found.add(kind, time.perf_counter() - began)
        if status != 200:
            found.failed.append(f"{kind}: {status} {body[:80]!r}")
    found.failed += [line for kind in paths if (line := _incomplete(client, kind, paths))]
    pipe.send(found)


def _again(paths: dict[str, str], stop: Callable[[], bool]) -> Iterator[tuple[str, str]]:
    while True:
        for kind, path in paths.items():
            if stop():
                return
            yield kind, path


def _incomplete(client: Client, kind: str, paths: dict[str, str]) -> str:
    """Return a line if a search of a rare or absent word did not look at all items."""
    if "absent" not in kind and "rare" not in kind:
        return ""
    body = client.get(paths[kind])[1]
    more = json.loads(body)["next"] is not None if kind.startswith("API") else b'rel="next"' in body
    if kind.startswith("API"):
        number = len(json.loads(body)["items"])
    else:
        number = len(re.findall(rb'<tr role="row"><th role="rowheader"', body))
    return f"{kind}: {number} found, and not all items were searched" if more else ""


def serve_bare(pipe: Connection) -> None:
    """Answer each line with a line: what such a server takes on this machine at the same time."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def ask_lines(port: int, pipe: Connection) -> None:
    """Ask the lines protocol every 20 ms until told to stop: over new connections, over a kept one, and a bare server over a kept one."""
    found = Times()
    ours, theirs = multiprocessing.Pipe()
    bare = multiprocessing.Process(target=serve_bare, args=(theirs,))
    bare.start()
    beside = socket.create_connection(("127.0.0.1", ours.recv()), 5)
    with socket.create_connection(("127.0.0.1", port), 5) as kept:
        while not pipe.poll(0.02):
            began = time.perf_counter()
            beside.sendall(b"ping\n")
            beside.recv(100)
            found.add("a bare server", time.perf_counter() - began)
            began = time.perf_counter()
            kept.sendall(b"ping\n")
            kept.recv(100)
            found.add("ping on a kept connection", time.perf_counter() - began)
            for question in (b"hello\n", b"health\n"):
                began = time.perf_counter()
                try:
                    with socket.create_connection(("127.0.0.1", port), 2) as sock:
                        sock.sendall(question)
                        if not sock.recv(65536):
                            raise ConnectionError("closed without an answer")
                except OSError as error:
                    found.failed.append(f"{question!r}: {error}")
                else:
                    found.add(question.decode().strip(), time.perf_counter() - began)
    bare.kill()
    pipe.send(found)


def hammer(port: int, token: str, pipe: Connection) -> None:
    """Ask the API as fast as its rate limit allows until told to stop; wait when it says so."""
    found, client = Times(), Client(port, token)
    paths = {kind: path for kind, path in questions(port, token).items() if kind.startswith("API")}
    pipe.send(None)
    for kind, path in _again(paths, lambda: pipe.poll(0)):
        began = time.perf_counter()
        status, body, headers = client.get(path)
        if status == 200:
            found.add(kind, time.perf_counter() - began)
        elif status == 429:
            time.sleep(float(headers["Retry-After"]))
        else:
            found.failed.append(f"{kind}: {status} {body[:80]!r}")
    pipe.send(found)


def listen(port: int, token: str) -> socket.socket:
    """Load the overview, and open its stream of events, as a browser does. What comes is left unread."""
    found = re.search(rb'"(/events\?since=\d+)"', Client(port, token).get("/")[1])
    assert found is not None
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
    sock.sendall(f"GET {found[1].decode()} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    assert b"200 OK" in sock.recv(15)
    return sock


class Asking:
    """A client in a process of its own."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=target, args=(*arguments, theirs))
        self._process.start()

    def wait_ready(self) -> None:
        self._pipe.recv()

    def result(self) -> Times:
        self._pipe.send(None)
        found: Times = self._pipe.recv()
        self._process.join()
        return found


def show(title: str, found: Times) -> None:
    print(f"\n## {title}\n\n| question | asked | min ms | median | p95 | p99 | max |\n|---|---|---|---|---|---|---|")
    for kind, values in found.seconds.items():
        figures = (min(values), *(percentile(values, part) for part in (.5, .95, .99)), max(values))
        print(f"| {kind} | {len(values)} | " + " | ".join(f"{1000 * each:.1f}" for each in figures) + " |")
    for each in found.failed[:12]:
        print(f"- {each}")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watch:
    """What the service and its crawl do between two moments."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._began, self._cpu, self._pages = time.monotonic(), cpu_s(program.pid), self._crawled()

    def _crawled(self) -> int:
        return sum(run["progress"]["pages"] for run in self._program.status()["runs"])

    def show(self) -> None:
        seconds = time.monotonic() - self._began
        status = self._program.status()
        print(f"\n{(self._crawled() - self._pages) / seconds:.0f} pages/s crawled; CPU of the service {(cpu_s(self._program.pid) - self._cpu) / seconds:.0%} of a core, "
              f"its memory {pss_bytes(self._program.pid) / 1e6:.0f} MB, with its children {sum(map(pss_bytes, below(self._program.pid))) / 1e6:.0f} MB; "
              f"longest lag of its loop {status['loop']['lag_s'] * 1000:.0f} ms; load {os.getloadavg()[0]:.1f}")


def measure(program: Program, seconds: float) -> None:
    program.serve()
    eventually(lambda: program.status()["runs"], within_s=60, every_s=0.5)
    print(f"the service on this store, before any page was asked for: {pss_bytes(program.pid) / 1e6:.0f} MB")
    main_token = (program.data / "heartbeat-token").read_text("ascii").strip()
    tokens = [re.search(r"\S{40,}", program.run("token", "create", f"client{number}").stdout)[0] for number in range(4)]  # type: ignore[index]
    watch, pages, lines = Watch(program), Asking(ask_pages, program.port, main_token), Asking(ask_lines, program.port)
    pages.wait_ready()
    time.sleep(seconds)
    show("One person and one script, beside a crawl", pages.result())
    show("Lines meanwhile", lines.result())
    watch.show()
    streams = [listen(program.port, main_token) for _ in range(EVENTS)]
    watch, clients, lines = Watch(program), [Asking(hammer, program.port, token) for token in tokens], Asking(ask_lines, program.port)
    for client in clients:
        client.wait_ready()
    time.sleep(seconds)
    found = Times()
    for client in clients:
        one = client.result()
        found.failed += one.failed
        for kind, values in one.seconds.items():
            found.seconds.setdefault(kind, []).extend(values)
    show(f"The API at its rate limit by four clients, {EVENTS} browsers on /events", found)
    show("Lines meanwhile", lines.result())
    watch.show()
    for stream in streams:
        stream.close()
    watch = Watch(program)
    time.sleep(2)
    watch.show()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=25.0, help="of each of the two parts")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="a folder for the filled store, used again the next time")
    given = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    site = multiprocessing.Process(target=serve_site, args=(theirs, SITE_DELAY_S), daemon=True)
    site.start()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        program = Program(Path(name), free_port())
        program.write(settings(ours.recv()))
        filled = filled_store(given.keep or Path(name, "filled"), given.items)
        program.data.mkdir()
        for file in filled.iterdir():
            shutil.copy(file, program.data)
        try:
            measure(program, given.seconds)
        finally:
            program.close()
            site.kill()
            if "Traceback" in program.log():
                print(program.log()[-4000:], file=sys.stderr)


def build_index(folder: Path) -> None:
    """Build the search index as the service does, but without its pauses."""
    store = open_store(folder)
    index, began, cpu, added = ItemIndex(folder), time.monotonic(), time.process_time(), BATCH
    longest = 0.0
    number = 0
    while added == BATCH:
        at = time.monotonic()
        added = index.update(store)
        number += added
        longest = max(longest, time.monotonic() - at)
    store.close()
    size = (folder / FILE).stat().st_size
    print(f"the search index: {size / 1e6:.0f} MB, {time.monotonic() - began:.0f} s, CPU {1e6 * (time.process_time() - cpu) / number:.0f} us an item, "
          f"longest batch {longest * 1000:.0f} ms", flush=True)


def filled_store(folder: Path, items: int) -> Path:
    """Return a folder with a filled database."""
    if not (folder / "pipeline.sqlite3").exists():
        open_store(folder).close()
        began = time.monotonic()
        _large_store.fill(folder / "pipeline.sqlite3", spiders=SPIDERS, items=items)
        size = (folder / "pipeline.sqlite3").stat().st_size
        print(f"{items} items of {SPIDERS} spiders filled in {time.monotonic() - began:.0f} s: {size / 1e6:.0f} MB", flush=True)
        build_index(folder)
    return folder


if __name__ == "__main__":
    main()
