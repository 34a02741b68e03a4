"""Peak memory of a run that downloads 1 GB, compared with one that downloads 1 MB.

    python -m benchmarks.memory      goal: within 40 MB of each other
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.servers.program import Program

SETTINGS = """
[spiders.s]
start = "http://127.0.0.1:{port}/{size}"
download = ["a"]
robots = false
"""


class Handler(BaseHTTPRequestHandler):
    """/SIZE is a page that links to a file of SIZE bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/file/"):
            size = int(self.path.rpartition("/")[2])
            self._head(size, "application/octet-stream")
            block = bytes(1_000_000)
            for _ in range(size // len(block)):
                self.wfile.write(block)
        else:
            body = f"<a href=/file{self.path}>file</a>".encode()
            self._head(len(body), "text/html")
            self.wfile.write(body)

    def _head(self, size: int, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


def peaks(program: Program) -> Iterator[int]:
    """The peak resident memory of each process below the command, in bytes."""
    for pid in program.descendants():
        try:
            text = Path(f"/proc/{pid}/status").read_text("ascii")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("VmHWM:"):
                yield int(line.split()[1]) * 1024


def peak_of_run(port: int, size: int, folder: Path) -> float:
    """MB at the peak of the hungriest process of `pipeline run`, which is the child that crawls and downloads."""
    program = Program(folder, 0)
    program.write(SETTINGS.format(port=port, size=size))
    command = subprocess.Popen([sys.executable, "-m", "pipeline", "run", "s"], cwd=folder, stdout=subprocess.PIPE,
                               text=True, env=program.variables())
    program.watch(command.pid)
    highest = 0
    while command.poll() is None:
        highest = max([highest, *peaks(program)])
        time.sleep(0.02)
    assert command.stdout is not None
    print(" ", command.stdout.read().strip())
    return highest / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    differences = []
    for _ in range(rounds):
        found = {}
        for size in (1_000_000, 1_000_000_000):
            with tempfile.TemporaryDirectory(dir=base) as folder:
                found[size] = peak_of_run(server.server_address[1], size, Path(folder))
        small, big = found.values()
        differences.append(big - small)
        print(f"1 MB: {small:.1f} MB, 1 GB: {big:.1f} MB, difference {big - small:.1f} MB")
    print(f"difference: min {min(differences):.1f}, max {max(differences):.1f} MB (goal: under 40)")


if __name__ == "__main__":
    main()
