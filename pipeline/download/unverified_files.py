"""Hold the results of downloads until `login.check` shows that the session was still valid.

A session can expire without notice: the site then responds with a page for anonymous visitors, or with status 401, 403 or 404.
Therefore the result of each download, a file or a permanent error, is held until the check page (`login.check`) shows that the
session is still logged in. If the session has expired, the program logs in again and fetches the held files again. In the store,
a held download is neither done nor failed, so that the next run fetches the file again if this process is killed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.download.transfer import Fetched, NotModified
from pipeline.errors import LoginError, PipelineError, SessionError
from pipeline.model import QueuedDownload
from pipeline.session.login.expiry import LoginState
from pipeline.text import counted, shown_url

MAX_HELD = 200
MAX_HELD_S = 10.0
SUSPECT_CHECK_S = 2.0
"""The minimum time, in seconds, between two login checks that are started because of suspect results."""
_PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml"})

_log = logging.getLogger(__name__)


class FileResult(NamedTuple):
    """The result of a transfer: a file, an unchanged file, or a permanent error.

    login_epoch: the number of the login with which the file was requested. at_s: the value of time.monotonic() when the transfer
    ended.
    """

    wanted: QueuedDownload
    found: Fetched | NotModified | PipelineError
    login_epoch: int = 0
    at_s: float = 0.0

    @property
    def is_suspect(self) -> bool:
        """Whether the result is typical of an expired session: an HTML page or an error."""
        return isinstance(self.found, PipelineError) or (isinstance(self.found, Fetched) and self.found.content_type in _PAGE_TYPES)


class Verdict(NamedTuple):
    """The verified results, which may be recorded, and the results whose files must be fetched again."""

    verified: list[FileResult]
    refetch: list[FileResult]


@dataclass
class _LoginCheck:
    """One request for the check page, in its own thread.

    until_s: a successful check verifies the results of transfers that ended before this time. expired_unnoticed: whether the
    session had expired although no response showed this.
    """

    epoch: int
    until_s: float
    ended: threading.Event = field(default_factory=threading.Event)
    logged_in: bool = False
    expired_unnoticed: bool = False
    error: PipelineError | None = None


class UnverifiedFiles:
    """Holds results until a login check, which runs in another thread, verifies them. Not thread-safe.

    checkable: a function that returns whether the login can be checked. on_check: a function that is called when a check ends, in
    the thread of the check.
    """

    def __init__(self, login_state: LoginState, checkable: Callable[[], bool], on_check: Callable[[], None]) -> None:
        self._login_state = login_state
        self._checkable = checkable
        self._on_check = on_check
        self._held: list[FileResult] = []
        self._max_held = MAX_HELD
        self._check: _LoginCheck | None = None
        self._checked_s = -SUSPECT_CHECK_S

    @property
    def held(self) -> list[int]:
        """The ids of the downloads whose results are held until a login check."""
        return [each.wanted.id for each in self._held]

    @property
    def room(self) -> int | None:
        """The number of further downloads that may be leased now; None means no limit.

        If the session has expired before although no response showed this, the limit is low.
        """
        return None if self._max_held == MAX_HELD else max(0, self._max_held - len(self._held))

    def due_in_s(self) -> float:
        """Return the seconds until the next check is due, if no more results arrive."""
        if self._check is not None:
            return 0.0 if self._check.ended.is_set() else MAX_HELD_S  # it may have ended before the scheduler began to wait for its news
        if not self._held:
            return MAX_HELD_S
        now_s = time.monotonic()
        due_s = self._held[0].at_s + MAX_HELD_S
        if any(each.is_suspect for each in self._held):
            due_s = min(due_s, self._checked_s + SUSPECT_CHECK_S)
        return max(0.0, due_s - now_s)

    def hold(self, results: Iterable[FileResult]) -> None:
        self._held += results

    def take_verified(self, *, check_now: bool) -> Verdict:
        """Remove and return the results that the last check has verified or rejected. Start the next check if it is due.

        check_now: whether to start a check even if no check is due yet. Raise the error if a check or a new login has failed.
        """
        if not self._checkable():
            verified, self._held = self._held, []
            return Verdict(verified, [])
        decided = self._take_decided()
        if self._held and self._check is None and (check_now or len(self._held) >= self._max_held or self.due_in_s() == 0):
            self._start_check(renew=True)
        return decided

    def close(self, within_s: float) -> Verdict:
        """Verify the held results without a new login, and return the verdict.

        within_s: how many seconds to wait for a login check. Files that are not verified by then must be fetched again.
        """
        deadline = time.monotonic() + within_s
        verified: list[FileResult] = []
        refetch: list[FileResult] = []
        try:
            for _ in range(2):
                if self._check is None and self._held:
                    self._start_check(renew=False)
                if self._check is not None:
                    self._check.ended.wait(max(0.0, deadline - time.monotonic()))
                decided = self._take_decided()
                verified, refetch = verified + decided.verified, refetch + decided.refetch
        except PipelineError as error:
            _log.warning("the session could not be checked: the next run fetches %s again: %s", counted(len(self._held), "file"), error)
        refetch, self._held = refetch + self._held, []
        return Verdict(verified, refetch)

    def _start_check(self, *, renew: bool) -> None:
        last = max(self._held, key=lambda each: each.at_s)
        self._checked_s = time.monotonic()
        self._check = check = _LoginCheck(self._login_state.epoch, last.at_s)
        threading.Thread(target=self._run_check, args=(check, renew), name="login-check", daemon=True).start()

    def _run_check(self, check: _LoginCheck, renew: bool) -> None:
        try:
            check.logged_in = self._login_state.verify(check.epoch, check.until_s)
            if not check.logged_in and renew:
                # If the epoch is stale, another thread has already detected the expired session and is logging in.
                check.expired_unnoticed = not self._login_state.is_stale(check.epoch)
                self._login_state.renew(check.epoch)
                self._login_state.settled()
        except PipelineError as error:
            check.error = error
        except Exception as error:  # noqa: BLE001  raised again by the thread that uses this object
            check.error = SessionError(f"the session could not be checked: {error!r}")
        finally:
            check.ended.set()
            self._on_check()

    def _take_decided(self) -> Verdict:
        """If the check has ended, remove and return the results that the check has verified or rejected.

        The files that were fetched with an earlier login must be fetched again.
        """
        check = self._check
        verified: list[FileResult] = []
        if check is not None and check.ended.is_set():
            self._check = None
            if check.error is not None:
                raise check.error
            if check.expired_unnoticed:
                self._reduce_concurrency()
            if check.logged_in:
                self._max_held = min(MAX_HELD, 2 * self._max_held)
                verified = [each for each in self._held if each.login_epoch == check.epoch and each.at_s <= check.until_s]
        taken = {each.wanted.id for each in verified}
        refetch = [each for each in self._held if each.wanted.id not in taken and self._login_state.is_stale(each.login_epoch)]
        taken |= {each.wanted.id for each in refetch}
        self._held = [each for each in self._held if each.wanted.id not in taken]
        return Verdict(verified, refetch)

    def _reduce_concurrency(self) -> None:
        """From now on, lease fewer files at a time, to find out whether fetching a certain file ends the session.

        Raise LoginError if only one file was held, because fetching this file then seems to end the session.
        """
        _log.warning("the session has expired, although no response showed this; to be fetched again after a new login: %s",
                     counted(len(self._held), "file"))
        if self._max_held == 1 and len(self._held) == 1:
            raise LoginError(f"the session ends whenever {shown_url(self._held[0].wanted.url)} is fetched",
                             where=self._login_state.where, fix="if this is the link to log out, exclude it from `download`")
        self._max_held = max(1, min(self._max_held, len(self._held)) // 4)
