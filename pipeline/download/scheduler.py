"""The scheduler of downloads.

Leases queued downloads for the workers, renews leases, and records results.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from pipeline.download.active_transfers import ActiveTransfers
from pipeline.download.limits import DownloadLimits
from pipeline.download.recorder import ResultRecorder
from pipeline.download.unverified_files import UnverifiedFiles, Verdict
from pipeline.errors import DownloadError, PipelineError
from pipeline.hosts import place_of
from pipeline.model import Run
from pipeline.store.database.engine import Store
from pipeline.store.files import download_queue as queue
from pipeline.store.runs import leases

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
"""The seconds between two reads of the queue while workers are idle and downloads wait for their next attempt."""


class DownloadScheduler:
    """Leases downloads for the workers and records their results, in a thread of its own.

    unverified: the object that holds results until a login check verifies them; None if the session has no login.
    """

    def __init__(self, store: Store, run: Run, limits: DownloadLimits, *, transfers: ActiveTransfers,
                 recorder: ResultRecorder, unverified: UnverifiedFiles | None, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._run = run
        self._limits = limits
        self._transfers = transfers
        self._recorder = recorder
        self._unverified = unverified
        self._clock = clock
        self._renewal_s = limits.lease_renewal_s or leases.TTL.total_seconds() / 3
        self._leased_any = False

    def run(self) -> None:
        """Lease downloads and record results until the pool stops. The scheduler's thread executes this method."""
        renewed_s = time.monotonic()
        try:
            while not self._transfers.stopping:
                if time.monotonic() - renewed_s >= self._renewal_s:
                    self._renew_leases()
                    renewed_s = time.monotonic()
                self._record_results()
                wait_s = min(self._lease_more(), self._renewal_s)
                if self._unverified is not None:
                    wait_s = min(wait_s, self._unverified.due_in_s())
                self._transfers.wait(wait_s, gather=self._limits.workers)
        except PipelineError as error:
            self._transfers.fail(error)
        except Exception as error:  # noqa: BLE001  otherwise the thread would end without notice and the run would hang
            self._transfers.fail(unexpected_error(error))

    def close(self, within_s: float) -> None:
        """Record the last results, and return all other downloads to the queue. Call this method after run() has ended."""
        if self._unverified is None:
            self._record_results()
        else:
            self._hold_results(self._unverified)
            self._apply(self._unverified.close(within_s))
        if leased := self._transfers.clear():
            queue.release(self._store, self._run.spider, leased, owner=self._store.owner)

    def _lease_more(self) -> float:
        """Lease downloads for idle workers. Return how many seconds to wait at most before the next call."""
        leased = self._transfers.begin_look()
        # Each worker gets one download to fetch now, and two more so that it stays busy while results are being written to the store.
        room = 3 * self._limits.workers - len(leased)
        if self._unverified is not None and (most := self._unverified.room) is not None:
            room = min(room, most - len(leased))
        if room <= 0:
            return self._renewal_s
        now = self._clock()
        if not self._leased_any:  # most runs have no downloads, and this query is cheaper than leasing
            left = queue.remaining(self._store, self._run)
            self._leased_any = bool(left.waiting)
            if not self._leased_any:
                return self._nothing_to_lease(left, now)
        taken = queue.take(self._store, self._run, owner=self._store.owner, now=now, limit=room, per_host=self._limits.per_host,
                           busy_hosts=Counter(map(place_of, leased)))
        if taken:
            self._transfers.add(taken)
            return _LOOK_S
        return self._nothing_to_lease(queue.remaining(self._store, self._run), now)

    def _nothing_to_lease(self, left: queue.Remaining, now: datetime) -> float:
        wait_s = self._renewal_s if left.due_at is None else (left.due_at - now).total_seconds()
        held = self._unverified is not None and self._unverified.held
        if not held and (not left.waiting or wait_s > self._limits.patience_s):
            self._transfers.end_drain_if_idle()
        # A download that is due but not leased waits because too many files of its host are in transfer. When a transfer ends, this
        # thread is woken.
        return max(wait_s, 0.05 if self._transfers.idle else _LOOK_S)

    def _record_results(self) -> None:
        """Record the workers' results. If the session has a login, record only results that a login check has verified."""
        if self._unverified is None:
            results = self._transfers.take_results()
            self._recorder.record(results)
            for each in results:
                self._transfers.remove(each.wanted)
            return
        self._hold_results(self._unverified)
        # The login check must not wait for downloads whose retry is due later, because drain() may end before these retries.
        self._apply(self._unverified.take_verified(check_now=self._transfers.drained))

    def _hold_results(self, unverified: UnverifiedFiles) -> None:
        results = self._transfers.take_results()
        unverified.hold(results)
        for each in results:
            self._transfers.remove(each.wanted)

    def _apply(self, verdict: Verdict) -> None:
        self._recorder.record(verdict.verified)
        if verdict.refetch:
            self._recorder.refetch(verdict.refetch)
            self._transfers.wake()

    def _renew_leases(self) -> None:
        ids = [*self._transfers.ids(), *(self._unverified.held if self._unverified is not None else ())]
        if ids:
            renewed = queue.renew(self._store, self._run.spider, ids, owner=self._store.owner, now=self._clock())
            self._transfers.stop_lost(ids, renewed)


def unexpected_error(error: Exception) -> PipelineError:
    """Log the traceback of an exception that ended a thread, and return the error to report for it."""
    _log.error("a download thread failed", exc_info=error)
    return DownloadError(f"an unexpected {type(error).__name__} occurred in a download thread", fix="see the log, and report this error")
