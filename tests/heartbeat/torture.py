"""Hostile input for the port, seeded: the same seed sends the same bytes.

The long run is a program of its own:

    python -m tests.heartbeat.torture --inputs 1000000 --connects 400000

Each input is one connection's worth of bytes or one of several inputs on a connection; now and then an honest
client asks and must be answered, and the memory of the service must stay where it is. Before that, other processes
connect as fast as they can, ten thousand times a second and more, and say nothing, something or half of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import uvloop

from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.connections.listeners import ListenOptions
from pipeline.heartbeat.server import HeartbeatServer
from pipeline.heartbeat.snapshot.build import unreadable_snapshot
from pipeline.heartbeat.snapshot.schema import Snapshot

PER_CONNECTION = 32
HONEST_EVERY = 500
_WORDS = (b"ping", b"status", b"health", b"spider ", b"watch", b"help", b"token ", b"quit", b"GET ", b"POST ", b"HTTP/1.1",
          b"/", b"/healthz", b"/spiders/", b"/..%2f..%2f", b"Host: ", b"localhost", b"Content-Length: ", b"99999999999",
          b"-1", b"Transfer-Encoding: chunked", b"0\r\n\r\n", b"\r\n\r\n", b"\r\n", b"\n", b"\r", b"\0", b"\xff\xfe",
          b"\x16\x03\x01\x02\x00", b"Cookie: ", b"Authorization: Bearer ", b"Upgrade: websocket", b"Expect: 100-continue",
          b"\xe2\x80\xae", b"\x1b[2J", b"%00", b"?token=", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_METHODS = (b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"CONNECT", b"TRACE", b"PROPFIND")
_TARGETS = (b"/", b"/livez", b"/healthz", b"/status.json", b"/metrics", b"/enter", b"/?token=%ed%a0%80", b"/?token=%ff&token=%00",
            b"/spiders/%ed%b2%80/run", b"/runs/999999999999999999/events", b"/feed.atom?key=\xff", b"*", b"http://[::1/x", b"//evil",
            b"http://a:99x/", b"/%", b"/messages/1/retry", b"localhost:80", b"/\xf0\x9f\x92\xa9", b"http://u:p@h/livez")
_HEADERS = (b"Content-Type: application/x-www-form-urlencoded; charset=zlib", b"Content-Type: application/x-www-form-urlencoded",
            b"Content-Type: multipart/form-data", b"Content-Type: multipart/form-data; boundary=\xff", b"Content-Type: ;;;=",
            b"Content-Type: application/x-www-form-urlencoded; charset=\xed\xa0\x80", b"Content-Encoding: gzip",
            b"Content-Encoding: br, gzip", b"Content-Encoding: \xff", b"Content-Encoding: zstd", b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: chunked", b"Transfer-Encoding: zlib", b"Content-Length: 12", b"Content-Length: 0012",
            b"Content-Length: 99999999999999999999", b"Expect: 100-continue", b"Expect: the worst", b"Upgrade: websocket",
            b"Connection: Upgrade", b"Cookie: pipeline-x=\xff\xfe", b"Cookie: =;;a", b"Authorization: Bearer \xed\xa0\x80",
            b"Authorization: Bearer", b"Origin: http://[", b"Sec-Fetch-Site: cross-site", b"Accept: */*;q=x", b"Accept: \xff",
            b"Accept: application/openmetrics-text; version=\xb2", b"Range: bytes=0-", b"If-Modified-Since: never",
            b"Accept-Encoding: \xff;q=9", b"X-Forwarded-For: \xff")
_BODIES = (b"", b"token=+2AA-&proof=x", b"token=\xff\xfe", b"\x1f\x8b\x08\x00rubbish", b"--x\r\n\r\n", b"c\r\ntoken=%ff%fe\r\n0\r\n\r\n",
           b"ffffffffffffffff\r\n", b"\x28\xb5\x2f\xfd\x00", b"\x00" * 5000)


def inputs(seed: int, number: int) -> Iterator[bytes]:
    """Random bytes, random words of the dialects, and honest requests with bytes flipped in them."""
    chance = random.Random(seed)
    for _ in range(number):
        kind = chance.random()
        if kind < 0.3:
            yield chance.randbytes(chance.randrange(1, 200)) + chance.choice((b"", b"\n"))
        elif kind < 0.5:
            head = [b"%s %s HTTP/1.1" % (chance.choice(_METHODS), chance.choice(_TARGETS)), b"Host: localhost",
                    *chance.sample(_HEADERS, chance.randrange(5))]
            yield b"\r\n".join(head) + b"\r\n\r\n" + chance.choice(_BODIES)
        elif kind < 0.8:
            yield b"".join(chance.choices(_WORDS, k=chance.randrange(1, 12))) + chance.choice((b"", b"\n", b"\r\n\r\n"))
        else:
            request = bytearray(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n")
            for _ in range(chance.randrange(1, 6)):
                request[chance.randrange(len(request))] = chance.randrange(256)
            yield bytes(request)


@dataclass
class Report:
    inputs: int = 0
    connections: int = 0
    honest: int = 0
    slowest_s: float = 0.0
    longest_answer: int = 0


def assault(address: tuple[str, int], *, seed: int, number: int) -> Report:
    """Send `number` inputs, reading what comes back. Raises AssertionError when an honest client is not served."""
    report = Report()
    chance = random.Random(seed + 1)
    found = inputs(seed, number)
    while True:
        batch = list(islice(found, chance.randrange(1, PER_CONNECTION)))
        if not batch:
            return report
        report.inputs += len(batch)
        report.connections += 1
        _send(address, batch, chance, report)
        if report.inputs // HONEST_EVERY != (report.inputs - len(batch)) // HONEST_EVERY:
            began = time.monotonic()
            assert honest(address) == b"pong\n", f"after {report.inputs} inputs, seed {seed}"
            report.honest += 1
            report.slowest_s = max(report.slowest_s, time.monotonic() - began)


def _send(address: tuple[str, int], batch: list[bytes], chance: random.Random, report: Report) -> None:
    with socket.create_connection(address, 10) as sock, contextlib.suppress(OSError):
        if chance.random() < 0.05:  # leaves with a reset, whatever is under way
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(b"".join(batch))
            return
        for one in batch:
            sock.sendall(one)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(10)
        size = 0
        # A reset, or a connection that is closed already, is an answer like any other.
        while answer := sock.recv(65536):
            size += len(answer)
        report.longest_answer = max(report.longest_answer, size)


def honest(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, 10) as sock, sock.makefile("rb") as answers:
        sock.sendall(b"ping\n")
        return answers.readline()


@dataclass
class Flood:
    connects: int = 0
    seconds: float = 0.0
    honest: int = 0
    turned_away: int = 0
    slowest_s: float = 0.0


def flood(address: tuple[str, int], *, connects: int, processes: int = 1) -> Flood:
    """Connect from other processes as fast as they can, `connects` times in all; an honest client asks meanwhile.

    Raises AssertionError when that gets no answer, neither `pong` nor the word that the port is full.
    """
    report = Flood(connects=connects)
    program = Path(__file__).with_name("flood.py")
    crowd = [subprocess.Popen([sys.executable, program, *map(str, (*address, connects // processes, number))])
             for number in range(processes)]
    began = time.monotonic()
    while any(one.poll() is None for one in crowd):
        asked = time.monotonic()
        try:
            answer = honest(address)
        except ConnectionResetError:  # it was told that the port is full, and asked all the same
            answer = b""
        assert answer == b"pong\n" or not answer or b"try again later" in answer, answer
        report.turned_away += answer != b"pong\n"
        report.honest += answer == b"pong\n"
        report.slowest_s = max(report.slowest_s, time.monotonic() - asked)
        time.sleep(0.01)
    report.seconds = time.monotonic() - began
    assert all(one.returncode == 0 for one in crowd)
    return report


class Quiet:
    async def status(self) -> Snapshot:
        now = datetime.now(UTC)
        return unreadable_snapshot("", started_at=now, now=now, version="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--connects", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    loop = uvloop.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    heartbeat = HeartbeatServer(Quiet(), ListenOptions("127.0.0.1", 0), limits=ServerLimits(quiet_s=0.01, drain_s=0.1))
    asyncio.run_coroutine_threadsafe(heartbeat.start(), loop).result(10)
    assault(heartbeat.address, seed=options.seed - 1, number=min(20_000, options.inputs))  # caches fill up first
    before = _memory()
    found = flood(heartbeat.address, connects=options.connects, processes=2)
    print(f"{found.connects} connects in {found.seconds:.1f} s, {found.connects / found.seconds:.0f} a second; {found.honest} honest "
          f"questions answered, {found.turned_away} told to try again, slowest {found.slowest_s * 1000:.0f} ms, memory "
          f"{(_memory() - before) / 1e6:+.1f} MB", flush=True)
    began, done = time.monotonic(), 0
    while done < options.inputs:
        number = min(50_000, options.inputs - done)
        report = assault(heartbeat.address, seed=options.seed + done, number=number)
        done += report.inputs
        print(f"{done} inputs, {time.monotonic() - began:.0f} s, slowest honest answer {report.slowest_s * 1000:.0f} ms, "
              f"memory {(_memory() - before) / 1e6:+.1f} MB", flush=True)
    asyncio.run_coroutine_threadsafe(heartbeat.stop(), loop).result(20)
    grown = _memory() - before
    sys.exit(f"memory grew by {grown / 1e6:.0f} MB" if grown > 50e6 else 0)


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
