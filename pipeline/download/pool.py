"""The downloads of one run: a bounded set of threads that empty the queue in the store."""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import requests

from pipeline.download.active_transfers import Figures, Transferring
from pipeline.download.limits import MIB, Limits
from pipeline.download.rate_limit import Pace
from pipeline.download.response.answer import Translate, TryLaterError
from pipeline.download.response.buffers import Buffers
from pipeline.download.storage.part_files import Landing
from pipeline.download.storage.paths import Places
from pipeline.download.transfer import Fetched, NotModified, StoppedError, fetch
from pipeline.download.unproved_files import Came, Sorted, UnprovedFiles
from pipeline.errors import DiskFullError, DownloadError, LeaseLostError, LoginError, PipelineError, StoreError
from pipeline.hosts import place_of
from pipeline.model import DownloadState, QueuedDownload, Run
from pipeline.session.client import Client
from pipeline.session.login.expiry import LoginState
from pipeline.store.database.engine import Store
from pipeline.store.files import download_queue as queue
from pipeline.store.runs import leases
from pipeline.text import clean_line, shown_url

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
"""How often idle workers look for retries that have come due."""
_GATHER_S = 0.02
"""How long files that have arrived wait for others, to be recorded together."""
_OF_THE_DISK = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""What is no fault of one file."""
_PROGRESS_BYTES = MIB
"""An attempt that brought this much does not count against the number of attempts."""


Admit = Callable[[str, threading.Event], contextlib.AbstractContextManager[None]]
"""Takes a URL and what ends the wait."""


class Downloads:
    """Fetches what is waiting in the run's pass, from `start()` until `drain()` has returned or `stop()`.

    client: makes the requests.Session of one thread; owner: in whose name rows are leased; per_host: at most so
    many at one host; admit: waits until a file may be fetched, and holds its place; leave_alone: told a URL whose host
    wants no requests for so many seconds; on_change: called from any thread after every file; login_state: of a session with
    a login, whose files are recorded once it is proved that it holds, as far as checkable says that it can be; renew_s: how
    often leases are renewed; clock: aware, UTC.
    """

    def __init__(self, store: Store, run: Run, *, client: Callable[[], requests.Session], translate: Translate,
                 limits: Limits, workers: int, owner: str, on_change: Callable[[], None], per_host: int | None = None,
                 places: Places | None = None, admit: Admit = lambda url, stopped: contextlib.nullcontext(),
                 leave_alone: Callable[[str, float], None] = lambda url, seconds: None, login_state: LoginState | None = None,
                 checkable: Callable[[], bool] = lambda: True, renew_s: float = leases.TTL.total_seconds() / 3,
                 clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._run = run
        self._client = client
        self._translate = translate
        self._limits = limits
        self._admit = admit
        self._leave_alone = leave_alone
        self._places = places or Places()
        self._workers = workers
        self._owner = owner
        self._on_change = on_change
        self._per_host = per_host
        self._renew_s = renew_s
        self._clock = clock
        self._pace = Pace(limits.rate_bytes_s)
        self._changed = threading.Condition()
        self._closing = threading.Lock()
        self._handed: deque[Transferring] = deque()
        self._active: dict[int, Transferring] = {}
        self._arrived: list[Came] = []
        self._unproved = UnprovedFiles(login_state, checkable, self.wake) if login_state is not None else None
        self._look = True
        self._any = False
        self._draining = self._drained = False
        self._stopping = False
        self._done = self._unchanged = self._failed = self._bytes = 0
        self._earlier_bytes = 0
        self._threads: list[threading.Thread] = []
        self._landing: Landing | None = None
        self.fatal: PipelineError | None = None
        """Why the run cannot go on (disk full, store gone); what was waiting still is."""

    def start(self) -> None:
        """Raises StoreError, DownloadError when the folder cannot be used."""
        self._landing = landing = Landing(self._store.files.root, self._run.spider)
        landing.sweep(queue.part_keys(self._store, self._run.spider), self._recorded)
        self._earlier_bytes = queue.run_bytes(self._store, self._run)
        targets = [self._dispatch] + [self._work] * self._workers
        self._threads = [threading.Thread(target=target, name=f"download-{number}", daemon=True)
                         for number, target in enumerate(targets)]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Pages were committed: there may be new downloads."""
        with self._changed:
            self._look = True
            self._changed.notify_all()

    def drain(self) -> None:
        """Block until nothing is waiting, or only what is to be retried later than `patience_s`, or `fatal`.

        Ends the threads; further downloads need a new instance.
        """
        with self._changed:
            self._drained = False
            self._draining = self._look = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._drained or self._stopping)
        self._end(grace_s=30.0)

    def stop(self, grace_s: float = 5.0) -> None:
        """Checkpoint: parts stay, rows go back to waiting. Returns after at most about `grace_s`."""
        self._end(grace_s)

    def figures(self) -> Figures:
        now_s = time.monotonic()
        with self._changed:
            return Figures(self._done, self._unchanged, self._failed, self._bytes,
                           tuple(each.figures(now_s) for each in self._active.values() if each.begun))

    def _end(self, grace_s: float) -> None:
        self._stop_all()
        deadline = time.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._closing:  # a stop may come while a drain is on its way out
            self._let_go(deadline - time.monotonic())

    def _let_go(self, within_s: float) -> None:
        """Record what arrived, give back the rest, close the folder once nobody works in it."""
        try:
            if self._unproved is None:
                self._settle()
            else:
                self._hold_arrived()
                self._apply(self._unproved.close(within_s))
            with self._changed:
                held = list(self._active)
                self._active.clear()
                self._handed.clear()
            if held:
                queue.release(self._store, held, owner=self._owner)
        except PipelineError as error:
            self.fatal = self.fatal or error
            _log.warning("downloads under way are free once their lease runs out: %s", error)
        if self._landing is not None and not any(thread.is_alive() for thread in self._threads):
            self._landing.close()
            self._landing = None

    def _stop_all(self) -> None:
        with self._changed:
            self._stopping = True
            for transfer in self._active.values():
                transfer.stop()
            self._changed.notify_all()

    def _give_up(self, error: PipelineError) -> None:
        with self._changed:
            self.fatal = self.fatal or error
        self._stop_all()

    # The dispatcher: leases rows for idle workers and keeps leases alive.

    def _dispatch(self) -> None:
        renewed_s = time.monotonic()
        try:
            while not self._stopping:
                if time.monotonic() - renewed_s >= self._renew_s:
                    self._renew()
                    renewed_s = time.monotonic()
                self._settle()
                wait_s = min(self._hand_out(), self._renew_s)
                if self._unproved is not None:
                    wait_s = min(wait_s, self._unproved.due_in_s())
                with self._changed:
                    self._changed.wait_for(lambda: self._look or self._arrived or self._stopping, timeout=wait_s)
                    # A transaction for many files costs little more than for one; nobody waits for it meanwhile.
                    self._changed.wait_for(lambda: not self._handed or len(self._arrived) >= self._workers or self._stopping,
                                           timeout=_GATHER_S)
        except PipelineError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001  a thread that dies unseen would leave the run hanging
            self._give_up(_unexpected(error))

    def _hand_out(self) -> float:
        """Lease what there is room for; returns the seconds until there may be more."""
        with self._changed:
            self._look = False
            # One for each worker, and two each to go on with while the store is written.
            room = 3 * self._workers - len(self._active)
            hosts = Counter(place_of(transfer.wanted.url) for transfer in self._active.values())
            if self._unproved is not None and (bound := self._unproved.room) is not None:
                room = min(room, bound - len(self._active))
        if room <= 0:
            return self._renew_s
        now = self._clock()
        if not self._any:  # as in most runs: asked more cheaply than by taking them
            left = queue.remaining(self._store, self._run)
            self._any = bool(left.waiting)
            if not self._any:
                return self._nothing_to_take(left, now)
        taken = queue.take(self._store, self._run, owner=self._owner, now=now, limit=room, per_host=self._per_host,
                           busy_hosts=hosts)
        if taken:
            with self._changed:
                for wanted in taken:
                    self._active[wanted.id] = transfer = Transferring(wanted)
                    self._handed.append(transfer)
                    if self._stopping:
                        transfer.stop()
                self._changed.notify_all()
            return _LOOK_S
        return self._nothing_to_take(queue.remaining(self._store, self._run), now)

    def _nothing_to_take(self, left: queue.Remaining, now: datetime) -> float:
        wait_s = self._renew_s if left.due_at is None else (left.due_at - now).total_seconds()
        with self._changed:
            held = self._unproved is not None and self._unproved.held
            if not self._active and not held and not self._look and (not left.waiting or wait_s > self._limits.patience_s):
                self._drained = True
                self._changed.notify_all()
            # What is due and yet not taken waits for a busy host; the end of a file wakes us anyway.
            return max(wait_s, _LOOK_S if self._active else 0.05)

    def _settle(self) -> None:
        """Record what the workers brought, of a session with a login once that is proved to hold."""
        if self._unproved is None:
            with self._changed:
                arrived, self._arrived = self._arrived, []
            self._record(arrived)
            for each in arrived:
                self._over(each.wanted)
            return
        self._hold_arrived()
        with self._changed:
            idle = self._draining and not self._active
        # What of the queue cannot be had now is no reason to wait with a proof: a drain may end.
        self._apply(self._unproved.sort(now=idle))

    def _hold_arrived(self) -> None:
        assert self._unproved is not None
        with self._changed:
            arrived, self._arrived = self._arrived, []
            self._unproved.hold(arrived)
        for each in arrived:
            self._over(each.wanted)

    def _apply(self, files: Sorted) -> None:
        self._record(files.proved)
        for each in files.again:
            if isinstance(each.found, Fetched) and self._landing is not None:
                self._landing.remove(each.found.key, each.found.size_bytes)
                self._landing.settled(each.found.key)
                self._landing.remove_part(each.found.part_key)
        if files.again:
            queue.release(self._store, [each.wanted.id for each in files.again], owner=self._owner)
            self.wake()

    def _record(self, came: Sequence[Came]) -> None:
        """Into the store in one transaction; only then do parts lose their own names."""
        landing = self._landing
        if not came or landing is None:
            return
        arrived = [(each.wanted, each.found) for each in came if not isinstance(each.found, PipelineError)]
        ours = queue.record(self._store, self._run, [_arrived(wanted, found) for wanted, found in arrived],
                            owner=self._owner, now=self._clock()) if arrived else set()
        for wanted, found in arrived:
            if isinstance(found, Fetched):
                landing.settled(found.key)
            if wanted.id not in ours:
                _log.warning("download %d was taken up by someone else", wanted.id)
                continue
            landing.remove_part(found.part_key)
            with self._changed:
                self._done += 1
                self._unchanged += isinstance(found, NotModified)
        for each in came:
            if isinstance(each.found, PipelineError):
                self._failure(each.wanted, each.found)

    def _renew(self) -> None:
        with self._changed:
            ids = [*self._active, *(self._unproved.held if self._unproved is not None else ())]
        if not ids:
            return
        kept = queue.renew(self._store, ids, owner=self._owner, now=self._clock())
        with self._changed:
            for row_id in ids:
                if row_id not in kept and row_id in self._active:
                    self._active[row_id].stop()

    # The workers: one file at a time each.

    def _work(self) -> None:
        client: requests.Session | None = None
        buffers: Buffers | None = None
        try:
            while (transfer := self._next()) is not None:
                client = client or self._client()
                buffers = buffers or Buffers(self._limits.buffer_bytes(self._workers))
                self._fetch(client, buffers, transfer)
        except PipelineError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001  as above
            self._give_up(_unexpected(error))
        finally:
            if client is not None:
                client.close()

    def _next(self) -> Transferring | None:
        with self._changed:
            self._changed.wait_for(lambda: self._handed or self._stopping)
            if self._stopping:
                return None
            transfer = self._handed.popleft()
            transfer.begun = True
            return transfer

    def _fetch(self, client: requests.Session, buffers: Buffers, transfer: Transferring) -> None:
        wanted = transfer.wanted
        landing = self._landing
        assert landing is not None  # closed after the last worker only
        try:
            with self._admit(wanted.url, transfer.stopped):
                found = fetch(
                    client, wanted, landing, buffers=buffers, places=self._places, limits=self._limits,
                    translate=self._translate,
                    on_bytes=lambda count: self._received(transfer, count), stopped=transfer.stopped,
                    note_part=lambda **part: queue.record_part(self._store, wanted.id, owner=self._owner, **part),
                    taken=self._recorded, twins=partial(queue.same_content, self._store, wanted.spider),
                    on_answer=transfer.answered)
        except StoppedError:
            if self._stopping:
                return  # whoever stopped us all gives the rows back
        except (DiskFullError, LoginError) as error:  # neither passes with the next file
            self._give_up(error)
            return
        except LeaseLostError as error:
            _log.warning("%s", error)
        except StoreError:
            raise
        except PipelineError as error:
            if self._unproved is not None and not error.retry:  # strangers may be refused what we may have
                self._came(client, wanted, error)
                return
            self._failure(wanted, error, progressed=transfer.received >= _PROGRESS_BYTES)
        except OSError as error:
            if error.errno in _OF_THE_DISK:
                raise
            self._failure(wanted, _unforeseen(error, wanted))
        except Exception as error:  # noqa: BLE001  whatever one answer makes go wrong costs that one file
            self._failure(wanted, _unforeseen(error, wanted))
        else:
            self._came(client, wanted, found)
            return
        finally:
            transfer.hang_up()
        self._over(wanted)

    def _came(self, client: requests.Session, wanted: QueuedDownload, found: Fetched | NotModified | PipelineError) -> None:
        came = Came(wanted, found, client.epoch if isinstance(client, Client) else 0, time.monotonic())
        with self._changed:
            self._arrived.append(came)
            self._changed.notify_all()

    def _recorded(self, key: str) -> bool:
        return queue.is_recorded(self._store, key)

    def _received(self, transfer: Transferring, count: int) -> None:
        with self._changed:
            transfer.received += count
            self._bytes += count
            so_far = self._earlier_bytes + self._bytes
        if self._limits.max_run_bytes is not None and so_far > self._limits.max_run_bytes:
            raise DownloadError(f"this run's downloads are more than the {self._limits.max_run_bytes} bytes allowed",
                                where=shown_url(transfer.wanted.url), fix="raise downloads.max_total")
        self._pace.spend(count, transfer.stopped)

    def _failure(self, wanted: QueuedDownload, error: PipelineError, *, progressed: bool = False) -> None:
        wait_s = self._backoff_s(wanted, error)
        if isinstance(error, TryLaterError):
            self._leave_alone(wanted.url, error.after_s or wait_s)
        retry_at = self._clock() + timedelta(seconds=wait_s) if error.retry else None
        try:
            state = queue.fail(self._store, wanted.id, owner=self._owner, error=str(error), now=self._clock(), retry_at=retry_at,
                               attempts=self._limits.attempts, progressed=progressed)
        except LeaseLostError as lost:
            _log.warning("%s", lost)
            return
        if state is DownloadState.FAILED:
            with self._changed:
                self._failed += 1
            _log.warning("download failed: %s", error)
        else:
            _log.info("download to be tried again: %s", error)

    def _backoff_s(self, wanted: QueuedDownload, error: PipelineError) -> float:
        """Doubling with up to a quarter of jitter; what the server asked for where it did."""
        failures = queue.failures(self._store, wanted.id)
        wait_s: float = min(self._limits.backoff_s * 2 ** min(failures, 30), self._limits.backoff_max_s)
        wait_s *= random.uniform(1.0, 1.25)  # noqa: S311  it spreads retries, nothing secret
        if isinstance(error, TryLaterError):
            wait_s = max(wait_s, error.after_s)
        return wait_s

    def _over(self, wanted: QueuedDownload) -> None:
        with self._changed:
            self._active.pop(wanted.id, None)
            self._look = True
            self._changed.notify_all()
        self._on_change()


def _arrived(wanted: QueuedDownload, found: Fetched | NotModified) -> queue.CompletedDownload:
    if isinstance(found, NotModified):
        return queue.CompletedDownload(wanted, etag=found.etag, last_modified=found.last_modified)
    return queue.CompletedDownload(wanted, key=found.key, name=found.name, size_bytes=found.size_bytes, sha256=found.sha256,
                         content_type=found.content_type, etag=found.etag, last_modified=found.last_modified)


def _unforeseen(error: Exception, wanted: QueuedDownload) -> PipelineError:
    where = shown_url(wanted.url)
    _log.error("%s: an unforeseen %s", where, type(error).__name__, exc_info=error)
    return DownloadError(f"could not be fetched: {type(error).__name__}: {clean_line(str(error), 200)}", where=where,
                         fix="the run's log has the details; report it")


def _unexpected(error: Exception) -> PipelineError:
    _log.error("a download thread failed", exc_info=error)
    return DownloadError(f"an unexpected {type(error).__name__} in a download thread", fix="the log has the details; report it")
