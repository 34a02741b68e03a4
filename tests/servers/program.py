"""Run the program as a user does: commands in a folder with a settings.toml, and a service."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

from pipeline.errors import HeartbeatError
from pipeline.heartbeat.client import HeartbeatClient
from pipeline.store import Store, open_store
from tests.servers.commands import ForkedProcess, command_server

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
ENGINE = "fast_engine = false\n" if os.environ.get("TEST_ENGINE") == "scrapy" else ""
"""For [pipeline]: every test of crawls also runs on Scrapy's own engine (`make fallback`)."""


def eventually(question: Callable[[], T], *, within_s: float = 20.0, every_s: float = 0.02) -> T:
    """The first true answer; AssertionError with the last one when the time is over.

    every_s: how long to wait between two questions; at least twice as long as the answer takes, which may be a command.
    """
    deadline = time.monotonic() + within_s
    while True:
        asked = time.monotonic()
        answer = question()
        now = time.monotonic()
        if answer or now > deadline:
            assert answer, f"not within {within_s} s: {question}"
            return answer
        time.sleep(max(every_s, min(2 * (now - asked), 0.5)))


class Program:
    """A folder with a settings.toml. environment: beside what a service has anyway. root: the repository whose program runs.

    forks_service: whether a service is forked from a process that has loaded the program.
    """

    root = ROOT
    forks_service = True

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.data = folder / "var"
        self.environment: dict[str, str] = {}
        self.pipeline = ""
        """More lines of [pipeline]."""
        self._service: subprocess.Popen[bytes] | ForkedProcess | None = None
        self._watched: int | None = None
        self._log = folder / "serve.log"

    def write(self, toml: str) -> None:
        head = f'[pipeline]\nkeep_free = "1MB"\n{ENGINE}{self.pipeline}[heartbeat]\nport = {self.port}\n'
        (self.folder / "settings.toml").write_text(head + textwrap.dedent(toml), "utf-8")

    def run(self, *arguments: str, stdin: str = "", timeout_s: float = 60.0,
            open_files: int | None = None, umask: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command, to its end. One that hangs says where it does. open_files: how many it may have."""
        if self._can_be_forked():
            code, out, err = self._run_forked(arguments, stdin, timeout_s, open_files, umask)
        else:
            code, out, err = self._run_anew(arguments, stdin, timeout_s, open_files, umask)
        if arguments[:1] != ("items",):  # what a site shows, secrets it was told among them, is shown as it is
            self._keep(out + err)
        return subprocess.CompletedProcess(arguments, code, out, err)

    def _can_be_forked(self) -> bool:
        """Whether a fork of a process with the program loaded behaves as a new process does."""
        here, theirs = os.environ | {"PYTHONPATH": str(self.root)}, self.variables()
        read_at_start = {name for name in here.keys() | theirs.keys()
                         if name.startswith(("PYTHON", "LC_", "LANG", "LD_")) and not name.startswith("PYTHON_KEYRING_")}
        return not ENGINE and "TEST_NEW_PROCESSES" not in os.environ and all(here.get(name) == theirs.get(name) for name in read_at_start)

    def _run_forked(self, arguments: tuple[str, ...], stdin: str, timeout_s: float, open_files: int | None,
                    umask: str | None) -> tuple[int, str, str]:
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            server = command_server(self.root)
            pid, connection = server.start(list(arguments), self.folder, self.variables(), (given, out, err), open_files=open_files,
                                           umask=int(umask, 8) if umask is not None else None)
            with connection:
                if (code := server.exit_code(connection, timeout_s)) is None:
                    for each in {pid} | self.descendants(pid):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(each, signal.SIGABRT)
                    server.exit_code(connection, 10)
            for file in (out, err):
                file.seek(0)
            texts = [file.read().decode() for file in (out, err)]
        assert code is not None, f"{arguments} still ran after {timeout_s} s\n" + "\n".join(texts)
        return code, texts[0], texts[1]

    def _run_anew(self, arguments: tuple[str, ...], stdin: str, timeout_s: float, open_files: int | None,
                  umask: str | None) -> tuple[int, str, str]:
        limit = ["sh", "-c", f'ulimit -n {open_files} && exec "$@"', "sh"] if open_files is not None else []
        limit = ["sh", "-c", f'umask {umask} && exec "$@"', "sh"] if umask is not None else limit
        with subprocess.Popen([*limit, sys.executable, "-X", "faulthandler", "-m", "pipeline", *arguments], cwd=self.folder,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=self.variables()) as process:
            try:
                out, err = process.communicate(stdin, timeout_s)
            except subprocess.TimeoutExpired:
                for pid in {process.pid} | self.descendants(process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGABRT)
                out, err = process.communicate(timeout=10)
                raise AssertionError(f"{arguments} still ran after {timeout_s} s\n{out}\n{err}") from None
        return process.returncode, out, err

    def _keep(self, answer: str) -> None:
        """Where conftest.py looks for secrets when the test is over."""
        with (self.folder / ".answers").open("a", encoding="utf-8") as file:
            file.write(answer)

    def variables(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.root)} | self.environment

    def serve(self, *arguments: str) -> None:
        """Start the service; returns once its heartbeat answers. arguments: by default "serve"."""
        self.start(*arguments)
        eventually(self._answers, within_s=90)

    def start(self, *arguments: str) -> None:
        """Start the service and do not wait for it."""
        arguments = arguments or ("serve",)
        with self._log.open("ab") as log, Path(os.devnull).open("rb") as nothing:
            if self.forks_service and self._can_be_forked():
                self._service = ForkedProcess(command_server(self.root), list(arguments), self.folder, self.variables(), (nothing, log, log))
            else:
                self._service = subprocess.Popen([sys.executable, "-m", "pipeline", *arguments], cwd=self.folder,
                                                 stdin=nothing, stdout=log, stderr=log, env=self.variables())

    def answers_or_ends(self, *, within_s: float = 90.0) -> int | None:
        """Until the service that was started answers (None) or has ended by itself (its exit code)."""
        service = self._service
        assert service is not None
        eventually(lambda: service.poll() is not None or self._is_heard(), within_s=within_s)
        return service.poll()

    def ended(self, *, within_s: float = 60.0) -> int:
        """Wait until the service has ended by itself; its exit code."""
        assert self._service is not None
        return self._service.wait(within_s)

    def _answers(self) -> bool:
        assert self._service is not None
        assert self._service.poll() is None, self.log()
        return self._is_heard()

    def _is_heard(self) -> bool:
        try:
            HeartbeatClient("127.0.0.1", self.port).ask("ping")
        except HeartbeatError:
            return False
        return True

    @property
    def pid(self) -> int:
        if self._watched is not None:
            return self._watched
        assert self._service is not None
        return self._service.pid

    def watch(self, pid: int) -> None:
        """Look at the descendants of a process that somebody else started."""
        self._watched = pid

    def open_store(self, *, migrate: bool = True) -> Store:
        """The store of the service; the test closes it."""
        return open_store(self.data, self.environment.get("DATABASE"), migrate=migrate)

    def log(self) -> str:
        return self._log.read_text("utf-8")

    def status(self) -> dict[str, Any]:
        answer = HeartbeatClient("127.0.0.1", self.port).ask("status")
        self._keep(answer)
        found: dict[str, Any] = json.loads(answer)
        return found

    def history(self) -> list[dict[str, Any]]:
        """Every run, the newest first."""
        found: list[dict[str, Any]] = json.loads(self.run("history", "--json", "--limit", "1000").stdout)
        return found

    def descendants(self, pid: int | None = None) -> set[int]:
        """Every process that one, by default the service, has started, their own included."""
        parents = _parents()
        found, more = set[int](), {pid or self.pid}
        while more:
            more = {pid for pid, parent in parents.items() if parent in more}
            found |= more
        return found

    def children_at_work(self) -> set[int]:
        """The processes of the service that crawl or render."""
        return self.children_of_the_forkserver() if self._alive() else set()

    def children_of_the_forkserver(self) -> set[int]:
        """Each leads a session of its own and runs this Python, unlike the processes of a PostgreSQL that a test started.

        The forkserver leads a session, too, but is a direct child.
        """
        parents = _parents()
        return {pid for pid in self.descendants()
                if _leads_a_session(pid) and _runs_this_python(pid) and parents.get(pid) != self.pid}

    def _alive(self) -> bool:
        return self._service is not None and self._service.poll() is None

    @staticmethod
    def kill_process(pid: int) -> None:
        """kill -9 one process of ours, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """kill -9, as a power cut would for the process."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        assert self._service is not None
        self._service.send_signal(number)
        code = self._service.wait(60)
        self._service = None
        return code

    def close(self) -> None:
        if self._service is not None and self._service.poll() is None:
            self.kill()


def parent_of(pid: int) -> int:
    return _parents()[pid]


def _parents() -> dict[int, int]:
    """Of every process its parent."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    return found


def _leads_a_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:  # just gone
        return False


def _runs_this_python(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").samefile("/proc/self/exe")
    except OSError:  # just gone, or another user's
        return False


def alive(pids: set[int]) -> set[int]:
    """Those of the processes that still run; one that is dead and not yet reaped does not."""
    found = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.add(pid)
    return found
