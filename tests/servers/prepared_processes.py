"""Processes that a forked command uses where it would start a new Python.

For its forkserver, and for multiprocessing's resource tracker.

A new forkserver loads Scrapy for a second of CPU time; a process that was forked before the command began has it loaded. It waits until
the command needs it, closes every file that the command does not pass to it, and runs what `python -c` would run.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing.util
import os
import signal
import socket
import struct
import sys
import types
from collections.abc import Sequence
from pathlib import Path

from pipeline.workers.signals import STOP_SIGNALS

LENGTH = struct.Struct("!I")
_USERS = frozenset({"serve", "worker", "try", "suggest", "mend"})
"""Commands that start a forkserver."""
_SPAWN = multiprocessing.util.spawnv_passfds


def needs_processes(arguments: Sequence[str], settings_file: Path) -> bool:
    """Whether a command starts a forkserver. To fork processes that it does not need takes as long as many a command."""
    command, settings = arguments[0] if arguments else "", settings_file.read_text("utf-8", "replace") if settings_file.is_file() else ""
    if "TEST_FORKSERVER" in os.environ:  # for a run that starts further processes without being told to
        return True
    if command == "run":  # a run that stays small forks its only process itself
        return len(arguments) != 2 or not {"--all", "demo"}.isdisjoint(arguments) or "processes" in settings
    if command == "check":  # only code of users is checked in a process of its own
        return any(word in settings for word in ("spider =", "project =", "templates ="))
    return command in _USERS


def prepare_processes() -> None:
    """Fork the processes, and make multiprocessing use them. Called while the command has no thread and no file of its own yet."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # a stop signal to the command's group must not end one that waits
    owner = os.getpid()
    prepared: list[tuple[int, socket.socket]] = []
    for _ in range(2):
        near, far = socket.socketpair()
        if pid := os.fork():
            far.close()
            prepared.append((pid, near))
            continue
        for _, connection in [*prepared, (0, near)]:
            connection.close()
        _wait_and_run(far)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def spawn(path: str, arguments: Sequence[str], files: Sequence[int]) -> int:
        if not prepared or os.getpid() != owner or arguments[-2] != "-c":  # they are children of the command, not of a process that it forked
            return _SPAWN(path, arguments, files)  # type: ignore[no-any-return, attr-defined]
        pid, connection = prepared.pop(0)
        request = json.dumps({"code": arguments[-1], "files": list(files), "environment": dict(os.environ), "folder": os.getcwd(),
                              "blocked": [int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, ())]}).encode()
        with connection:
            socket.send_fds(connection, [LENGTH.pack(len(request))], list(files))
            connection.sendall(request)
        return pid

    multiprocessing.util.spawnv_passfds = spawn  # type: ignore[attr-defined]


def _wait_and_run(connection: socket.socket) -> None:
    """In a prepared process: run the code that is asked for, and exit. It gets its files under the numbers that they have in the command."""
    head, files, _, _ = socket.recv_fds(connection, LENGTH.size, 8)
    if not head:  # the command ended and needed no further process
        os._exit(0)
    asked = json.loads(connection.recv(LENGTH.unpack(head)[0], socket.MSG_WAITALL))
    connection.detach()  # its file is closed with the others
    _renumber(files, asked["files"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = ["-c"]
    signal.pthread_sigmask(signal.SIG_SETMASK, asked["blocked"])
    code = 0
    try:
        exec(asked["code"], vars(main))
    except SystemExit:
        pass
    except BaseException:  # noqa: BLE001  as the interpreter does with an exception that nothing handles
        sys.excepthook(*sys.exc_info())
        code = 1
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def _renumber(files: list[int], numbers: list[int]) -> None:
    """Give the files these numbers, and close all others but the standard files."""
    above = max([*files, *numbers, 2]) + 1
    copies = []
    for file in files:
        copies.append(os.dup2(file, above + len(copies)))
    os.closerange(3, above)
    for copy, number in zip(copies, numbers, strict=True):
        if number > 2:  # the standard files are the command's already
            os.dup2(copy, number)
        os.close(copy)
