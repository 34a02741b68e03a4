"""Nodes of a cluster: real processes of the program with their own data folder.

They have their own namespaces where possible.

Without namespaces the program is a fork of the process that has loaded it (see tests/servers/commands.py), except in `make torture`.
"""

from __future__ import annotations

import glob
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.heartbeat.client import HeartbeatClient
from tests.cluster import namespaces
from tests.servers.commands import ForkedProcess, command_server

LIBFAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"
REPOSITORY = Path(__file__).parents[2]


def faketime() -> str | None:
    """The library that tells processes another time."""
    return next(iter(glob.glob(LIBFAKETIME)), None)


class Node:
    """One node: an agent that starts and signals its processes (agent.py) where the program is no fork, and the program.

    private: whether it has namespaces of its own. command: what it runs, for example ("serve",).
    """

    def __init__(self, number: int, folder: Path, command: tuple[str, ...], environment: dict[str, str], port: int, *, private: bool) -> None:
        self.number = number
        self.name = f"n{number}"
        self.folder = folder
        self.command = command
        self.port = port
        self.private = private
        self.frozen = False
        self.cuts: set[str] = set()
        self.clock_s = 0
        """How wrong the clock of the processes is that will be started next."""
        self._environment = environment
        self._pid: int | None = None
        self._log_start = 0
        self._forked: ForkedProcess | None = None
        self._agent: subprocess.Popen[str] | None = None
        if not private and "TEST_NEW_PROCESSES" not in os.environ:
            return
        enter = ["unshare", "--net", "--pid", "--uts", "--fork", "--kill-child=SIGKILL", "--mount", "--mount-proc",
                 "sh", "-c", f'hostname {self.name} && exec "$@"', "sh"] if private else []
        self._agent = subprocess.Popen([*enter, sys.executable, "-m", "tests.cluster.agent"], cwd=REPOSITORY, text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._ask(do="processes")  # the namespaces exist
        if private:
            namespaces.connect(number, self._agent.pid)

    def _ask(self, **question: Any) -> Any:
        assert self._agent is not None
        assert self._agent.stdin is not None
        assert self._agent.stdout is not None
        self._agent.stdin.write(json.dumps(question) + "\n")
        self._agent.stdin.flush()
        answer = self._agent.stdout.readline()
        assert answer, f"the agent of {self.name} has ended"
        return json.loads(answer)

    # The program

    @property
    def is_scheduler(self) -> bool:
        return self.command[0] == "serve"

    def start(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | self._environment
        if self.clock_s:
            environment |= {"LD_PRELOAD": faketime() or "", "FAKETIME": f"{self.clock_s:+d}s", "DONT_FAKE_MONOTONIC": "1"}
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        if self._agent is None:
            with self.log_file.open("ab") as log, Path(os.devnull).open("rb") as nothing:
                self._forked = ForkedProcess(command_server(), list(self.command), self.folder, environment, (nothing, log, log), new_session=True)
            self._pid = self._forked.pid
            return
        self._pid = self._ask(do="start", command=[sys.executable, "-m", "pipeline", *self.command], folder=str(self.folder),
                              environment=environment, log=str(self.log_file))

    @property
    def log_file(self) -> Path:
        return self.folder / "node.log"

    def began(self) -> bool:
        """Whether the program has logged anything since its start."""
        return self.log_file.stat().st_size > self._log_start

    def code(self) -> int | None:
        """The exit code of the program; None while it runs, and 0 if it was never started."""
        if self._agent is None:
            return self._forked.poll() if self._forked is not None else 0
        return self._ask(do="code", pid=self._pid) if self._pid is not None else 0

    @property
    def runs(self) -> bool:
        return self._pid is not None and self.code() is None

    def signal(self, number: signal.Signals, pid: int | None = None) -> None:
        """Send a signal to one process, by default to the program's main process."""
        if self._forked is not None and pid is None:
            self._forked.send_signal(number)
        else:
            self._ask(do="signal", pid=pid or self._pid, number=number)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of the node at once, as a power cut or a suspended machine would."""
        if self.private:
            self._ask(do="signal all", number=number)
        else:
            self.signal(number)

    def children(self) -> list[int]:
        """The processes of the node other than the main process."""
        if not self.private:
            return []
        found = {int(pid): command for pid, command in self._ask(do="processes").items() if int(pid) != self._pid}
        return sorted(found)

    def wait(self, within_s: float = 60.0) -> int:
        deadline = time.monotonic() + within_s
        while (code := self.code()) is None:
            assert time.monotonic() < deadline, f"{self.name} did not end within {within_s} s"
            time.sleep(0.05)
        return code

    # Faults

    def freeze(self) -> None:
        self.frozen = True
        self.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self.frozen = False
        self.signal_all(signal.SIGCONT)

    def cut(self, network: str) -> None:
        self.cuts.add(network)
        namespaces.cut(network, self.number)

    def join(self, network: str) -> None:
        self.cuts.discard(network)
        namespaces.join(network, self.number)

    # What it says

    def status(self) -> dict[str, Any]:
        def ask() -> str:
            return HeartbeatClient("127.0.0.1", self.port).ask("status", timeout_s=10)
        answer = namespaces.inside_network_of(self._agent.pid, ask) if self.private and self._agent is not None else ask()
        found: dict[str, Any] = json.loads(answer) if answer.startswith("{") else {"health": answer, "reasons": []}
        return found

    def close(self) -> None:
        if not self.private and self.runs:
            self.signal(signal.SIGKILL)
        if self._agent is not None and self._agent.poll() is None:
            assert self._agent.stdin is not None
            self._agent.stdin.close()
            self._agent.wait(20)
