"""Compare downloads with curl, wget and aria2c.

Run it with `python -m benchmarks.downloads [--rounds 5] [--quick]`.

One GiB from nginx on loopback to tmpfs, plain and over TLS, ours with SHA-256, fsync and its record in the
store; what each idea for more speed gave; a thousand small files from a server that answers after 20 ms, and what
each step of one costs; memory of a big file beside a small one; the heartbeat's answers while 16 files come in.
All contenders take turns within each round, so that a slow hour hits all of them. CPU seconds tell most on a machine
that is never quiet: they are of the program alone, without the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import requests
import trustme

from pipeline.download import checksums
from pipeline.download.limits import MIB, DownloadLimits
from pipeline.download.pool import DownloadPool
from pipeline.download.response import body
from pipeline.download.scheduler import DownloadScheduler
from pipeline.download.storage import part_files
from pipeline.download.worker import DownloadWorker, SiteAccess
from pipeline.model import Download, Page
from pipeline.session.errors import translate
from pipeline.store.crawl import commit
from pipeline.store.open import open_store
from pipeline.store.runs import runs
from tests.servers.ports import free_port

Cost = tuple[float, float]
"""Seconds on the clock and of CPU."""

ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/nonexistent"}


def fetch_in_this_process(urls: list[str], folder: Path, workers: int, idea: str, ca: str) -> None:
    """What a run's process does once it is up; prints seconds, CPU seconds, peak and first RSS as JSON."""
    store = open_store(folder)
    now = datetime.now(UTC)
    claimed = runs.claim_slot(store, "bench", "1", due_at=now, reason="manual", now=now)
    assert claimed is not None
    run = runs.start_run(store, claimed.id, owner="bench", now=now, limit=1)
    assert run is not None
    commit.commit_pages(store, run, [Page("http://x/", 200, now, downloads=tuple(Download(url) for url in urls))], now=now)

    def client() -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        if ca:
            session.verify = ca
        return session

    limits = DownloadLimits(chunk_bytes=try_idea(idea), keep_free_bytes=0, workers=workers)
    idle = _status_kb("VmRSS")
    started_s, cpu_s = time.perf_counter(), _cpu_s()
    made = DownloadPool(store, run, SiteAccess(client, translate), limits)
    made.start()
    made.drain()
    took_s = time.perf_counter() - started_s
    figures = made.figures()
    assert figures.done == len(urls), (figures, made.fatal)
    print(json.dumps({"s": took_s, "cpu_s": _cpu_s() - cpu_s, "peak_kb": _status_kb("VmHWM"), "idle_kb": idle,
                      "steps": STEPS.shares() if idea == "steps" else {}}))


IDEAS = {
    "": "ours",
    "64": "chunks of 64 KiB", "256": "chunks of 256 KiB", "4096": "chunks of 4 MiB",
    "inline": "hashed in the same thread",
    "read1": "through urllib3, a bytes object a chunk",
    "rcvbuf": "SO_RCVBUF of 4 MiB",
    "nosync": "no fsync at all",
    "nohash": "no SHA-256 at all",
}


def try_idea(idea: str) -> int | None:
    """Change this process for an idea; the size of its chunks, None for the usual one."""
    if idea.isdigit():
        return int(idea) * 1024
    if idea == "inline":
        checksums._ALONE_BYTES = 2**60
    elif idea in ("read1", "rcvbuf"):
        made = body.Body.__init__

        def changed(self: body.Body, response: requests.Response, **options: Any) -> None:
            made(self, response, **options)
            if idea == "read1":
                self._plain = None
            else:
                connection = socket.socket(fileno=os.dup(response.raw.fileno()))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
                connection.close()

        body.Body.__init__ = changed  # type: ignore[method-assign]
    elif idea == "nosync":
        part_files.PartFile.sync = lambda self: setattr(self, "synced", self.size)  # type: ignore[method-assign]
    elif idea == "nohash":
        checksums.Hasher.update = lambda self, buffer, count: self._buffers.give(buffer)  # type: ignore[method-assign]
    elif idea == "steps":
        STEPS.watch()
    return None


