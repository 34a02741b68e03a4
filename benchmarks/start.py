"""How long `pipeline --help` and `serve` take to start.

Goals: `pipeline --help` under 150 ms, `serve` to its first answer under 1 s.

    python -m benchmarks.start [--beside FOLDER]

Beside each the same for a Python that does nothing, and the CPU time, which the neighbours of a busy machine leave alone.
--beside: a checkout of another version, with which the start and the memory of an idle service are compared in pairs.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.site import pss_bytes
from tests.servers.ports import free_port

ROOT = Path(__file__).parent.parent
PROGRAM = [sys.executable, "-m", "pipeline"]
ROUNDS = 10


def command(words: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU milliseconds of a command."""
    cpu = os.times().children_user + os.times().children_system
    began = time.perf_counter()
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=variables())
    took = time.perf_counter() - began
    return took * 1000, (os.times().children_user + os.times().children_system - cpu) * 1000


def serve(folder: Path) -> tuple[float, float]:
    """Wall and CPU milliseconds from the start of a service to its first answer."""
    wall, cpu, _ = served(folder)
    return wall, cpu


def served(folder: Path, root: Path = ROOT, idle_s: float = 0.0) -> tuple[float, float, float]:
    """The same, of the program in `root`, and its memory in MB (PSS of the service alone) after it was idle for some time."""
    port = free_port()
    (folder / "settings.toml").write_text(f"[heartbeat]\nport = {port}\n")
    began = time.perf_counter()
    service = subprocess.Popen([*PROGRAM, "serve"], cwd=folder, stderr=subprocess.DEVNULL, env=variables(root))
    try:
        while not answers(port):
            assert service.poll() is None
            time.sleep(0.002)
        took = time.perf_counter() - began
        fields = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        time.sleep(idle_s)
        memory = pss_bytes(service.pid) / 1e6
    finally:
        service.terminate()
        service.wait(30)
    return took * 1000, cpu * 1000, memory


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"hello\n")
            return bool(connection.recv(100))
    except ConnectionRefusedError:
        return False


def variables(root: Path = ROOT) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(root)}


def fresh(folder: Path) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        return serve(Path(own))


def compare(other: Path, rounds: int) -> None:
    """Start both versions in turns."""
    found: dict[Path, list[tuple[float, float, float]]] = {ROOT: [], other: []}
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds + 1):
            for root in (ROOT, other) if number % 2 else (other, ROOT):
                folder = Path(name, "ours" if root == ROOT else "other")
                folder.mkdir(exist_ok=True)
                measured = served(folder, root, idle_s=4.0)
                if number:  # the first round writes .pyc files
                    found[root].append(measured)
    print(f"serve to its first answer, and 4 s later, beside {other.name}, {rounds} pairs; load {os.getloadavg()[0]:.1f}: min / median / max")
    for at, what in enumerate(("wall ms", "CPU ms", "MB")):
        ours, others = ([each[at] for each in found[root]] for root in (ROOT, other))
        print(f"{what}: {_three(ours, 0)}, beside {_three(others, 0)}; ratio of each pair {_three([a / b for a, b in zip(ours, others, strict=True)], 2)}")


def _three(values: list[float], digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, help="the folder of another version")
    given = parser.parse_args()
    if given.beside is not None:
        compare(given.beside.absolute(), ROUNDS)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subjects: dict[str, Callable[[], tuple[float, float]]] = {
            "python -c pass": lambda: command([sys.executable, "-c", "pass"], folder),
            "pipeline --help": lambda: command([*PROGRAM, "--help"], folder),
            "serve to its first answer": lambda: serve(folder),
            "the same with tables to make": lambda: fresh(folder),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in subjects}
        for number in range(ROUNDS + 1):
            for subject, measure in subjects.items():
                if number:  # the first round writes .pyc files
                    found[subject].append(measure())
                else:
                    measure()
        print(f"{ROUNDS} rounds in turn, ms: min / median / max wall, median CPU")
        for subject, times in found.items():
            wall = sorted(time for time, _ in times)
            cpu = statistics.median(cpu for _, cpu in times)
            print(f"{subject}: {wall[0]:.0f} / {statistics.median(wall):.0f} / {wall[-1]:.0f}, {cpu:.0f}")


if __name__ == "__main__":
    main()
