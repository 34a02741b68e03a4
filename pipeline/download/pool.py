"""The download pool of one run: starts, drains and stops its threads, and reports its numbers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from pipeline.download.active_transfers import ActiveTransfers
from pipeline.download.limits import DownloadLimits
from pipeline.download.recorder import ResultRecorder
from pipeline.download.scheduler import DownloadScheduler
from pipeline.download.storage.download_folder import DownloadFolder
from pipeline.download.storage.open_folder import open_folder
from pipeline.download.storage.paths import FolderLayout
from pipeline.download.unverified_files import UnverifiedFiles
from pipeline.download.worker import DownloadWorker, SiteAccess
from pipeline.errors import PipelineError
from pipeline.model import Run, Transfer
from pipeline.store.database.engine import Store
from pipeline.store.files import download_queue as queue

_log = logging.getLogger(__name__)

_DRAIN_GRACE_S = 30.0


@dataclass(frozen=True)
class DownloadFigures:
    """The numbers of a run's downloads.

    done: the number of finished files. unchanged: how many of these have not changed on the server and were not fetched again.
    failed: the number of files that failed. bytes: the number of bytes received. active: the files that are being transferred.
    """

    done: int = 0
    unchanged: int = 0
    failed: int = 0
    bytes: int = 0
    active: tuple[Transfer, ...] = ()


class DownloadPool:
    """Fetches the files in the download queue of a run's pass.

    The pool works from start() until drain() or stop() returns. The leases of the downloads belong to `store.owner`. clock: a
    function that returns the current time as an aware datetime in UTC.
    """

    def __init__(self, store: Store, run: Run, site: SiteAccess, limits: DownloadLimits, *, layout: FolderLayout | None = None,
                 clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._run = run
        self._site = site
        self._limits = limits
        self._layout = layout or FolderLayout()
        self._clock = clock
        self._transfers = ActiveTransfers()
        self._folder: DownloadFolder | None = None
        self._recorder: ResultRecorder | None = None
        self._scheduler: DownloadScheduler | None = None
        self._threads: list[threading.Thread] = []
        self._closing = threading.Lock()

    @property
    def fatal(self) -> PipelineError | None:
        """The error that is ending the run, such as a full disk or an unavailable store; None if there is none.

        Unfinished downloads stay in the queue, for the next run.
        """
        return self._transfers.fatal

    def start(self) -> None:
        """Start the threads of the scheduler and the workers.

        Raise StoreError if the store fails, or DownloadError if the download folder cannot be used.
        """
        self._folder = folder = open_folder(self._store, self._run.spider)
        folder.remove_stale_parts(queue.part_keys(self._store, self._run.spider), partial(queue.is_recorded, self._store))
        self._transfers.earlier_bytes = queue.run_bytes(self._store, self._run)
        self._recorder = recorder = ResultRecorder(self._store, self._run, folder, self._limits,
                                                   leave_alone=self._site.leave_alone, clock=self._clock)
        unverified = None
        if self._site.login_state is not None:
            unverified = UnverifiedFiles(self._site.login_state, self._site.checkable, self._transfers.wake)
        self._scheduler = DownloadScheduler(self._store, self._run, self._limits, transfers=self._transfers,
                                                       recorder=recorder, unverified=unverified, clock=self._clock)
        worker = DownloadWorker(self._store, self._site, self._limits, layout=self._layout, folder=folder,
                                transfers=self._transfers, recorder=recorder)
        self._threads = [threading.Thread(target=target, name=f"download-{number}", daemon=True)
                         for number, target in enumerate([self._scheduler.run] + [worker.run] * self._limits.workers)]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Make the scheduler read the queue again, because pages with new downloads were committed."""
        self._transfers.wake()

    def drain(self) -> None:
        """Block until all downloads are finished, or until `fatal` is set. Then end the threads.

        A download whose next attempt must wait longer than `patience_s` is left in the queue for the next run. After drain(), the
        pool cannot be used again.
        """
        self._transfers.wait_until_drained()
        self._end(_DRAIN_GRACE_S)

    def stop(self, grace_s: float = 5.0) -> None:
        """Stop all transfers, keep the partial downloads, and return all unfinished downloads to the queue.

        This takes at most about `grace_s` seconds.
        """
        self._end(grace_s)

    def figures(self) -> DownloadFigures:
        recorder = self._recorder
        return DownloadFigures(recorder.done if recorder else 0, recorder.unchanged if recorder else 0,
                               recorder.failed if recorder else 0, self._transfers.received_bytes, self._transfers.in_transfer())

    def _end(self, grace_s: float) -> None:
        self._transfers.stop()
        deadline = time.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._closing:  # stop() may be called while drain() is ending
            self._close(deadline - time.monotonic())

    def _close(self, within_s: float) -> None:
        """Record the last results, and close the folder if no thread is still running."""
        if self._folder is None:
            return
        if self._scheduler is not None:
            try:
                self._scheduler.close(within_s)
            except PipelineError as error:
                self._transfers.fail(error)
                _log.warning("the last results could not be recorded; the downloads are tried again when their leases have expired: %s", error)
        if not any(thread.is_alive() for thread in self._threads):
            self._folder.close()
            self._folder = None
