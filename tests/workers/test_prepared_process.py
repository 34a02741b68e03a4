"""The process of a command's only run is forked from the command.

It works once, and never outlives the command.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere runs are forked from a forkserver")
ROOT = Path(__file__).parents[2]
PREPARED = "from pipeline.workers.prepared_process import PreparedProcess\n"


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PREPARED + script], stdout=subprocess.PIPE, text=True,
                            env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_a_process_without_work_ends_with_the_context() -> None:
    command = started("import time\nwith PreparedProcess() as prepared:\n  print(prepared.process.pid, flush=True)\n"
                      "prepared.process.join()\nprint(prepared.process.exitcode, flush=True)\n")
    out, _ = command.communicate(timeout=30)
    pid, code = map(int, out.split())
    assert (code, command.returncode, is_alive(pid)) == (-signal.SIGKILL, 0, False)


@pytest.mark.parametrize("end", [lambda command: os.kill(command.pid, signal.SIGKILL),
                                 lambda command: os.kill(command.pid, signal.SIGTERM)], ids=["SIGKILL", "SIGTERM"])
def test_a_process_without_work_ends_with_a_killed_command(end: Callable[[subprocess.Popen[str]], None]) -> None:
    command = started("import signal\nprepared = PreparedProcess()\nprint(prepared.process.pid, flush=True)\nsignal.pause()\n")
    assert command.stdout is not None
    pid = int(command.stdout.readline())
    end(command)
    command.communicate(timeout=30)
    eventually(lambda: not is_alive(pid))


@pytest.mark.parametrize(("processes", "expected"), [(1, 1), (2, 4)], ids=["its process", "tracker, forkserver, leader, follower"])
def test_a_run_in_one_process_starts_that_process_only(program: Program, processes: int, expected: int) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def page(_: Asked) -> Answer:
        asked.set()
        go_on.wait(30)
        return Answer("<p>one</p>")

    with PageSite({"/": page}) as site:
        program.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\nprocesses = {processes}\n'
                      '[spiders.s.items]\neach = "p"\n[spiders.s.items.fields]\nname = "p"\n')
        command = subprocess.Popen([sys.executable, "-m", "pipeline", "run", "s"], cwd=program.folder, text=True,
                                   env=program.variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert asked.wait(30)
        program.watch(command.pid)
        eventually(lambda: len(program.descendants()) == expected)
        go_on.set()
        out, _ = command.communicate(timeout=60)
        assert command.returncode == 0, out
