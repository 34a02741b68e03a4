"""Loop lag and memory of the service while clients send compressed bodies on 500 connections.

    python -m benchmarks.heartbeat_bodies [--connections 500] [--seconds 5]

A process of its own opens the connections and sends, on each route in turn, a body that inflates to 1 GB; a
connection that is closed is opened again. A task in the service's loop wakes up every millisecond: how late it is, and how much
CPU time the loop took in between, which a busy machine does not change.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import gzip
import multiprocessing
import resource
import socket
import time
import zlib
from pathlib import Path

import brotli
import uvloop

from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.connections.listeners import ListenOptions
from pipeline.heartbeat.server import HeartbeatServer
from tests.heartbeat.http.test_request_bodies import FORM, ROUTES, zstd
from tests.heartbeat.torture import Quiet


def bombs() -> dict[str, bytes]:
    """Each inflates to 1 GB, but for the last, which nobody would inflate."""
    zeros = bytes(2**30)
    return {"gzip": gzip.compress(zeros, 6), "deflate": zlib.compress(zeros, 6), "br": brotli.compress(zeros, quality=3, lgwin=24),
            "zstd": zstd.compress(zeros), "identity": zeros[:1_000_000]}


def strangers(address: tuple[str, int], coding: str, body: bytes, connections: int, seconds: float) -> None:
    asyncio.run(_strangers(address, coding, body, connections, seconds))


async def _strangers(address: tuple[str, int], coding: str, body: bytes, connections: int, seconds: float) -> None:
    async with asyncio.timeout(seconds + 10):
        ends = time.monotonic() + seconds
        await asyncio.gather(*(_stranger(address, coding, body, number, ends) for number in range(connections)))


async def _stranger(address: tuple[str, int], coding: str, body: bytes, number: int, ends: float) -> None:
    while time.monotonic() < ends:
        for method in ("POST", "GET"):
            path = ROUTES[number % len(ROUTES)]
            number += 1
            head = (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Encoding: {coding}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n").encode()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(max(0.1, ends - time.monotonic())):
                    reader, writer = await asyncio.open_connection(*address)
                    try:
                        writer.write(head + body)
                        while await reader.read(65536):
                            pass
                    finally:
                        writer.transport.abort()


async def measured(connections: int, seconds: float) -> None:
    heartbeat = HeartbeatServer(Quiet(), ListenOptions("127.0.0.1", 0), limits=ServerLimits(connections=connections + 12))
    await heartbeat.start()
    gc.freeze()  # as the service does
    print(f"{connections} connections, {seconds:g} s each\n\n| coding | bytes sent | inflated | longest lag | 99th percentile "
          "| longest turn, CPU time | CPU | memory |\n|---|---|---|---|---|---|---|---|")
    for coding, body in bombs().items():
        lags: list[float] = []
        turns: list[float] = []
        memory, cpu = _memory(), time.process_time()
        crowd = multiprocessing.get_context("spawn").Process(
            target=strangers, args=(heartbeat.address, coding, body, connections, seconds))
        crowd.start()
        while crowd.is_alive():
            before, busy = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            turns.append(time.thread_time() - busy)
            lags.append(time.perf_counter() - before - 0.001)
        lags.sort()
        print(f"| {coding} | {len(body):,} | {2**30 if coding != 'identity' else len(body):,} | {lags[-1] * 1000:.1f} ms | "
              f"{lags[-len(lags) // 100] * 1000:.1f} ms | {max(turns) * 1000:.1f} ms | {time.process_time() - cpu:.1f} s | {(_memory() - memory) / 1e6:+.1f} MB |",
              flush=True)
        with socket.create_connection(heartbeat.address, 10) as sock:
            sock.sendall(b"ping\n")
            assert await asyncio.to_thread(sock.recv, 100) == b"pong\n"
    await heartbeat.stop()


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    uvloop.run(measured(options.connections, options.seconds))


if __name__ == "__main__":
    main()