class Steps:
    """CPU seconds of each step of a download, in all threads, by Python's own profiler."""

    FUNCTIONS: ClassVar = {
        "request.py:request_file": "asking, with requests", "transfer.py:_receive_body": "receiving, writing, hashing",
        "download_folder.py:create_part": "a new part", "part_files.py:sync": "fsync of the part",
        "download_folder.py:finish": "its final name, fsync of the folder", "filenames.py:choose": "a safe name",
        "download_queue.py:take": "store: leasing rows", "download_queue.py:record": "store: recording files",
        "download_folder.py:remove_part": "removing the part's own name"}

    def __init__(self) -> None:
        self._profiles: list[cProfile.Profile] = []

    def watch(self) -> None:
        for thread in (DownloadScheduler, DownloadWorker):
            thread.run = self._watched(thread.run)  # type: ignore[attr-defined]

    def _watched(self, target: Callable[[Any], None]) -> Callable[[Any], None]:
        def watched(thread: Any) -> None:
            profile = cProfile.Profile(time.thread_time)
            self._profiles.append(profile)
            profile.runcall(target, thread)
        return watched

    def shares(self) -> dict[str, float]:
        """Each step's share of all CPU time."""
        total, found = 0.0, Counter[str]()
        for profile in self._profiles:
            stats: Any = pstats.Stats(profile)
            total += stats.total_tt
            for (file, _, name), (_, _, _, cumulative, _) in stats.stats.items():
                if (step := self.FUNCTIONS.get(f"{Path(file).name}:{name}")) and "pipeline" in file:
                    found[step] += cumulative
        return {step: seconds / total for step, seconds in found.most_common()}


STEPS = Steps()


def _cpu_s(whose: int = resource.RUSAGE_SELF) -> float:
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


def _status_kb(name: str) -> int:
    # ru_maxrss remembers the parent's size through fork and exec; this does not.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise LookupError(name)


def ours(urls: list[str], folder: Path, *, workers: int = 1, idea: str = "", ca: str = "") -> dict[str, Any]:
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.downloads", "--fetch", str(place), str(workers), idea, ca],
            input="\n".join(urls), capture_output=True, text=True, check=True)
        result: dict[str, Any] = json.loads(found.stdout)
        return result
    finally:
        shutil.rmtree(place)


def cost(result: dict[str, Any]) -> Cost:
    return result["s"], result["cpu_s"]


def timed(command: str, folder: Path) -> Cost:
    """What a shell command takes in a folder of its own, in a clean environment."""
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        started_s, cpu_s = time.perf_counter(), _cpu_s(resource.RUSAGE_CHILDREN)
        subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=place, check=True, env=ENVIRONMENT,
                       capture_output=True)
        return time.perf_counter() - started_s, _cpu_s(resource.RUSAGE_CHILDREN) - cpu_s
    finally:
        shutil.rmtree(place)


