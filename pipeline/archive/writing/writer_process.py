"""A process that writes the segments of a long run, so that crawl and archive each have a core.

To make, compress and index the records of a page takes a quarter as long as to crawl it. In a thread of the crawl's process both would
share the interpreter: benchmarks/RESULTS.md, "The archive of requests and responses". Each call waits for its answer, so that
what is promised of SegmentWriter also holds here. The process ends with its standard input: after the run's process was killed, too.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.archive.format.redaction import Redaction
from pipeline.archive.writing.part_file import ClosedSegment
from pipeline.archive.writing.segment import Pages, SegmentWriter

_END_S = 10.0
"""How long the process may take to end after its last answer, in seconds."""


class WriterEndedError(OSError):
    """The process has ended unexpectedly. What it wrote last may be there or not; `repair.py` closes its files."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE, "the process that writes the archive has ended")


class WriterProcess:
    """Writes the segments of one run in a process of its own. The methods are those of SegmentWriter, and raise WriterEndedError, too."""

    def __init__(self, folder: Path, spider: str, *, run_id: int | None, redaction: Redaction, max_age: timedelta) -> None:
        """Start the process. Raises OSError."""
        self.written_bytes = 0
        self.has_ended = False
        """Whether the process has ended unexpectedly."""
        self._process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  no outside input
        self.pid = self._process.pid
        with suppress(WriterEndedError):  # the first call says so
            self._send({"folder": folder, "spider": spider, "run_id": run_id, "redaction": redaction, "max_age": max_age})

    def write(self, pages: Pages, now: datetime) -> None:
        self._call("write", pages, now)

    def hold(self, pages: Pages, now: datetime) -> None:
        self._call("hold", pages, now)

    def keep(self, numbers: Collection[int]) -> None:
        self._call("keep", tuple(numbers))

    def close(self) -> list[ClosedSegment]:
        try:
            closed: list[ClosedSegment] = self._call("close")
        finally:
            self.end()
        return closed

    def end(self) -> None:
        """End the process without closing its files."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _call(self, name: str, *arguments: object) -> Any:
        assert self._process.stdout is not None
        self._send((name, arguments))
        try:
            result, error, self.written_bytes = pickle.load(self._process.stdout)  # noqa: S301  our own process has written it
        except (EOFError, pickle.UnpicklingError, OSError) as ended:
            self.has_ended = True
            raise WriterEndedError from ended
        if error is not None:
            raise error
        return result

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
        except OSError as error:
            self.has_ended = True
            raise WriterEndedError from error


def main() -> None:
    """Carry out the calls that arrive on the standard input, until it ends."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # they reach the whole group; the run's process then closes the archive
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may be written among the answers
    with suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):  # the run's process was killed
        writer = SegmentWriter(**pickle.load(calls))  # noqa: S301  the run's process has written it
        while True:
            name, arguments = pickle.load(calls)  # noqa: S301  as above
            result: object = None
            error: Exception | None = None
            try:
                result = getattr(writer, name)(*arguments)
            except OSError as failed:
                error = failed
            except Exception as failed:  # noqa: BLE001  the run's process handles it, and may not know its class
                error = RuntimeError(f"{type(failed).__name__}: {failed}")
            pickle.dump((result, error, writer.written_bytes), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()


if __name__ == "__main__":
    main()
