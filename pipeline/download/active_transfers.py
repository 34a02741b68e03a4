"""The downloads that a run has leased: waiting for a worker, in transfer, or not yet recorded."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import requests

from pipeline.download.storage import filenames
from pipeline.download.unverified_files import FileResult
from pipeline.errors import PipelineError
from pipeline.model import QueuedDownload, Transfer

_GATHER_S = 0.02
"""How long, in seconds, a finished file waits for other files to finish, so that one transaction records all of them."""


@dataclass
class ActiveTransfer:
    """A leased download.

    offset: the position in the file at which the current response's body starts. received: the number of bytes received from this
    response. total: the size of the file; None means unknown. begun: whether a worker has taken the download.
    """

    wanted: QueuedDownload
    stopped: threading.Event = field(default_factory=threading.Event)
    started_s: float = field(default_factory=time.monotonic)
    offset: int = 0
    received: int = 0
    total: int | None = None
    connection: socket.socket | None = None
    begun: bool = False

    def on_response(self, response: requests.Response, offset: int, total: int | None) -> None:
        self.offset, self.total, self.started_s = offset, total, time.monotonic()
        self.close_connection()
        # Duplicate the file descriptor. Shutting down the duplicate ends a read in the worker's thread immediately, even with TLS. The
        # operating system cannot reuse the number of the duplicate for another connection in the meantime.
        with contextlib.suppress(OSError, AttributeError, ValueError):
            self.connection = socket.socket(fileno=os.dup(response.raw.fileno()))

    def stop(self) -> None:
        self.stopped.set()
        connection = self.connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close_connection(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def figures(self, now_s: float) -> Transfer:
        wanted = self.wanted
        return Transfer(
            name=filenames.safe(wanted.name) or filenames.safe(filenames.from_url(wanted.url)) or "download",
            done_bytes=self.offset + self.received, total_bytes=self.total,
            rate_bytes_s=self.received / max(now_s - self.started_s, 1e-3))


class ActiveTransfers:
    """Passes leased downloads from the scheduler to the workers, and their results back to the scheduler. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[ActiveTransfer] = deque()
        self._active: dict[int, ActiveTransfer] = {}
        self._results: list[FileResult] = []
        self._look = True
        self._draining = self._drained = False
        self._stopping = False
        self._bytes = 0
        self.earlier_bytes = 0
        """The number of bytes that earlier processes of the run have received."""
        self.fatal: PipelineError | None = None
        """The error that is ending the run, such as a full disk or an unavailable store; None if there is none.

        Unfinished downloads stay in the queue, for the next run.
        """

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def received_bytes(self) -> int:
        return self._bytes

    @property
    def idle(self) -> bool:
        """Whether no download is leased, not counting finished downloads that wait for a login check."""
        return not self._active

    @property
    def drained(self) -> bool:
        """Whether drain() is waiting, and all files that are left are finished and wait for a login check."""
        with self._changed:
            return self._draining and not self._active

    def ids(self) -> list[int]:
        with self._changed:
            return list(self._active)

    def in_transfer(self) -> tuple[Transfer, ...]:
        """Return the progress of each file that a worker is fetching."""
        now_s = time.monotonic()
        with self._changed:
            return tuple(each.figures(now_s) for each in self._active.values() if each.begun)

    # Methods for the scheduler

    def wake(self) -> None:
        """Make the scheduler read the queue, because the queue may have new downloads or a login check has ended."""
        with self._changed:
            self._look = True
            self._changed.notify_all()

    def begin_look(self) -> list[str]:
        """Record that the scheduler is about to read the queue, and return the URLs of all leased downloads."""
        with self._changed:
            self._look = False
            return [transfer.wanted.url for transfer in self._active.values()]

    def add(self, leased: Iterable[QueuedDownload]) -> None:
        """Add leased downloads. Workers take these downloads by calling next()."""
        with self._changed:
            for wanted in leased:
                self._active[wanted.id] = transfer = ActiveTransfer(wanted)
                self._waiting.append(transfer)
                if self._stopping:
                    transfer.stop()
            self._changed.notify_all()

    def wait(self, timeout_s: float, *, gather: int) -> None:
        """Wait until a worker adds a result, wake() or stop() is called, or timeout_s seconds have passed.

        If all workers are busy, wait up to _GATHER_S seconds longer, until there are `gather` results.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._look or self._results or self._stopping, timeout=timeout_s)
            # A transaction for many files takes little longer than a transaction for one file. No worker is idle meanwhile, since more
            # downloads are waiting.
            self._changed.wait_for(lambda: not self._waiting or len(self._results) >= gather or self._stopping,
                                   timeout=_GATHER_S)

    def take_results(self) -> list[FileResult]:
        with self._changed:
            results, self._results = self._results, []
            return results

    def remove(self, wanted: QueuedDownload) -> None:
        """Remove a download: its lease has ended, or its result has been recorded or is being held for a login check."""
        with self._changed:
            self._active.pop(wanted.id, None)
            self._look = True
            self._changed.notify_all()

    def stop_lost(self, ids: Iterable[int], renewed: Collection[int]) -> None:
        """Stop the transfers whose lease could not be renewed, because another process may have taken the lease.

        ids: the ids of all leased downloads. renewed: the ids of the downloads whose lease was renewed.
        """
        with self._changed:
            for row_id in ids:
                if row_id not in renewed and row_id in self._active:
                    self._active[row_id].stop()

    def clear(self) -> list[int]:
        """Remove all downloads, and return their ids."""
        with self._changed:
            ids = list(self._active)
            self._active.clear()
            self._waiting.clear()
            return ids

    def end_drain_if_idle(self) -> None:
        """Let wait_until_drained() return, unless a download is still leased or the queue may have changed."""
        with self._changed:
            if not self._active and not self._look:
                self._drained = True
                self._changed.notify_all()

    # Methods for the workers

    def next(self) -> ActiveTransfer | None:
        """Wait for the next download and return it to a worker; return None when the pool stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if self._stopping:
                return None
            transfer = self._waiting.popleft()
            transfer.begun = True
            return transfer

    def add_result(self, result: FileResult) -> None:
        with self._changed:
            self._results.append(result)
            self._changed.notify_all()

    def count_bytes(self, transfer: ActiveTransfer, count: int) -> int:
        """Count received bytes. Return the number of bytes that the whole run has received, including its earlier processes."""
        with self._changed:
            transfer.received += count
            self._bytes += count
            return self.earlier_bytes + self._bytes

    # Ending the pool

    def wait_until_drained(self) -> None:
        """Block until end_drain_if_idle() finds no more work, or the pool stops."""
        with self._changed:
            self._drained = False
            self._draining = self._look = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._drained or self._stopping)

    def stop(self) -> None:
        """Stop all transfers. The bytes received so far are kept."""
        with self._changed:
            self._stopping = True
            for transfer in self._active.values():
                transfer.stop()
            self._changed.notify_all()

    def fail(self, error: PipelineError) -> None:
        """Stop all transfers, because the run cannot continue. Keep the first error in `fatal`."""
        with self._changed:
            self.fatal = self.fatal or error
        self.stop()
