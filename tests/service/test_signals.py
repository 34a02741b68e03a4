"""Tests that a signal to a whole process group, as from Ctrl-C, kills no run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.model import Outcome
from pipeline.store.runs import runs
from tests.servers.commands import ForkedProcess, command_server
from tests.servers.pages import PageSite
from tests.servers.program import Program, eventually

SPIDER = """
[spiders.s]
start = "{url}/"
follow = ["a"]
max_pages = 1000
delay = "1s"
[spiders.s.items]
each = "body"
[spiders.s.items.fields]
x = "p"
"""


@pytest.fixture
def endless(site: PageSite) -> PageSite:
    site.pages = {"/": "".join(f"<p>{n}</p><a href=/{n}>x</a>" for n in range(500))}
    return site


def started(program: Program, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "pipeline", *arguments], cwd=program.folder, text=True, env=program.variables(),
                            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Forked:
    """A command in a group of its own, forked from a process that has loaded the program: for moments after the start."""

    def __init__(self, program: Program, *arguments: str) -> None:
        self._output = program.folder / "output"
        with self._output.open("wb") as output, Path(os.devnull).open("rb") as nothing:
            self._process = ForkedProcess(command_server(), list(arguments), program.folder, program.variables(), (nothing, output, output), new_session=True)
        self.pid = self._process.pid

    def communicate(self, timeout: float) -> tuple[str, str]:
        self._process.wait(timeout)
        return self._output.read_text("utf-8"), ""

    @property
    def returncode(self) -> int | None:
        return self._process.returncode


def children(pid: int) -> list[int]:
    """Of a process, as soon as it has some."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it looks for processes in /proc")
@pytest.mark.parametrize(("number", "processes", "moment"), [
    (signal.SIGINT, 1, "its first process"), (signal.SIGTERM, 1, "the run"), (signal.SIGINT, 1, "a page"),
    (signal.SIGTERM, 2, "its first process"), (signal.SIGINT, 2, "the forkserver"), (signal.SIGTERM, 2, "the forkserver"),
    (signal.SIGINT, 2, "the run"), (signal.SIGTERM, 2, "a page")])
def test_a_signal_to_the_whole_group_stops_a_run_and_kills_none(
        program: Program, endless: PageSite, number: int, processes: int, moment: str) -> None:
    program.write(SPIDER.format(url=endless.url).replace("max_pages", f"processes = {processes}\nmax_pages"))
    store = program.open_store()
    process = Forked(program, "run", "s") if moment in ("the run", "a page") else started(program, "run", "s")
    wanted = {"its first process": lambda: runs.history(store) and children(process.pid),
              "the forkserver": lambda: runs.history(store) and len(children(process.pid)) > 1,
              "the run": lambda: any(run.running for run in runs.history(store)), "a page": endless.paths}[moment]
    eventually(wanted, within_s=20)
    os.killpg(process.pid, number)
    out, _ = process.communicate(timeout=30)
    ended = runs.history(store)
    store.close()
    assert [run.outcome for run in ended] == [Outcome.STOPPED], out
    assert "Traceback" not in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_of_a_service_kills_none(program: Program, endless: PageSite, number: int) -> None:
    program.write(SPIDER.format(url=endless.url).replace("[spiders.s.items]", 'schedule = "every 1s"\n[spiders.s.items]', 1))
    store = program.open_store()
    process = started(program, "serve") if number == signal.SIGTERM else Forked(program, "serve")
    eventually(lambda: any(run.running for run in runs.history(store)), within_s=20)
    os.killpg(process.pid, number)
    out, _ = process.communicate(timeout=30)
    ended = [run.outcome for run in runs.history(store) if run.ended_at is not None]
    store.close()
    assert set(ended) <= {Outcome.STOPPED, Outcome.SKIPPED}, out
    assert process.returncode == 0


def test_after_a_kill_the_next_run_begins_at_once(program: Program, endless: PageSite) -> None:
    program.write(SPIDER.format(url=endless.url))
    store = program.open_store()
    process = started(program, "run", "s")
    eventually(endless.paths, within_s=20)
    process.kill()  # and nobody waits for it: its id stays taken
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    endless.pages = {"/": "<p>1</p>", **{f"/{n}": "<p>2</p>" for n in range(500)}}
    again = Forked(program, "run", "s")
    eventually(lambda: runs.history(store)[0].reason == "resume" and runs.history(store)[0].running, within_s=20)
    assert [run.outcome for run in runs.history(store)[1:]] == [Outcome.ABANDONED]
    os.killpg(again.pid, signal.SIGINT)
    out, _ = again.communicate(timeout=30)
    store.close()
    process.communicate(timeout=30)
    assert "was abandoned: the process of the run no longer exists" in out
    assert "still running" not in out
