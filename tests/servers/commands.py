"""A process that has loaded the program and forks a process for each command.

A command then starts in 20 ms and not in a second.

Most of the suite's CPU time would be spent on loading the same modules in hundreds of processes. Commands and services that tests start
with Popen are new processes; so is every command with TEST_NEW_PROCESSES=1 (`make torture`) or TEST_ENGINE=scrapy (`make fallback`).
Code of a test that must be killed runs in such a fork, too: forked_python() and forked_call().
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from tests.servers.prepared_processes import needs_processes, prepare_processes

LOADED = ("pipeline.cli.main", "pipeline.cli.foreground_run", "pipeline.workers.entry", "pipeline.workers.runner", "pipeline.store",
          "pipeline.store.database.migrate", "pipeline.store.maintenance.backup", "pipeline.mail.outbox", "pipeline.mail.digests.build",
          "pipeline.mail.transports", "pipeline.heartbeat.snapshot.build", "pipeline.schedule.upcoming", "pipeline.service.service",
          "pipeline.session.cookies.suffixes", "psycopg", "sqlalchemy.dialects.postgresql.psycopg",
          "pipeline.session.politeness.database_limits", "procrastinate")
ROOT = Path(__file__).parents[2]
LENGTH, NUMBER = struct.Struct("!I"), struct.Struct("!i")


class CommandServer:
    """The client's side. Several threads may run commands at the same time. root: the repository whose program it loads."""

    def __init__(self, root: Path = ROOT) -> None:
        self._socket, far = socket.socketpair()
        self._lock = threading.Lock()
        with far:  # the server ends when this end of the pair is closed
            self._process = subprocess.Popen([sys.executable, "-X", "faulthandler", "-m", "tests.servers.commands", str(far.fileno())],
                                             cwd=root, stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(root)}, pass_fds=[far.fileno()])
        atexit.register(self.close)

    def start(self, arguments: list[str], folder: Path, environment: dict[str, str], files: Sequence[IO[bytes]], *, code: str = "",
              new_session: bool = False, open_files: int | None = None, umask: int | None = None) -> tuple[int, socket.socket]:
        """Start a command. Return its process id, and the connection on which its exit code arrives.

        files: its standard input, output and error. code: Python that runs instead of the command, with the arguments in sys.argv[1:].
        new_session: whether the process leads a session and a process group of its own. open_files: how many files it may have; by default
        as many as this process. umask: by default that of this process.
        """
        before = os.umask(0o022)
        os.umask(before)
        request = json.dumps({"arguments": arguments, "folder": str(folder), "environment": environment, "umask": before if umask is None else umask,
                              "code": code, "new_session": new_session, "open_files": open_files}).encode()
        connection, far = socket.socketpair()
        with far, self._lock:
            socket.send_fds(self._socket, [LENGTH.pack(len(request))], [*(file.fileno() for file in files), far.fileno()])
            self._socket.sendall(request)
        return _number(connection), connection

    def exit_code(self, connection: socket.socket, timeout_s: float) -> int | None:
        """Wait until the command ends. Return its exit code, or minus the number of the signal that killed it; None at the time limit."""
        connection.settimeout(timeout_s)
        try:
            return _number(connection)
        except TimeoutError:
            return None

    def close(self) -> None:
        self._socket.close()
        self._process.wait(30)


class ForkedProcess:
    """A command in progress, with the methods of subprocess.Popen that tests use."""

    def __init__(self, server: CommandServer, arguments: list[str], folder: Path, environment: dict[str, str],
                 files: Sequence[IO[bytes]], *, code: str = "", new_session: bool = False) -> None:
        self._server = server
        self._arguments = arguments
        self.pid, self._connection = self._server.start(arguments, folder, environment, files, code=code, new_session=new_session)
        self.returncode: int | None = None
        self._waiting = threading.RLock()

    def poll(self) -> int | None:
        if self._waiting.acquire(blocking=False):  # otherwise another thread waits for it
            try:
                if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
                    self.wait(10)
            finally:
                self._waiting.release()
        return self.returncode

    def wait(self, timeout: float) -> int:
        with self._waiting:
            if self.returncode is None:
                self.returncode = self._server.exit_code(self._connection, timeout)
                if self.returncode is None:
                    raise subprocess.TimeoutExpired(self._arguments, timeout)
                self._connection.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def command_server(root: Path = ROOT) -> CommandServer:
    """Return the server of this process for a repository, which the first command starts."""
    return CommandServer(root)


