"""Commits of pages per second on PostgreSQL, with 1, 4 and 16 processes.

Each process commits the pages of another spider.

    python -m benchmarks.commits --seconds 4

Each commit has ten pages with an item and ten links each, as the committer of a crawl writes them when the site is fast. The
server is a private one in a temporary folder, with fsync off, and shares the machine with the processes. Its connections go
through a relay that delays what the processes send, as a network between two machines does (`--delay-ms`). For comparison,
every transaction takes the lock of the whole database in every second round.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import tempfile
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from pipeline.model import Item, Page, Request, Run
from pipeline.store import Store, open_store
from pipeline.store.crawl import commit, frontier
from pipeline.store.database import postgresql
from pipeline.store.runs import runs
from tests.servers.postgres import Postgres

PAGES = 10
_begin = postgresql.begin


def _begin_with_one_lock(connection: object, **options: object) -> None:
    _begin(connection, **options | {"spider": ""})  # type: ignore[arg-type]


def _work(url: str, folder: str, run: Run, *, seconds: float, barrier: object, found: object, one_lock: bool) -> None:
    if one_lock:
        postgresql.begin = _begin_with_one_lock  # type: ignore[assignment]
    with closing(open_store(Path(folder), url)) as store:
        _commit(store, run, 0)
        barrier.wait()  # type: ignore[attr-defined]
        number, ends_s = 0, time.monotonic() + seconds
        while time.monotonic() < ends_s:
            number += 1
            _commit(store, run, number)
        found.put(number)  # type: ignore[attr-defined]


def _commit(store: Store, run: Run, number: int) -> None:
    now = datetime.now(UTC)
    pages = [Page(f"http://{run.spider}.example/{number}/{page}", 200, now, size_bytes=10_000,
                  items=(Item(f"{number}-{page}", {"name": f"item {number}", "price": page}),),
                  links=tuple(Request(f"http://{run.spider}.example/{number}/{page}/{link}") for link in range(10)))
             for page in range(PAGES)]
    commit.commit_pages(store, run, pages, now=now)


class Relay:
    """Forwards connections to a port of this machine, and delays what the clients send."""

    def __init__(self, port: int, delay_s: float) -> None:
        self._target, self._delay_s = port, delay_s
        self._loop = asyncio.new_event_loop()
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._forward(reader, there, self._delay_s), self._forward(there_reader, writer, 0))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(2**16):
                if delay_s:
                    await asyncio.sleep(delay_s)
                writer.write(data)
        writer.close()


def _measure(server: Postgres, port: int, folder: Path, writers: int, seconds: float, *, one_lock: bool) -> float:
    url = server.new_database().replace(f":{server.port}/", f":{port}/")
    now = datetime.now(UTC)
    started: list[Run] = []
    with closing(open_store(folder, url)) as store:
        for number in range(writers):
            runs.claim_slot(store, f"s{number}", "1", due_at=now, reason="schedule", now=now)
            run = runs.start_run(store, None, owner=store.owner, now=now, limit=writers)
            assert run is not None
            started.append(run)
        store.engine.dispose()
        context = multiprocessing.get_context("spawn")
        barrier, found = context.Barrier(writers + 1), context.Queue()
        options = {"seconds": seconds, "barrier": barrier, "found": found, "one_lock": one_lock}
        processes = [context.Process(target=_work, args=(url, str(folder), run), kwargs=options) for run in started]
        for process in processes:
            process.start()
        barrier.wait()
        commits = sum(found.get() for _ in processes)
        for process in processes:
            process.join()
        links = sum(sum(frontier.counts(store, run.pass_id).values()) for run in started)
        assert links == (commits + writers) * PAGES * 10, (links, commits)
    return commits / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, closing(Postgres()) as server:
        port = Relay(server.port, wanted.delay_ms / 1000).port if wanted.delay_ms else server.port
        for writers in (1, 4, 16):
            rates: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(wanted.rounds):
                for one_lock, found in rates.items():
                    found.append(_measure(server, port, Path(folder), writers, wanted.seconds, one_lock=one_lock))
            print(f"{writers} writers, commits/s of {PAGES} pages: one lock {max(rates[True]):.0f}, a lock for each spider "
                  f"{max(rates[False]):.0f}", flush=True)


if __name__ == "__main__":
    main()
