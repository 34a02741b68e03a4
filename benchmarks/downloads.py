"""Downloads beside curl, wget and aria2c: `python -m benchmarks.downloads [--rounds 5] [--quick]`.

One GiB from nginx on loopback to tmpfs, plain and over TLS, ours with SHA-256, fsync and its record in the
store; a thousand small files from a server that answers after 20 ms; memory of a big file beside a small one.
All contenders take turns within each round, so that a slow hour hits all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import requests
import trustme

from pipeline.download.limits import MIB, Limits
from pipeline.download.workers import Downloads
from pipeline.model import Download, Page
from pipeline.session.faults import translate
from pipeline.store import crawl, runs
from pipeline.store.engine import open_store

ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/nonexistent"}


def fetch_in_this_process(urls: list[str], folder: Path, workers: int, chunk_bytes: int, ca: str) -> None:
    """What a run's process does once it is up; prints seconds, CPU seconds, peak and first RSS as JSON."""
    store = open_store(folder)
    now = datetime.now(UTC)
    claimed = runs.claim_slot(store, "bench", "1", due_at=now, reason="manual", now=now)
    assert claimed is not None
    run = runs.start_run(store, claimed.id, owner="bench", now=now, limit=1)
    assert run is not None
    crawl.commit_pages(store, run, [Page("http://x/", 200, now, downloads=tuple(Download(url) for url in urls))], now=now)

    def client() -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        if ca:
            session.verify = ca
        return session

    limits = Limits(chunk_bytes=chunk_bytes or None, keep_free_bytes=0)
    idle = _status_kb("VmRSS")
    started_s, cpu_s = time.perf_counter(), _cpu_s()
    made = Downloads(store, run, client=client, translate=translate, limits=limits, workers=workers, owner="bench",
                     on_change=lambda: None)
    made.start()
    made.drain()
    took_s = time.perf_counter() - started_s
    figures = made.figures()
    assert figures.done == len(urls), (figures, made.fatal)
    print(json.dumps({"s": took_s, "cpu_s": _cpu_s() - cpu_s, "peak_kb": _status_kb("VmHWM"), "idle_kb": idle}))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _status_kb(name: str) -> int:
    # ru_maxrss remembers the parent's size through fork and exec; this does not.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise LookupError(name)


def ours(urls: list[str], folder: Path, *, workers: int = 1, chunk_bytes: int = 256 * 1024, ca: str = "") -> dict[str, float]:
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.downloads", "--fetch", str(place), str(workers), str(chunk_bytes), ca],
            input="\n".join(urls), capture_output=True, text=True, check=True)
        result: dict[str, float] = json.loads(found.stdout)
        return result
    finally:
        shutil.rmtree(place)


def timed(command: str, folder: Path) -> float:
    """Wall seconds of a shell command in a folder of its own, in a clean environment."""
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        started_s = time.perf_counter()
        subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=place, check=True, env=ENVIRONMENT,
                       capture_output=True)
        return time.perf_counter() - started_s
    finally:
        shutil.rmtree(place)


@contextmanager
def nginx(root: Path, ca: trustme.CA) -> Iterator[tuple[str, str]]:
    """nginx serving `root`/www over http and https; yields both base URLs."""
    plain, tls = _free_port(), _free_port()
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
        for _ in range(500):
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


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


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


def compare(title: str, rounds: int, contenders: dict[str, Callable[[], float]], against: str = "ours") -> None:
    """Take turns; print seconds and how many times longer than ours each took (min, median, max by round)."""
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            took[name].append(run())
    print(f"\n{title} ({rounds} rounds)")
    for name, seconds in took.items():
        ratios = sorted(theirs / mine for theirs, mine in zip(seconds, took[against], strict=True))
        print(f"  {name:34s} {min(seconds):6.2f} / {statistics.median(seconds):6.2f} / {max(seconds):6.2f} s"
              f"   / {against}: {ratios[0]:5.2f} / {statistics.median(ratios):5.2f} / {ratios[-1]:5.2f}")


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
        cpu: list[float] = []

        def measured() -> float:
            result = ours([url], root)
            cpu.append(result["cpu_s"])
            return result["s"]

        contenders: dict[str, Callable[[], float]] = {
            "ours": measured, "curl": lambda: timed(f"curl -sfo out {url}", root)}
        contenders |= {f"ours, chunks of {kib} KiB": (lambda kib=kib: ours([url], root, chunk_bytes=kib * 1024)["s"])
                       for kib in (64, 1024)}
        if have("wget"):
            contenders["wget"] = lambda: timed(f"wget -qO out {url}", root)
        if have("aria2c"):
            contenders["aria2c -x1"] = lambda: timed(f"aria2c -q -x1 --file-allocation=none {url}", root)
        compare(f"plain HTTP, {size / 2**30:g} GiB to tmpfs; ours with SHA-256", rounds, contenders)
        print(f"  CPU seconds per GB, ours: {statistics.median(cpu) * 1e9 / size:.2f}")
        compare(f"HTTPS, {size / 2**30:g} GiB to tmpfs; ours with SHA-256", rounds, {
            "ours": lambda: ours([secure], root, ca=authority)["s"],
            "curl | tee | sha256sum": lambda: timed(f"curl -sf --cacert {authority} {secure} | tee out | sha256sum", root),
            "curl": lambda: timed(f"curl -sfo out --cacert {authority} {secure}", root)})
        memory(root, plain)


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
        port = _free_port()
        serve = [sys.executable, "-c", f"from benchmarks.downloads import serve_small; serve_small({port}, {delay_s})"]
        with _process(serve, port):
            urls = [f"http://127.0.0.1:{port}/{number}.bin" for number in range(count)]
            (root / "urls").write_text("\n".join(urls))
            contenders: dict[str, Callable[[], float]] = {"ours, 16 at once": lambda urls=urls: ours(urls, root, workers=16)["s"]}
            if have("wget"):
                contenders["wget -i"] = lambda: timed(f"wget -qi {root}/urls", root)
            if have("aria2c"):
                contenders["aria2c -j16"] = lambda: timed(f"aria2c -q -j16 --file-allocation=none -i {root}/urls", root)
            compare(f"{count} files of 100 kB, answered after {delay_s * 1000:g} ms", rounds, contenders,
                    against="ours, 16 at once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the size, one round")
    parser.add_argument("--fetch", nargs=4, metavar=("FOLDER", "WORKERS", "CHUNK", "CA"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fetch:
        folder, workers, chunk, ca = given.fetch
        fetch_in_this_process(sys.stdin.read().split(), Path(folder), int(workers), int(chunk), ca)
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
        if shutil.which("nginx") is None:
            print("nginx is not installed: the big files are left out")
        else:
            big_files(root, size, rounds)
        small_files(root, count, max(1, rounds - 2))


if __name__ == "__main__":
    main()
