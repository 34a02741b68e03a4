"""The first process of a node: starts and signals the node's processes for the harness.

The harness asks on standard input.

It is process 1 of the node's process namespace. When the harness ends in any way, standard input ends, then this process, and
with it the kernel ends every process of the node. Each line of standard input is one request as JSON, each answer one line.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

codes: dict[int, int] = {}
"""The exit codes of the processes that have ended, by process id; minus the number of the signal that killed it."""


def _reap(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            codes[ended[0]] = os.waitstatus_to_exitcode(ended[1])


def _processes() -> dict[int, str]:
    """Every other process of the node with its command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if command := (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"):
                    found[int(entry.name)] = command
    return found


def _answer(asked: dict[str, Any]) -> Any:
    match asked["do"]:
        case "start":
            with Path(asked["log"]).open("a") as log:
                return subprocess.Popen(asked["command"], cwd=asked["folder"], env=asked["environment"], stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=log, start_new_session=True).pid
        case "signal":
            with contextlib.suppress(ProcessLookupError):
                os.kill(asked["pid"], asked["number"])
        case "signal all":  # -1 is every process of this namespace except this one
            assert os.getpid() == 1, "only in a process namespace of its own"
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, asked["number"])
        case "code":
            return codes.get(asked["pid"])
        case "processes":
            return _processes()
    return None


def main() -> None:
    signal.signal(signal.SIGCHLD, _reap)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
