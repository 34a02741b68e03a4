"""Compare the heartbeat with the course's timestamp server; kept and idle connections.

The course's server takes one connection at a time, answers one line and closes. Both run in processes of their own;
both are asked by the same clients, processes of their own, too. Prints tables of Markdown.

    python -m benchmarks.heartbeat [--seconds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import selectors
import socket
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.connections.listeners import ListenOptions
from pipeline.heartbeat.server import HeartbeatServer
from pipeline.heartbeat.snapshot.build import unreadable_snapshot
from pipeline.heartbeat.snapshot.schema import Snapshot

HOST = "127.0.0.1"
ASKED = b"hello\n"
IP_BIND_ADDRESS_NO_PORT = 24  # ip(7)


def serve_course(pipe: Connection) -> None:
    """The seed course's server: accept, read, answer `[time] text`, close."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, 0))
        listening.listen(128)
        pipe.send(listening.getsockname()[1])
        while True:
            client, _ = listening.accept()
            with client:
                data = client.recv(1024)
                if data:
                    client.send(f"[{time.ctime()}] {data.decode()}".encode())


def serve_ours(pipe: Connection) -> None:
    """Our heartbeat with an empty status, many connections allowed, on the loop the service has."""
    async def main() -> None:
        heartbeat = HeartbeatServer(Empty(), ListenOptions(HOST, 0), limits=ServerLimits(connections=60_000))
        await heartbeat.start()
        pipe.send(heartbeat.address[1])
        await asyncio.Event().wait()

    _allow_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


class Empty:
    """A service with nothing to do."""

    async def status(self) -> Snapshot:
        now = datetime.now(UTC)
        return unreadable_snapshot("", started_at=now, now=now, version="")


def _allow_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65_536, hard))


class Server:
    def __init__(self, target) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=target, args=(theirs,), daemon=True)
        self.process.start()
        self.port = ours.recv()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()

    def memory_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


def questions(port: int, clients: int, seconds: float) -> tuple[float, list[float], int]:
    """`clients` at once, each: connect, one line, its answer, close. Questions/s, latencies (s), failures."""
    found = selectors.DefaultSelector()
    latencies: list[float] = []
    failures = asked = 0
    began = time.monotonic()

    def ask() -> None:
        nonlocal asked
        sock = socket.socket()
        sock.setblocking(False)
        # Whoever closes first keeps the port for a while: with one source address they run out.
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.0.1.{1 + asked % 200}", 0))
        asked += 1
        sock.connect_ex((HOST, port))
        found.register(sock, selectors.EVENT_WRITE, time.perf_counter())

    for _ in range(clients):
        ask()
    while (now := time.monotonic()) - began < seconds:
        for key, event in found.select(0.5):
            sock = key.fileobj
            try:
                if event & selectors.EVENT_WRITE:
                    sock.send(ASKED)
                    found.modify(sock, selectors.EVENT_READ, key.data)
                    continue
                answered = sock.recv(4096).endswith(b"hello\n")
            except OSError:
                answered = False
            if answered:
                latencies.append(time.perf_counter() - key.data)
            else:
                failures += 1
            found.unregister(sock)
            sock.close()
            ask()
    for key in list(found.get_map().values()):
        key.fileobj.close()
    return len(latencies) / (now - began), latencies, failures


def kept_lines(port: int, connections: int, seconds: float, batch: int, pipe: Connection) -> None:
    """Over kept connections, `batch` lines at a time: how many were answered."""
    found = selectors.DefaultSelector()
    question = ASKED * batch
    for _ in range(connections):
        sock = socket.create_connection((HOST, port))
        found.register(sock, selectors.EVENT_READ)
        sock.sendall(question)
    answered = {key.fileobj: 0 for key in found.get_map().values()}
    lines, began = 0, time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        for key, _ in found.select(0.5):
            number = key.fileobj.recv(1 << 18).count(b"\n")
            lines += number
            answered[key.fileobj] += number
            if answered[key.fileobj] >= batch:
                answered[key.fileobj] -= batch
                key.fileobj.sendall(question)
    pipe.send(lines / (now - began))


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def beside_the_course(seconds: float) -> None:
    """In slices of half a second, one server's after the other's, so that both have the same neighbours."""
    print("## One question a connection, 64 clients at once: min / median / max of the slices\n")
    print("| server | questions/s | beside the course's | p50 ms | p99 ms | server CPU µs | client CPU µs | failures |")
    print("|---|---|---|---|---|---|---|---|")
    names = ("the course's", "heartbeat")
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    with Server(serve_course) as course, Server(serve_ours) as ours:
        for server in (course, ours):
            questions(server.port, 64, 0.5)
        for _ in range(max(3, int(seconds * 2))):
            for name, server in zip(names, (course, ours), strict=True):
                before, client = server.cpu_s(), time.process_time()
                rate, latencies, failures = questions(server.port, 64, 0.5)
                asked = max(1, len(latencies)) / 1e6
                found[name].append((rate, percentile(latencies, .5) * 1000, percentile(latencies, .99) * 1000,
                                    (server.cpu_s() - before) / asked, (time.process_time() - client) / asked, failures))
    for name in names:
        rates, *others, failed = zip(*found[name], strict=True)
        ratios = [rate / beside[0] for rate, beside in zip(rates, found[names[0]], strict=True)]
        print(f"| {name} | {spread(rates, 0)} | {spread(ratios, 2)} | "
              + " | ".join(spread(values, 1) for values in others) + f" | {sum(failed):.0f} |")


def spread(values: Sequence[float], digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def on_kept_connections(seconds: float) -> None:
    print("\n## Kept connections (goal: 20,000 lines/s on one core)\n")
    print("| connections | lines at a time | lines/s | server CPU | lines per CPU s |\n|---|---|---|---|---|")
    for connections, batch in ((64, 1), (64, 16), (8, 128)):
        with Server(serve_ours) as server:
            ours, theirs = multiprocessing.Pipe()
            before = server.cpu_s()
            client = multiprocessing.Process(target=kept_lines, args=(server.port, connections, seconds, batch, theirs))
            client.start()
            rate = ours.recv()
            client.join()
            cpu = server.cpu_s() - before
            print(f"| {connections} | {batch} | {rate:.0f} | {cpu / seconds:.0%} | {rate * seconds / max(cpu, .01):.0f} |")


def idle(number: int) -> None:
    print(f"\n## {number} idle connections (goal: under 150 MB, new ones under 50 ms)\n")
    _allow_files()
    with Server(serve_ours) as server:
        empty = server.memory_bytes()
        # A source address of its own for every 20,000: ports are not endless.
        opened = [socket.create_connection((HOST, server.port), 20, (f"127.0.1.{1 + count // 20_000}", 0))
                  for count in range(number)]
        for sock in opened[::100]:  # all are accepted once the last ones answer
            sock.sendall(ASKED)
            sock.recv(100)
        latencies = []
        for _ in range(200):
            began = time.perf_counter()
            with socket.create_connection((HOST, server.port), 20) as sock:
                sock.sendall(ASKED)
                sock.recv(100)
            latencies.append(time.perf_counter() - began)
        memory = server.memory_bytes()
        for sock in opened:
            sock.close()
    print(f"memory {memory / 1e6:.0f} MB (without them {empty / 1e6:.0f} MB); a new connection's answer: "
          f"p50 {percentile(latencies, .5) * 1000:.1f} ms, p99 {percentile(latencies, .99) * 1000:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections")
    options = parser.parse_args()
    beside_the_course(options.seconds)
    on_kept_connections(options.seconds)
    idle(options.idle)


if __name__ == "__main__":
    main()
