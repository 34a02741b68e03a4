"""WARC records: what one archived page costs at each level of compression.

Measured alone and beside a busy event loop.

    python -m benchmarks.libraries.archive_records

A page is 30 KB of HTML with the headers of a real site, plain or as gzip; a page that did not change becomes a revisit record. CPU is that of
the process. "beside" runs the writer in a thread while the main thread computes in steps of 0.2 ms, as a crawl does between its system calls:
its own loss is the price that a crawl pays.
"""

from __future__ import annotations

import gzip
import os
import statistics
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from pipeline.archive.format.redaction import Redaction
from pipeline.archive.writing.segment import SegmentWriter
from pipeline.model import Exchange

PAGES, BATCH, ROUNDS = 2000, 50, 3
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
WORDS = Path(__file__).read_text().split()
REQUEST = tuple((name, b"x" * 40) for name in (b"Host", b"User-Agent", b"Accept", b"Accept-Language", b"Accept-Encoding", b"Cookie", b"Referer"))
RESPONSE = ((b"Content-Type", b"text/html; charset=utf-8"), (b"Date", b"Mon, 30 Nov 2026 12:00:00 GMT"), (b"Set-Cookie", b"sid=c0ffee; Path=/"),
            *((b"X-Header-%d" % number, b"v" * 30) for number in range(12)))


def page(number: int, *, is_gzip: bool, revisit: bool) -> Exchange:
    seed = 0 if revisit else number
    html = " ".join(f"<p class='c{(seed + at) % 97}'>{WORDS[(seed * 31 + at * 7) % len(WORDS)]}{seed % 13}" for at in range(1250)).encode()[:30_000]
    return Exchange(f"https://books.example/page/{0 if revisit else number}?q=1", NOW, "GET", REQUEST, b"", 200, b"OK",
                    (*RESPONSE, (b"Content-Encoding", b"gzip")) if is_gzip else RESPONSE, gzip.compress(html, 6) if is_gzip else html, address="192.0.2.1")


def write(pages: list[Exchange], level: int, redaction: Redaction) -> tuple[float, float, int]:
    """Return wall time and CPU per page in µs, and bytes per page."""
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(Path(folder), "books", run_id=1, redaction=redaction, level=level)
        wall, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(pages), BATCH):
            writer.write([[each] for each in pages[start:start + BATCH]], NOW)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        [closed] = writer.close()
        return wall / len(pages) * 1e6, cpu / len(pages) * 1e6, closed.size_bytes // len(pages)


def beside(pages: list[Exchange], level: int, redaction: Redaction) -> tuple[float, float]:
    """Return by how much the main thread is slower for each page, in µs, and the time for a page."""
    def step() -> None:
        sum(range(9000))
        os.stat("/")  # a system call, at which the interpreter may change the thread

    def steps(until: threading.Event, at_least: int = 0) -> tuple[int, float]:
        begun, done = time.perf_counter(), 0
        while not until.is_set() or done < at_least:
            step()
            done += 1
        return done, time.perf_counter() - begun

    ended = threading.Event()
    ended.set()
    done, alone = steps(ended, 3000)
    result: list[float] = []
    ended = threading.Event()

    def work() -> None:
        result.append(write(pages, level, redaction)[0])
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    busy, wall = steps(ended)
    thread.join()
    return (wall - busy * alone / done) / len(pages) * 1e6, result[0]


def main() -> None:
    secrets = [f"a-secret-of-{number}-characters" for number in range(10)]
    print(f"{'':24}{'level':>6}{'µs':>8}{'CPU µs':>8}{'bytes':>8}{'beside: loss µs':>18}{'µs':>8}")
    for name, is_gzip, revisit, redaction in (("plain", False, False, Redaction()), ("gzip", True, False, Redaction()),
                                              ("gzip, 10 secrets", True, False, Redaction(secrets=secrets)), ("revisit", False, True, Redaction())):
        pages = [page(number, is_gzip=is_gzip, revisit=revisit) for number in range(PAGES)]
        for level in (1, 3, 6, 9) if name in {"plain", "gzip"} else (1,):
            runs = [write(pages, level, redaction) for _ in range(ROUNDS)]
            loss, wall = beside(pages, level, redaction)
            print(f"{name:24}{level:>6}{statistics.median(run[0] for run in runs):>8.0f}{statistics.median(run[1] for run in runs):>8.0f}"
                  f"{runs[0][2]:>8}{loss:>18.0f}{wall:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
