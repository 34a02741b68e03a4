"""The log file of one run, limited in size: masked output and log lines of the run's processes."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import io
import os
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from pipeline.text import escape_controls

_LINE_BYTES = 65536


def page_file(data_dir: Path, run_id: int, member_id: int = 0) -> Path:
    """Return the path of the file in which the process of a run records the page that it is processing.

    member_id: the member of the run, if the process is one of several that commit its pages and is not their leader.
    """
    return data_dir / "logs" / "runs" / (f"{run_id}-{member_id}.page" if member_id else f"{run_id}.page")


def remove_page_files(data_dir: Path, *, keep: Collection[int] = ()) -> int:
    """Delete the page files that killed processes left behind, and return the number of deleted files.

    keep: the ids of runs that may be in progress.
    """
    kept = {str(number) for number in keep}
    left = [file for file in (data_dir / "logs" / "runs").glob("*.page") if file.stem.partition("-")[0] not in kept]
    for file in left:
        file.unlink(missing_ok=True)
    return len(left)


def page_at_work(file: Path) -> int:
    """Return the frontier id of the page that a process was processing when the process ended; 0 for none."""
    try:
        return int.from_bytes(file.read_bytes()[:8], sys.byteorder)
    except FileNotFoundError:
        return 0


class RunLog(io.TextIOBase):
    """A text stream that appends to a log file, to which several processes may write at the same time.

    A file that has reached its size limit is renamed to NAME.1, and a new file is started.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._descriptor = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, text: str) -> int:
        with self._lock:
            if os.fstat(self._descriptor).st_size >= self._max_bytes:
                self._begin_anew()
            os.write(self._descriptor, text.encode("utf-8", "replace"))
        return len(text)

    def _begin_anew(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # closing the descriptor releases the lock
        if self._is_current():  # while waiting for the lock, no other process has renamed the file
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        os.close(self._descriptor)
        self._descriptor = self._open()

    def _is_current(self) -> bool:
        try:
            return self._path.stat().st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False

    def fileno(self) -> int:
        return self._descriptor


class Capture:
    """Redirects the output of this process and its child processes to a run's log, with secrets masked.

    If the interpreter crashes, the traceback is written to the log as well. `end` stops the redirection, and waits at most 2 s until
    the last lines are written.
    """

    def __init__(self, log: RunLog, mask: Callable[[str], str]) -> None:
        self._log = log
        self._mask = mask
        reader, writer = os.pipe()
        for standard in (1, 2):
            os.dup2(writer, standard)
        os.close(writer)
        faulthandler.enable(log.fileno())
        self._pump = threading.Thread(target=self._copy, args=(reader,), name="output", daemon=True)
        self._pump.start()

    def _copy(self, reader: int) -> None:
        with open(reader, "rb") as lines:
            while line := lines.readline(_LINE_BYTES):
                # If the disk is full, the line is lost, but the pipe must still be read: a full pipe would block the run.
                with contextlib.suppress(OSError):
                    text = escape_controls(line.decode("utf-8", "replace").rstrip("\n"))
                    self._log.write(f"{self._mask(text)}\n")

    def end(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for standard in (1, 2):
            os.dup2(nowhere, standard)
        os.close(nowhere)
        self._pump.join(2.0)