def forked_python(code: str, *arguments: str, given: IO[bytes] | None = None, output: IO[bytes] | None = None) -> ForkedProcess:
    """Run code as `python -c` does, in a fork of the process that has loaded the program, in the root of the repository.

    given: its standard input; nothing by default. output: where its standard output goes; to that of the tests by default.
    """
    with Path(os.devnull).open("rb") as nothing, open(1, "wb", closefd=False) as out, open(2, "wb", closefd=False) as errors:
        return ForkedProcess(command_server(), list(arguments), ROOT, dict(os.environ), (given or nothing, output or out, errors), code=code)


@contextlib.contextmanager
def forked_dialogue(code: str, *arguments: str) -> Iterator[tuple[ForkedProcess, IO[str], IO[str]]]:
    """Run code in such a fork, as with subprocess.PIPE: yield the process, its standard input and its standard output."""
    (given, asks), (answers, output) = os.pipe(), os.pipe()
    with open(asks, "w", encoding="utf-8") as writer, open(answers, encoding="utf-8") as reader:
        with open(given, "rb") as their_input, open(output, "wb") as their_output:
            process = forked_python(code, *arguments, given=their_input, output=their_output)
        yield process, writer, reader


def forked_call(function: Callable[..., object], *arguments: object) -> ForkedProcess:
    """Call a function of a module in such a fork. The arguments are what JSON can hold."""
    code = f"import json, sys\nfrom {function.__module__} import {function.__name__}\n{function.__name__}(*json.loads(sys.argv[1]))"
    return forked_python(code, json.dumps(arguments))


def _number(connection: socket.socket) -> int:
    data = connection.recv(4, socket.MSG_WAITALL)
    assert len(data) == 4, "the process of the commands has ended"
    return int(NUMBER.unpack(data)[0])


class _Server:
    """The process that forks. _connections: of the commands in progress, by process id."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._connections: dict[int, socket.socket] = {}

    def next_command(self) -> dict[str, Any] | None:
        """Serve until the client ends (None). In each forked process, return what it is asked to do."""
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(far.fileno())  # the end of a command wakes select()
        while True:
            ready, _, _ = select.select([self._client, near], [], [])
            if near in ready:
                near.recv(4096)
            self._report_ended()
            if self._client in ready:
                head, files, _, _ = socket.recv_fds(self._client, LENGTH.size, 4)
                if not head:
                    return None
                asked: dict[str, Any] = json.loads(self._client.recv(LENGTH.unpack(head)[0], socket.MSG_WAITALL))
                if not self._fork(files):
                    break
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for file in (near, far, self._client, *self._connections.values()):
            file.close()
        return asked

    def _report_ended(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                with self._connections.pop(found[0]) as connection, contextlib.suppress(OSError):
                    connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(found[1])))

    def _fork(self, files: list[int]) -> int:
        """Fork, and return as os.fork() does. files: the standard files of the forked process, and the connection to its client."""
        *standard, last = files
        connection = socket.socket(fileno=last)
        if pid := os.fork():
            self._connections[pid] = connection
            connection.sendall(NUMBER.pack(pid))
        else:
            connection.close()
            for number, file in enumerate(standard):
                os.dup2(file, number)
        for file in standard:
            os.close(file)
        return pid


def main() -> None:
    """Load the program, serve, and in each forked process run the command as `python -m pipeline` does."""
    gc.disable()
    for name in LOADED:
        importlib.import_module(name)
    importlib.import_module("tests.servers.warm_up").warm_up()  # here, as the client does not need what it imports
    gc.collect()
    gc.freeze()  # memory that the garbage collector does not touch stays shared
    gc.enable()
    asked = _Server(socket.socket(fileno=int(sys.argv[1]))).next_command()
    if asked is None:
        return
    os.umask(asked["umask"])
    if asked["open_files"] is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (asked["open_files"], asked["open_files"]))
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    tempfile.tempdir = None
    faulthandler.enable()
    if asked["new_session"]:
        os.setsid()
    if not asked["code"] and needs_processes(asked["arguments"], Path("settings.toml")):
        prepare_processes()
    for name in os.environ.get("TEST_IMPORTS", "").split():  # modules that a test imports into the command
        importlib.import_module(name)
    sys.argv[1:] = asked["arguments"]
    sys.path[0] = asked["folder"]
    code: object = 0
    try:
        if asked["code"]:
            module = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(asked["code"], "<string>", "exec"), vars(module))
        else:
            runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code or 0
    except Exception:  # noqa: BLE001  as the interpreter does with an exception that nothing handles
        traceback.print_exc()
        code = 1
    # What an interpreter does at its end, without freeing all modules one by one, which would take most of the time.
    threading._shutdown()  # type: ignore[attr-defined]  # wakes the idle threads of executors before it joins them
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
