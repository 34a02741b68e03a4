"""Record the results of transfers in the store: finished files, retries with backoff, failures."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from pipeline.download.limits import DownloadLimits
from pipeline.download.response.request import TryLaterError
from pipeline.download.storage.download_folder import DownloadFolder
from pipeline.download.transfer import Fetched, NotModified
from pipeline.download.unverified_files import FileResult
from pipeline.errors import LeaseLostError, PipelineError
from pipeline.model import DownloadState, QueuedDownload, Run
from pipeline.store.database.engine import Store
from pipeline.store.files import download_queue as queue

_log = logging.getLogger(__name__)


class ResultRecorder:
    """Writes the results of transfers to the store. Thread-safe.

    leave_alone: a function that pauses requests to a host; it is called with a URL of the host and the length of the pause in
    seconds. clock: a function that returns the current time as an aware datetime in UTC.
    """

    def __init__(self, store: Store, run: Run, folder: DownloadFolder, limits: DownloadLimits, *,
                 leave_alone: Callable[[str, float], None], clock: Callable[[], datetime]) -> None:
        self._store = store
        self._run = run
        self._folder = folder
        self._limits = limits
        self._leave_alone = leave_alone
        self._clock = clock
        self._counting = threading.Lock()
        self.done = self.unchanged = self.failed = 0

    def record(self, results: Sequence[FileResult]) -> None:
        """Record results: all finished files in one transaction, and then the permanent errors.

        The part file of a finished file is removed only after the file has been recorded.
        """
        finished = [(each.wanted, each.found) for each in results if not isinstance(each.found, PipelineError)]
        ours = queue.record(self._store, self._run, [_completed(wanted, found) for wanted, found in finished],
                            owner=self._store.owner, now=self._clock()) if finished else set()
        for wanted, found in finished:
            if isinstance(found, Fetched):
                self._folder.release_name(found.key)
            if wanted.id not in ours:
                _log.warning("download %d was taken over by another process", wanted.id)
                continue
            self._folder.remove_part(found.part_key)
            with self._counting:
                self.done += 1
                self.unchanged += isinstance(found, NotModified)
        for each in results:
            if isinstance(each.found, PipelineError):
                self.record_failure(each.wanted, each.found)

    def record_failure(self, wanted: QueuedDownload, error: PipelineError, *, progressed: bool = False) -> None:
        """Record a failed attempt: schedule a retry of the download, or mark the download as failed.

        progressed: whether the attempt received so much data that it does not count as one of the allowed attempts.
        """
        wait_s = self._backoff_s(wanted, error)
        if isinstance(error, TryLaterError):
            self._leave_alone(wanted.url, error.after_s or wait_s)
        retry_at = self._clock() + timedelta(seconds=wait_s) if error.retry else None
        try:
            state = queue.fail(self._store, wanted.spider, wanted.id, owner=self._store.owner, error=str(error), now=self._clock(),
                               retry_at=retry_at, attempts=self._limits.attempts, progressed=progressed)
        except LeaseLostError as lost:
            _log.warning("%s", lost)
            return
        if state is DownloadState.FAILED:
            with self._counting:
                self.failed += 1
            _log.warning("a download failed: %s", error)
        else:
            _log.info("a download is retried later: %s", error)

    def refetch(self, results: Sequence[FileResult]) -> None:
        """Delete files that were fetched with an expired login, and return their downloads to the queue."""
        for each in results:
            if isinstance(each.found, Fetched):
                self._folder.remove(each.found.key, each.found.size_bytes)
                self._folder.release_name(each.found.key)
                self._folder.remove_part(each.found.part_key)
        queue.release(self._store, self._run.spider, [each.wanted.id for each in results], owner=self._store.owner)

    def _backoff_s(self, wanted: QueuedDownload, error: PipelineError) -> float:
        """Return the seconds until the next attempt, at least as many as Retry-After says.

        The time doubles with each failure. A random share of up to a quarter is added.
        """
        failures = queue.failures(self._store, wanted.id)
        wait_s: float = min(self._limits.backoff_s * 2 ** min(failures, 30), self._limits.backoff_max_s)
        wait_s *= random.uniform(1.0, 1.25)  # noqa: S311  the random number only spreads retries over time
        if isinstance(error, TryLaterError):
            wait_s = max(wait_s, error.after_s)
        return wait_s


def _completed(wanted: QueuedDownload, found: Fetched | NotModified) -> queue.CompletedDownload:
    if isinstance(found, NotModified):
        return queue.CompletedDownload(wanted, etag=found.etag, last_modified=found.last_modified)
    return queue.CompletedDownload(wanted, key=found.key, name=found.name, size_bytes=found.size_bytes, sha256=found.sha256,
                                   content_type=found.content_type, etag=found.etag, last_modified=found.last_modified)
