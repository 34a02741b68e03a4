"""Send requests from several processes on two nodes within the limits of a shared database.

They go to one server, which counts them.

    python -m tests.session.politeness.torture --processes 4 --concurrency 4 --delay 0 --seconds 10

Each process has its own data folder and its own connection to one PostgreSQL. The server counts the requests that are at work at
once and the time between two requests. The same is done by one process before, for comparison. Exits with 1 if there were ever more
requests at once than `concurrency`, or more requests than `delay` allows, or less than 90 % of the requests of one process.
With `--kill`, a process is killed in the middle; with `--outage 5`, the database crashes in the middle and is back after 5 s. Then
only the limits are judged, and that all processes that live send requests again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.session.politeness.host_limits import HostBudget, host_limits_of
from pipeline.store import open_store
from tests.servers.postgres import Postgres


@dataclass
class Counted:
    """What a server has seen. at: when each request came; by: how many each process sent.

    The processes begin when all of them are ready.
    """

    answer_s: float
    processes: int
    ready: int = 0
    all_ready: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most: int = 0
    at: list[float] = field(default_factory=list)
    by: dict[str, int] = field(default_factory=dict)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                if line == b"ready\n":
                    self.ready += 1
                    if self.ready == self.processes:
                        self.all_ready.set()
                    await self.all_ready.wait()
                    writer.write(b"go\n")
                    continue
                self.at.append(time.monotonic())
                name = line.decode().strip()
                self.by[name] = self.by.get(name, 0) + 1
                self.at_once += 1
                self.most = max(self.most, self.at_once)
                with contextlib.suppress(TimeoutError):  # a client that is killed no longer counts
                    await asyncio.wait_for(reader.read(1), self.answer_s)
                self.at_once -= 1
                writer.write(b"done\n")
        writer.close()


async def send(port: int, name: str, budget: HostBudget, seconds: float, tasks: int) -> None:
    """Send requests one after another on `tasks` connections, each with a turn."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"ready\n")
    await reader.readline()
    writer.close()
    url, until = f"http://127.0.0.1:{port}/", time.monotonic() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < until:
            async with budget.turn(url):
                writer.write(f"{name}\n".encode())
                await reader.readline()
        writer.close()

    await asyncio.gather(*(one() for _ in range(tasks)))


async def measure(folders: list[Path], url: str, options: argparse.Namespace, disturb: Callable[[list[Process]], None] | None = None) -> Counted:
    """Let one process for each of the folders send requests, and return what the server has counted.

    disturb: called in a thread, with the processes, as soon as each process has sent a request.
    """
    counted = Counted(options.answer, len(folders))
    server = await asyncio.start_server(counted.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    command = [sys.executable, "-m", "tests.session.politeness.torture", "--sender", url, "--port", str(port)]
    for name in ("concurrency", "delay", "seconds", "tasks"):
        command += [f"--{name}", str(getattr(options, name))]
    senders = [await asyncio.create_subprocess_exec(*command, "--folder", str(folder), "--name", f"p{number}")
               for number, folder in enumerate(folders)]
    if disturb is not None:
        while len(counted.by) < len(folders):
            await asyncio.sleep(0.1)
        await asyncio.to_thread(disturb, senders)
    ended = [await sender.wait() for sender in senders]
    assert ended[1:] == [0] * len(ended[1:]), ended
    server.close()
    return counted


def report(what: str, counted: Counted) -> float:
    """Print what the server has counted, and return the requests per second."""
    first, last = counted.at[0], counted.at[-1]
    gaps = [late - early for early, late in zip(counted.at, counted.at[1:], strict=False)]
    rate = (len(counted.at) - 1) / max(last - first, 0.001)
    print(f"{what}: {len(counted.at)} requests in {last - first:.1f} s, {rate:.1f}/s, at most {counted.most} at once, shortest interval "
          f"{min(gaps, default=0):.4f} s; by process {sorted(counted.by.values())}")
    return rate


@contextlib.contextmanager
def own_server() -> Iterator[Postgres]:
    server = Postgres()
    try:
        yield server
    finally:
        server.close()


def within_limits(counted: Counted, concurrency: int, delay_s: float) -> bool:
    """Return whether the limits were kept. A single request may be late by a part of the delay, but no rate is exceeded."""
    allowed = all(at >= counted.at[0] + (number - 0.3) * delay_s - 0.02 for number, at in enumerate(counted.at)) if delay_s else True
    return allowed and counted.most <= concurrency


def main(arguments: Sequence[str] | None = None, server: Postgres | None = None, template: str = "template0") -> int:
    """server: a started database server to use; template: the database to copy on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--tasks", type=int, default=0, help="requests that each process wants to send at once (default: concurrency)")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--answer", type=float, default=0.1, help="seconds that the server takes for a response")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--kill", action="store_true", help="kill one process")
    parser.add_argument("--outage", type=float, default=0.0, help="seconds without the database")
    for name in ("sender", "port", "folder", "name"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.tasks = options.tasks or options.concurrency
    if options.sender:
        perform_sender(options)
        return 0
    with contextlib.ExitStack() as opened:
        found = server or opened.enter_context(own_server())
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        url = found.new_database(template)
        open_store(folder / "first", url).close()
        nodes = [folder / f"node{number % 2}" for number in range(options.processes)]
        return disturbed(found, nodes, url, options) if options.kill or options.outage else undisturbed(nodes, url, options)


def perform_sender(options: argparse.Namespace) -> None:
    """Send requests as one process of a run does."""
    store = open_store(Path(options.folder), options.sender, migrate=False)
    budget = HostBudget(host_limits_of(store), delay_s=options.delay, concurrency=options.concurrency)
    asyncio.run(send(int(options.port), options.name, budget, options.seconds, options.tasks))
    budget.release()
    store.close()


def undisturbed(nodes: list[Path], url: str, options: argparse.Namespace) -> int:
    """Compare several processes with one. Return 0 if the limits were kept and the throughput is about the same."""
    alone, together = (asyncio.run(measure(places, url, options)) for places in (nodes[:1], nodes))
    before, after = report("1 process", alone), report(f"{len(nodes)} processes", together)
    kept = all(within_limits(counted, options.concurrency, options.delay) for counted in (alone, together))
    print(f"limits {'kept' if kept else 'EXCEEDED'}; throughput {after / before:.0%} of one process")
    return 0 if kept and after >= 0.9 * before else 1


def disturbed(server: Postgres, nodes: list[Path], url: str, options: argparse.Namespace) -> int:
    """Kill a process or the database while processes send requests. Return 0 if the limits were kept."""
    def disturb(senders: list[Process]) -> None:
        if options.kill:
            senders[0].kill()
        if options.outage:
            server.crash()
            time.sleep(options.outage)
            server.start()

    counted = asyncio.run(measure(nodes, url, options, disturb))
    report(f"{len(nodes)} processes", counted)
    kept = within_limits(counted, options.concurrency, options.delay)
    longest = max(late - early for early, late in zip(counted.at, counted.at[1:], strict=False))
    print(f"limits {'kept' if kept else 'EXCEEDED'}; no request for {longest:.1f} s at most")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