@contextmanager
def nginx(root: Path, ca: trustme.CA) -> Iterator[tuple[str, str]]:
    """nginx serving `root`/www over http and https; yields both base URLs."""
    plain, tls = free_port(), free_port()
    certificate = ca.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(root / "server.pem")
    temporary = "".join(f"{kind}_temp_path {root}/t-{kind};" for kind in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (root / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {root}/pid; error_log stderr crit; events {{}}
        http {{ access_log off; sendfile on; {temporary}
          server {{ listen 127.0.0.1:{plain}; root {root}/www; }}
          server {{ listen 127.0.0.1:{tls} ssl; root {root}/www;
                    ssl_certificate {root}/server.pem; ssl_certificate_key {root}/server.pem; }} }}""")
    with _process(["nginx", "-c", str(root / "nginx.conf"), "-p", str(root)], plain):
        yield f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}"


@contextmanager
def _process(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(3000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        else:
            raise TimeoutError(f"{command[0]} does not answer")
        yield
    finally:
        process.terminate()
        process.wait()


def serve_small(port: int, delay_s: float) -> None:
    """100 kB for any path, after a delay, keep-alive."""
    body = os.urandom(100_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 100000\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                if delay_s:
                    await asyncio.sleep(delay_s)
                writer.write(head + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=256)
        await server.serve_forever()

    asyncio.run(main())


def compare(title: str, rounds: int, contenders: dict[str, Callable[[], Cost]], against: str = "ours") -> None:
    """Take turns; print seconds, how many times longer than ours each took (min, median, max by round), and CPU seconds."""
    took: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            took[name].append(run())
    print(f"\n{title} ({rounds} rounds, load {os.getloadavg()[0]:.0f})")
    for name, costs in took.items():
        ratios = sorted(theirs / mine for (theirs, _), (mine, _) in zip(costs, took[against], strict=True))
        seconds = [each for each, _ in costs]
        print(f"  {name:40s} {min(seconds):6.2f} / {statistics.median(seconds):6.2f} / {max(seconds):6.2f} s"
              f"   / {against}: {ratios[0]:5.2f} / {statistics.median(ratios):5.2f} / {ratios[-1]:5.2f}"
              f"   CPU {statistics.median(cpu for _, cpu in costs):5.2f} s")


def have(program: str) -> bool:
    found = shutil.which(program) is not None
    if not found:
        print(f"({program} is not installed: left out)")
    return found


def big_files(root: Path, size: int, rounds: int) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(root / "ca.pem")
    authority = str(root / "ca.pem")
    with nginx(root, ca) as (plain, tls):
        url, secure = f"{plain}/big.bin", f"{tls}/big.bin"
        contenders: dict[str, Callable[[], Cost]] = {
            "ours": lambda: cost(ours([url], root)), "curl": lambda: timed(f"curl -sfo out {url}", root)}
        if have("wget"):
            contenders["wget"] = lambda: timed(f"wget -qO out {url}", root)
        if have("aria2c"):
            contenders["aria2c -x1"] = lambda: timed(f"aria2c -q -x1 --file-allocation=none {url}", root)
        compare(f"plain HTTP, {size / 2**30:g} GiB to tmpfs; ours with SHA-256", rounds, contenders)
        compare(f"HTTPS, {size / 2**30:g} GiB to tmpfs; ours with SHA-256", rounds, {
            "ours": lambda: cost(ours([secure], root, ca=authority)),
            "curl | tee | sha256sum": lambda: timed(f"curl -sf --cacert {authority} {secure} | tee out | sha256sum", root),
            "curl": lambda: timed(f"curl -sfo out --cacert {authority} {secure}", root)})
        memory(root, plain)


def ideas(root: Path, rounds: int) -> None:
    """What each idea gives or costs, on 256 MiB over plain HTTP and over TLS."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(root / "ca.pem")
    urls = [f"/part.bin?{number}" for number in range(4)]
    with nginx(root, ca) as (plain, tls):
        for title, base, authority in (("plain HTTP", plain, ""), ("HTTPS", tls, str(root / "ca.pem"))):
            compare(f"ideas, 4 x 64 MiB over {title}, one after the other", rounds, {
                name: partial(_idea, [base + url for url in urls], root, idea, authority) for idea, name in IDEAS.items()})


def _idea(urls: list[str], root: Path, idea: str, ca: str) -> Cost:
    return cost(ours(urls, root, idea=idea, ca=ca))


def memory(root: Path, plain: str) -> None:
    small = ours([f"{plain}/small.bin"], root)
    big = ours([f"{plain}/big.bin"], root)
    many = ours([f"{plain}/part.bin?{number}" for number in range(16)], root, workers=16)
    print("\nmemory (peak resident, MB)")
    print(f"  idle {small['idle_kb'] / 1000:.1f}; 1 MB {small['peak_kb'] / 1000:.1f}; big file {big['peak_kb'] / 1000:.1f}"
          f"; 16 files of 64 MiB at once {many['peak_kb'] / 1000:.1f}")
    print(f"  big file above 1 MB: {(big['peak_kb'] - small['peak_kb']) / 1000:.1f} (goal: under 40); "
          f"16 at once above idle: {(many['peak_kb'] - many['idle_kb']) / 1000:.1f} (goal: under 40)")


def small_files(root: Path, count: int, rounds: int) -> None:
    for delay_s in (0.02, 0.0):
        port = free_port()
        serve = [sys.executable, "-c", f"from benchmarks.downloads import serve_small; serve_small({port}, {delay_s})"]
        with _process(serve, port):
            urls = [f"http://127.0.0.1:{port}/{number}.bin" for number in range(count)]
            (root / "urls").write_text("\n".join(urls))
            contenders: dict[str, Callable[[], Cost]] = {
                "ours, 16 at once": lambda urls=urls: cost(ours(urls, root, workers=16))}
            if have("wget"):
                contenders["wget -i"] = lambda: timed(f"wget -qi {root}/urls", root)
            if have("aria2c"):
                contenders["aria2c -j16"] = lambda: timed(f"aria2c -q -j16 --file-allocation=none -i {root}/urls", root)
            compare(f"{count} files of 100 kB, answered after {delay_s * 1000:g} ms", rounds, contenders,
                    against="ours, 16 at once")
            if not delay_s:
                print(f"  {count / min(ours(urls, root, workers=16)['s'] for _ in range(2)):.0f} files/s; of the CPU time:")
                for step, share in ours(urls, root, workers=16, idea="steps")["steps"].items():
                    print(f"    {share:6.1%}  {step}")


BIG_FILES = 100
"""Of 64 MiB each, while the heartbeat is asked: what fits into a tmpfs."""
HEARTBEAT = """
[pipeline]
keep_free = "1MB"
[heartbeat]
port = {port}
[spiders.big]
start = "{base}/index.html"
download = ["a"]
robots = false
schedule = "every 1h"
[spiders.big.downloads]
workers = 16
"""


def heartbeat_meanwhile(root: Path, *, questions: int = 1500) -> None:
    """How long the heartbeat takes to answer while a run of its service fetches 16 files at a time."""
    ca = trustme.CA()
    (root / "www" / "index.html").write_text("".join(f"<a href='part.bin?{number}'>x</a>" for number in range(BIG_FILES)))
    folder = root / "service"
    folder.mkdir()
    with nginx(root, ca) as (plain, _):
        port = free_port()
        (folder / "settings.toml").write_text(HEARTBEAT.format(port=port, base=plain))
        with _process([sys.executable, "-m", "pipeline", "serve", "--settings", str(folder / "settings.toml")], port):
            subprocess.run([sys.executable, "-m", "pipeline", "ping"], cwd=folder, check=True, capture_output=True)
            idle = _ask_on_and_on(port, questions // 4)
            store = open_store(folder / "var", migrate=False)
            now = datetime.now(UTC)
            assert runs.claim_slot(store, "big", "bench", due_at=now, reason="manual", now=now)
            deadline = time.monotonic() + 30
            while b" 16 under way" not in _answer(port, b"downloads") and time.monotonic() < deadline:
                time.sleep(0.05)
            busy = _ask_on_and_on(port, questions)
            under_way = _answer(port, b"downloads").split(b";")[1].decode().strip()
            store.close()
    shutil.rmtree(folder)
    print(f"\nheartbeat, {questions} questions, one after the other, half `ping` and half `status`; load {os.getloadavg()[0]:.0f}")
    for name, times in (("nothing else at work", idle), (f"then: {under_way}", busy)):
        found = sorted(times)
        print(f"  {name}: p50 {found[len(found) // 2] * 1e3:.1f} ms, p99 {found[int(len(found) * 0.99)] * 1e3:.1f} ms,"
              f" max {found[-1] * 1e3:.1f} ms (goal: p99 under 20)")


def _ask_on_and_on(port: int, count: int) -> list[float]:
    took = []
    with socket.create_connection(("127.0.0.1", port), 10) as connection, connection.makefile("rwb") as lines:
        for number in range(count):
            started_s = time.perf_counter()
            lines.write(b"status\n" if number % 2 else b"ping\n")
            lines.flush()
            assert lines.readline()
            took.append(time.perf_counter() - started_s)
            time.sleep(0.002)
    return took


def _answer(port: int, word: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(word + b"\nquit\n")
        return connection.makefile("rb").readline()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the size, one round")
    parser.add_argument("--only", choices=("big", "ideas", "small", "heartbeat"), help="one part of it")
    parser.add_argument("--fetch", nargs=4, metavar=("FOLDER", "WORKERS", "IDEA", "CA"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fetch:
        folder, workers, idea, ca = given.fetch
        fetch_in_this_process(sys.stdin.read().split(), Path(folder), int(workers), idea, ca)
        return
    rounds, size, count = (1, 64 * MIB, 100) if given.quick else (given.rounds, 1024 * MIB, 1000)
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as name:
        root = Path(name)
        (root / "www").mkdir()
        block = os.urandom(MIB)
        for file, blocks in (("big.bin", size // MIB), ("part.bin", 64), ("small.bin", 1)):
            with (root / "www" / file).open("wb") as out:
                for _ in range(blocks):
                    out.write(block)
        parts: dict[str, Callable[[], None]] = {
            "big": lambda: big_files(root, size, rounds), "ideas": lambda: ideas(root, rounds),
            "small": lambda: small_files(root, count, max(1, rounds - 2)), "heartbeat": lambda: heartbeat_meanwhile(root)}
        if shutil.which("nginx") is None:
            print("nginx is not installed: only the small files are measured")
            parts = {"small": parts["small"]}
        for part, measure in parts.items():
            if given.only in (None, part):
                measure()


if __name__ == "__main__":
    main()
