"""The download workers: each thread fetches one file at a time, and decides which errors end the run."""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import requests

from pipeline.download.active_transfers import ActiveTransfer, ActiveTransfers
from pipeline.download.limits import MIB, DownloadLimits, RateLimiter
from pipeline.download.page_file import store_page_file
from pipeline.download.recorder import ResultRecorder
from pipeline.download.response.buffers import Buffers
from pipeline.download.response.request import Translate
from pipeline.download.scheduler import unexpected_error
from pipeline.download.storage.download_folder import DownloadFolder
from pipeline.download.storage.paths import FolderLayout
from pipeline.download.transfer import Fetched, NotModified, StoppedError, TransferEvents, TransferTools, fetch
from pipeline.download.unverified_files import FileResult
from pipeline.errors import DiskFullError, DownloadError, LeaseLostError, LoginError, PipelineError, StoreError
from pipeline.model import QueuedDownload
from pipeline.session.client import Client
from pipeline.session.login.expiry import LoginState
from pipeline.store.database.engine import Store
from pipeline.store.files import download_queue as queue
from pipeline.store.files import page_files
from pipeline.text import clean_line, shown_url, size_for_people

_log = logging.getLogger(__name__)

_DISK_ERRORS = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""The numbers of OS errors that affect the whole system and not only one file."""
_PROGRESS_BYTES = MIB
"""A failed attempt that received at least this many bytes does not count as one of the allowed attempts."""


@dataclass(frozen=True)
class SiteAccess:
    """What the workers need for requests to a site: callbacks and the login state.

    new_session: a function that returns a new requests.Session for a thread. translate: a function that converts an exception of
    requests to a PipelineError. admit: a function that takes a URL and an event, and returns a context manager. The context
    manager waits until the URL may be requested or the event is set; while it is open, it counts as one request to the URL's
    host. leave_alone: a function that pauses requests to a host; it is called with a URL of the host and the length of the pause
    in seconds. login_state: the state of the session's login; None if the session has no login. checkable: a function that
    returns whether the login can be checked.
    """

    new_session: Callable[[], requests.Session]
    translate: Translate
    admit: Callable[[str, threading.Event], contextlib.AbstractContextManager[None]] = lambda url, stopped: contextlib.nullcontext()
    leave_alone: Callable[[str, float], None] = lambda url, seconds: None
    login_state: LoginState | None = None
    checkable: Callable[[], bool] = lambda: True


class DownloadWorker:
    """Fetches files. All worker threads share one object of this class, and each of them executes run()."""

    def __init__(self, store: Store, site: SiteAccess, limits: DownloadLimits, *, layout: FolderLayout,
                 folder: DownloadFolder, transfers: ActiveTransfers, recorder: ResultRecorder) -> None:
        self._store = store
        self._site = site
        self._limits = limits
        self._layout = layout
        self._folder = folder
        self._transfers = transfers
        self._recorder = recorder
        self._rate = RateLimiter(limits.rate_bytes_s)

    def run(self) -> None:
        """Fetch one file after another until the pool stops."""
        tools: TransferTools | None = None
        try:
            while (transfer := self._transfers.next()) is not None:
                tools = tools or TransferTools(self._site.new_session(), self._folder, Buffers(self._limits.buffer_bytes),
                                               self._layout, self._limits, self._site.translate)
                self._process(tools, transfer)
        except PipelineError as error:
            self._transfers.fail(error)
        except Exception as error:  # noqa: BLE001  otherwise the thread would end without notice and the run would hang
            self._transfers.fail(unexpected_error(error))
        finally:
            if tools is not None:
                tools.client.close()

    def _process(self, tools: TransferTools, transfer: ActiveTransfer) -> None:
        """Fetch one file, then pass the result to the scheduler or record the failed attempt.

        If an error must end the run, raise the error.
        """
        wanted = transfer.wanted
        try:
            found = self._fetch(tools, transfer)
        except StoppedError:
            if self._transfers.stopping:
                return  # the transfer was stopped: the scheduler will return all leased downloads to the queue
        except (DiskFullError, LoginError) as error:  # the next file would fail for the same reason
            self._transfers.fail(error)
            return
        except LeaseLostError as error:
            _log.warning("%s", error)
        except StoreError:
            raise
        except PipelineError as error:
            if self._site.login_state is not None and not error.retry:  # an expired session may be the cause
                self._add_result(tools.client, wanted, error)
                return
            self._recorder.record_failure(wanted, error, progressed=transfer.received >= _PROGRESS_BYTES)
        except OSError as error:
            if error.errno in _DISK_ERRORS:
                raise
            self._recorder.record_failure(wanted, _unforeseen(error, wanted))
        except Exception as error:  # noqa: BLE001  an error that one response causes must not end the run
            self._recorder.record_failure(wanted, _unforeseen(error, wanted))
        else:
            self._add_result(tools.client, wanted, found)
            return
        finally:
            transfer.close_connection()
        self._transfers.remove(wanted)

    def _fetch(self, tools: TransferTools, transfer: ActiveTransfer) -> Fetched | NotModified:
        wanted = transfer.wanted
        records = _Records(self._store, wanted)
        if (kind := page_files.kind_of(wanted.url)) is not None:
            found = store_page_file(tools, wanted, records, kind, page_files.PageFiles(self._store.data_dir, wanted.spider).get(wanted.url))
            if isinstance(found, Fetched):  # its size is part of the run's line, like that of a file that was received
                self._transfers.count_bytes(transfer, found.received_bytes)
            return found
        with self._site.admit(wanted.url, transfer.stopped):
            return fetch(tools, wanted, records, TransferEvents(transfer.stopped, transfer.on_response, lambda count: self._count_bytes(transfer, count)))

    def _add_result(self, client: requests.Session, wanted: QueuedDownload, found: Fetched | NotModified | PipelineError) -> None:
        login_epoch = client.epoch if isinstance(client, Client) else 0
        self._transfers.add_result(FileResult(wanted, found, login_epoch, time.monotonic()))

    def _count_bytes(self, transfer: ActiveTransfer, count: int) -> None:
        run_bytes = self._transfers.count_bytes(transfer, count)
        if self._limits.max_run_bytes is not None and run_bytes > self._limits.max_run_bytes:
            raise DownloadError(f"the downloads of this run exceed the limit of {size_for_people(self._limits.max_run_bytes or 0)}",
                                where=shown_url(transfer.wanted.url), fix="increase downloads.max_total")
        self._rate.spend(count, transfer.stopped)


@dataclass(frozen=True)
class _Records:
    """The part of the store that the transfer of one download reads and writes."""

    store: Store
    wanted: QueuedDownload

    def is_recorded(self, key: str, /) -> bool:
        return queue.is_recorded(self.store, key)

    def same_content(self, sha256: str, size_bytes: int) -> Sequence[str]:
        return queue.same_content(self.store, self.wanted.spider, sha256, size_bytes)

    def record_part(self, *, part_key: str, etag: str, last_modified: str, length: int | None) -> None:
        queue.record_part(self.store, self.wanted.spider, self.wanted.id, owner=self.store.owner, part_key=part_key, etag=etag,
                          last_modified=last_modified, length=length)


def _unforeseen(error: Exception, wanted: QueuedDownload) -> PipelineError:
    where = shown_url(wanted.url)
    _log.error("%s: an unexpected %s occurred", where, type(error).__name__, exc_info=error)
    return DownloadError(f"the file could not be fetched: {type(error).__name__}: {clean_line(str(error), 200)}", where=where,
                         fix="see the log of the run, and report this error")
