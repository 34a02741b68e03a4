"""The heartbeat of the real service at full load.

The load is two crawls, sixteen downloads and a digest of 20,000 changes at once.

    python -m benchmarks.heartbeat_load [--seconds 40]      goal: p99 under 20 ms, no answer missed

A client of its own process asks every 20 ms, each time over a new connection; a question that is not answered within
two seconds is missed. The site is a process, too, and so shares the cores with the service and its children.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.heartbeat import percentile
from tests.servers.ports import free_port
from tests.servers.program import Program, eventually

QUESTIONS = {
    "ping": b"ping\n", "health": b"health\n", "status": b"status\n",
    "/livez": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "/metrics": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"}
EVERY_S = 0.02
PATIENCE_S = 2.0
CHANGES = 20_000
ON_A_PAGE = 500
FILES = 16
BLOCK = bytes(256 * 1024)

CRAWL = """
[spiders.{name}]
start = "http://127.0.0.1:{site}{start}"
{schedule}
follow = ["a"]
concurrency = 8
robots = false
items.each = "li"
items.key = ["name"]
items.fields = {{ name = "b", price = "i" }}
"""
REST = """
[spiders.files]
start = "http://127.0.0.1:{site}/files"
schedule = "every 12h"
download = ["a"]
robots = false
downloads.workers = {files}
downloads.per_host = {files}
[digests.big]
spiders = ["big"]
to = ["me@localhost"]
attach = ["xlsx"]
"""


def settings(site: int) -> str:
    endless = 'schedule = "every 12h"'
    crawls = (("one", "/crawl/1/0", endless), ("two", "/crawl/2/0", endless), ("big", "/big/0", ""))
    return "".join(CRAWL.format(name=name, site=site, start=start, schedule=schedule)
                   for name, start, schedule in crawls) + REST.format(site=site, files=FILES)


def serve_site(pipe: Connection) -> None:
    """/crawl/N/PAGE goes on for ever; /big/PAGE has 20,000 items in all; /files links to files of half a gigabyte."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            try:
                while request := await reader.readuntil(b"\r\n\r\n"):
                    await respond(request.split()[1].decode(), writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                return

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def respond(path: str, writer: asyncio.StreamWriter) -> None:
    kind, _, rest = path[1:].partition("/")
    if kind == "file":
        blocks = 2048
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
                     % (blocks * len(BLOCK)))
        for _ in range(blocks):
            writer.write(BLOCK)
            await writer.drain()
        return
    if kind == "files":
        body = "".join(f"<a href=/file/{number}>{number}</a>" for number in range(FILES))
    else:
        name, number = kind + rest.rpartition("/")[0], int(rest.rpartition("/")[2])
        many = ON_A_PAGE if kind == "big" else 10
        body = "".join(f"<li><b>{name} {number * many + at}</b><i>{at}</i></li>" for at in range(many))
        if kind == "crawl":
            body += "".join(f"<a href=/crawl/{rest.partition('/')[0]}/{number * 4 + at}>on</a>" for at in range(1, 5))
        elif number + 1 < CHANGES // ON_A_PAGE:
            body += f"<a href=/big/{number + 1}>on</a>"
    text = body.encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
    await writer.drain()


def ask_all(port: int, pipe: Connection) -> None:
    """Ask until told to stop; sends the latencies (s) of each kind, and what was missed."""
    found: dict[str, list[float]] = {name: [] for name in QUESTIONS}
    missed: list[str] = []
    while not pipe.poll(EVERY_S):
        for name, question in QUESTIONS.items():
            began = time.perf_counter()
            try:
                with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
                    sock.sendall(question)
                    if not sock.recv(65536):
                        raise ConnectionError("closed without an answer")
            except OSError as error:
                missed.append(f"{name}: {error}")
            else:
                found[name].append(time.perf_counter() - began)
    pipe.send((found, missed))


def told(data: Path) -> bool:
    """Whether the digest has arrived."""
    return any((data / "mail" / "new").glob("*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0, help="at most, should the digest not be done by then")
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    site = multiprocessing.Process(target=serve_site, args=(theirs,), daemon=True)
    site.start()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(Path(folder), free_port())
        program.write("")
        text = (program.folder / "settings.toml").read_text("utf-8").replace("[pipeline]", "[pipeline]\nmax_runs = 4")
        (program.folder / "settings.toml").write_text(text + settings(ours.recv()), "utf-8")
        try:
            report(program, options.seconds)
        finally:
            program.close()
            site.kill()


def report(program: Program, seconds: float) -> None:
    program.serve()
    eventually(lambda: len(program.status()["runs"]) == 3 and program.status()["downloads"]["waiting"], within_s=30)
    ours, theirs = multiprocessing.Pipe()
    client = multiprocessing.Process(target=ask_all, args=(program.port, theirs), daemon=True)
    client.start()
    began = time.monotonic()
    token = (program.data / "heartbeat-token").read_text("ascii").strip()
    done = subprocess.run(["curl", "-s", "-X", "POST", "-H", f"Authorization: Bearer {token}",
                           f"http://127.0.0.1:{program.port}/spiders/big/run"], check=True, capture_output=True, text=True)
    assert not done.stdout.startswith("error"), done.stdout
    while not told(program.data) and time.monotonic() - began < seconds:
        time.sleep(0.2)
    digest_s = time.monotonic() - began
    status = program.status()
    ours.send(None)
    found, missed = ours.recv()
    print(f"{digest_s:.0f} s until the digest was {'sent' if told(program.data) else 'NOT sent'}; load {os.getloadavg()[0]:.1f}; "
          f"at work then: " + ", ".join(f"{run['spider']} {run['progress']['pages']} pages {run['progress']['download_bytes'] / 1e9:.1f} GB"
                                        for run in status["runs"]))
    print("\n| question | asked | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|")
    for name, values in [*found.items(), ("all", [value for each in found.values() for value in each])]:
        print(f"| {name} | {len(values)} | {percentile(values, .5) * 1000:.1f} | {percentile(values, .99) * 1000:.1f} | "
              f"{max(values, default=0) * 1000:.1f} |")
    print(f"\nmissed: {len(missed)} {missed[:3] or ''}; health says: {status['health']} {status['reasons'][:3]}")
    if "Traceback" in program.log():
        print(program.log(), file=sys.stderr)


if __name__ == "__main__":
    main()
