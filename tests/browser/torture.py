"""Crawls that render pages, in which any process is killed.

Run it with `python -m tests.torture browser --rounds 50`.

In each round a command or a service crawls a site that is built by JavaScript, and one process is killed with -9 at a random moment: the
command, the service, its forkserver, the process of the run, the driver (node), the browser, one of the browser's own processes. If the
process was one of the browser's, the run still succeeds with every page. In the end of each round no process of it is left; in the end of
all no temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.store import open_store
from pipeline.store.crawl.items import present
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.ports import free_port
from tests.servers.program import ROOT, Program, eventually

PAGES = 4
SETTINGS = """
[pipeline]
keep_free = "1MB"
shutdown_grace = "5s"
[heartbeat]
port = {port}
[spiders.s]
start = ["{start}"]
render = {{ wait_for = "h1" }}
robots = false
concurrency = 3
retries = 3
schedule = "every 1s"
items.each = "h1"
items.key = ["title"]
items.fields = {{ title = "h1" }}
"""
APPLICATION = """<body></body><script>
  fetch("/data" + location.pathname).then(answer => answer.text()).then(text => { document.body.innerHTML = `<h1>${text}</h1>` })
</script>"""
GONE_WITHIN_S = 20.0
END_WITHIN_S = 180.0
OF_THE_BROWSER = ("browser", "renderer", "zygote", "network", "driver")


@dataclass(frozen=True)
class Process:
    """A process of a round. kind: what it does."""

    pid: int
    kind: str


@dataclass
class Tally:
    """What was killed, and how the commands ended."""

    killed: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return f"killed: {dict(self.killed)}; ends: {dict(self.ends)}"


def processes_with(*marks: str) -> list[Process]:
    """All living processes that have one of the marks in their environment or command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            everything = command + (folder / "environ").read_bytes().decode(errors="replace")
            state = (folder / "stat").read_text().rpartition(") ")[2][0]
            if command and state not in "ZX" and int(folder.name) != os.getpid() and any(mark in everything for mark in marks):
                found.append(Process(int(folder.name), _kind(folder, command)))
    return found


def processes_of(command: subprocess.Popen[bytes], *marks: str) -> list[Process]:
    """The same, with the command itself told from the processes of runs."""
    return [Process(each.pid, "command") if each.pid == command.pid else each for each in processes_with(*marks)]


def _kind(folder: Path, command: str) -> str:
    if "run-driver" in command:
        return "driver"
    for mark, kind in (("--type=renderer", "renderer"), ("--type=zygote", "zygote"), ("network.mojom", "network"), ("--type=", "other"),
                       ("crashpad", "crash handler"), ("--user-data-dir", "browser"), ("die_with_parent", "browser"), ("forkserver", "forkserver"),
                       ("resource_tracker", "tracker")):
        if mark in command:
            return kind
    leads = os.getsid(int(folder.name)) == int(folder.name)
    return "run" if leads else "command"


class Rounds:
    """Runs the rounds in one folder, on one site."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.tally = Tally()
        self.site = PageSite({f"/{number}": APPLICATION for number in range(PAGES)} | {
            f"/data/{number}": self._data for number in range(PAGES)} | {"/favicon.ico": Answer(status=404)})
        self.dice = random.Random(seed)

    def _data(self, asked: Asked) -> Answer:
        time.sleep(0.05)  # so that pages are at work when a process is killed
        return Answer(f"page {asked.path}")

    def round(self, number: int) -> None:
        self.dice = random.Random(f"{self.seed}/{number}")
        mark = uuid.uuid4().hex
        mode = self.dice.choice(("run", "run", "serve"))
        start = '", "'.join(f"{self.site.url}/{page}" for page in range(PAGES))
        (self.folder / "settings.toml").write_text(SETTINGS.format(port=free_port(), start=start), "utf-8")
        with (self.folder / "output").open("wb") as output:
            command = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *(["run", "s"] if mode == "run" else ["serve"])], cwd=self.folder, stdout=output, stderr=output,
                env=os.environ | {"PYTHONPATH": str(ROOT), "ROUND": mark}, start_new_session=True)
            try:
                victim = self._kill(command, mark)
                self._end(command, mode, victim)
            finally:
                command.kill()
                command.wait()
        marks = (mark, str(self.folder / "var"))
        try:
            eventually(lambda: not processes_with(*marks), within_s=GONE_WITHIN_S, every_s=0.1)
        except AssertionError:
            left = processes_with(*marks)
            for each in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)
            raise AssertionError(f"round {number} ({mode}, {victim} killed): these processes are left: {left}") from None

    def _kill(self, command: subprocess.Popen[bytes], mark: str) -> str:
        """Kill a process at a random moment, and return its kind; "" if the command ended before."""
        wanted = self.dice.choice(("command", "run", "driver", "browser", "renderer", "zygote", "network", "forkserver", "any"))
        after_s = self.dice.uniform(0, 1.5)
        early = self.dice.random() < 0.3
        deadline = time.monotonic() + END_WITHIN_S
        seen_at = 0.0
        while command.poll() is None and time.monotonic() < deadline:
            found = processes_of(command, mark, str(self.folder / "var"))
            if early or any(each.kind == "browser" for each in found):
                seen_at = seen_at or time.monotonic()
            likely = [each for each in found if wanted in (each.kind, "any")] or (
                found if seen_at and time.monotonic() - seen_at > after_s + 1 else [])
            if seen_at and time.monotonic() - seen_at >= after_s and likely:
                victim = self.dice.choice(sorted(likely, key=lambda each: each.pid))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim.pid, signal.SIGKILL)
                    self.tally.killed[victim.kind] += 1
                    return victim.kind
            time.sleep(0.05)
        return ""

    def _end(self, command: subprocess.Popen[bytes], mode: str, victim: str) -> None:
        if mode == "serve":
            time.sleep(self.dice.uniform(0, 1.0))
            command.send_signal(signal.SIGTERM)
        code = command.wait(END_WITHIN_S)
        self.tally.ends[f"{mode} {code}"] += 1
        if mode == "run" and (victim in OF_THE_BROWSER or not victim):
            said = (self.folder / "output").read_text(errors="replace")
            assert code == 0, f"a run whose {victim} was killed ended with {code}: {said}"
            assert self.titles() == {f"page /data/{page}" for page in range(PAGES)}, said

    def titles(self) -> set[str]:
        store = open_store(self.folder / "var")
        try:
            return {str(item.data["title"]) for item in present(store, "s")}
        finally:
            store.close()

    def calm(self) -> None:
        """A run that nothing disturbs deletes what the killed ones have left."""
        start, port = '", "'.join(f"{self.site.url}/{page}" for page in range(PAGES)), free_port()
        (self.folder / "settings.toml").write_text(SETTINGS.format(port=port, start=start), "utf-8")
        ended = Program(self.folder, port).run("run", "s", timeout_s=END_WITHIN_S)
        assert ended.returncode == 0, f"exit code {ended.returncode}: {ended.stdout}{ended.stderr}"
        assert list((self.folder / "var" / "cache" / "browsers").iterdir()) == []


@contextlib.contextmanager
def rounds(folder: Path, seed: int) -> Iterator[Rounds]:
    made = Rounds(folder, seed)
    with made.site:
        yield made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, rounds(Path(folder), options.seed) as made:
        for number in range(options.rounds):
            made.round(number)
            print(number, made.tally, flush=True)
        made.calm()
    print(made.tally)


if __name__ == "__main__":
    main()
