"""Files of a session with a login are recorded only after `login.check` has matched once more.

A session can end without a word: the site then answers with a page for strangers, or with 401, 403 or 404. So what came of
a file, good or bad, is held until the check page shows that the session still holds. Where it shows the opposite, one new
login is made and the held files are fetched again. Held files are neither done nor failed in the store: after a kill they
are fetched again, too.
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
from pipeline.text import shown_url

MOST_HELD = 200
LONGEST_S = 10.0
DOUBTFUL_S = 2.0
"""The time between two proofs for the sake of answers that may well be for strangers."""
_PAGES = frozenset({"text/html", "application/xhtml+xml"})

_log = logging.getLogger(__name__)


class Came(NamedTuple):
    """What came of a file, an error that trying again does not change included; during which login; when (time.monotonic())."""

    wanted: QueuedDownload
    found: Fetched | NotModified | PipelineError
    epoch: int = 0
    at_s: float = 0.0

    @property
    def is_doubtful(self) -> bool:
        """Whether this is what sites answer to strangers."""
        return isinstance(self.found, PipelineError) or (isinstance(self.found, Fetched) and self.found.content_type in _PAGES)


class Sorted(NamedTuple):
    """What may be recorded, and what has to be fetched again."""

    proved: list[Came]
    again: list[Came]


@dataclass
class _Proof:
    """One look at the check page, in a thread of its own. since_s: what came before that is proved by it."""

    epoch: int
    since_s: float
    over: threading.Event = field(default_factory=threading.Event)
    holds: bool = False
    lost_in_silence: bool = False
    error: PipelineError | None = None


class UnprovedFiles:
    """Holds what came until it is proved. For one thread; the check page is looked at in another.

    checkable: whether there is a check page; on_proof: told from that other thread that a look at it is over.
    """

    def __init__(self, login_state: LoginState, checkable: Callable[[], bool], on_proof: Callable[[], None]) -> None:
        self._login_state = login_state
        self._checkable = checkable
        self._on_proof = on_proof
        self._held: list[Came] = []
        self._room = MOST_HELD
        self._proof: _Proof | None = None
        self._looked_s = -DOUBTFUL_S

    @property
    def held(self) -> list[int]:
        """The ids of the downloads that are held."""
        return [each.wanted.id for each in self._held]

    @property
    def room(self) -> int | None:
        """How many more files may be under way; None for any number. After a session was lost in silence, few are."""
        return None if self._room == MOST_HELD else max(0, self._room - len(self._held))

    def due_in_s(self) -> float:
        """Seconds until the next proof is due, if nothing else happens."""
        if not self._held or self._proof is not None:
            return LONGEST_S
        now_s = time.monotonic()
        due_s = self._held[0].at_s + LONGEST_S
        if any(each.is_doubtful for each in self._held):
            due_s = min(due_s, self._looked_s + DOUBTFUL_S)
        return max(0.0, due_s - now_s)

    def hold(self, came: Iterable[Came]) -> None:
        self._held += came

    def sort(self, *, now: bool) -> Sorted:
        """What is settled by now. now: nothing else is under way, so that a proof is due.

        Raises what kept the session from being proved or renewed.
        """
        if not self._checkable():
            proved, self._held = self._held, []
            return Sorted(proved, [])
        found = self._take_proof()
        if self._held and self._proof is None and (now or len(self._held) >= self._room or self.due_in_s() == 0):
            self._begin(renew=True)
        return found

    def close(self, within_s: float) -> Sorted:
        """What can be proved without a new login; all the rest is to be fetched again."""
        deadline = time.monotonic() + within_s
        proved: list[Came] = []
        again: list[Came] = []
        try:
            for _ in range(2):
                if self._proof is None and self._held:
                    self._begin(renew=False)
                if self._proof is not None:
                    self._proof.over.wait(max(0.0, deadline - time.monotonic()))
                found = self._take_proof()
                proved, again = proved + found.proved, again + found.again
        except PipelineError as error:
            _log.warning("%d files are fetched again by the next run: %s", len(self._held), error)
        again, self._held = again + self._held, []
        return Sorted(proved, again)

    def _begin(self, *, renew: bool) -> None:
        last = max(self._held, key=lambda each: each.at_s)
        self._looked_s = time.monotonic()
        self._proof = proof = _Proof(self._login_state.epoch, last.at_s)
        threading.Thread(target=self._prove, args=(proof, renew), name="session-proof", daemon=True).start()

    def _prove(self, proof: _Proof, renew: bool) -> None:
        try:
            proof.holds = self._login_state.verify(proof.epoch, proof.since_s)
            if not proof.holds and renew:
                proof.lost_in_silence = not self._login_state.is_stale(proof.epoch)  # else somebody else noticed, and logs in
                self._login_state.renew(proof.epoch)
                self._login_state.settled()
        except PipelineError as error:
            proof.error = error
        except Exception as error:  # noqa: BLE001  told to the thread that asked
            proof.error = SessionError(f"the session could not be checked: {error!r}")
        finally:
            proof.over.set()
            self._on_proof()

    def _take_proof(self) -> Sorted:
        """By the proof that is over, if there is one. A login that is over, whoever noticed it, proves nothing."""
        proof = self._proof
        proved: list[Came] = []
        if proof is not None and proof.over.is_set():
            self._proof = None
            if proof.error is not None:
                raise proof.error
            if proof.lost_in_silence:
                self._lost_in_silence()
            if proof.holds:
                self._room = min(MOST_HELD, 2 * self._room)
                proved = [each for each in self._held if each.epoch == proof.epoch and each.at_s <= proof.since_s]
        settled = {each.wanted.id for each in proved}
        again = [each for each in self._held if each.wanted.id not in settled and self._login_state.is_stale(each.epoch)]
        settled |= {each.wanted.id for each in again}
        self._held = [each for each in self._held if each.wanted.id not in settled]
        return Sorted(proved, again)

    def _lost_in_silence(self) -> None:
        """Have fewer files under way from now on, so that the one that ends the session, if one does, can be named."""
        _log.warning("the session was over, though no answer said so: %d files are fetched again after a new login",
                     len(self._held))
        if self._room == 1 and len(self._held) == 1:
            raise LoginError(f"the session is over each time after {shown_url(self._held[0].wanted.url)} was fetched",
                             where=self._login_state.where, fix="if that file's link logs out, leave it out of download")
        self._room = max(1, min(self._room, len(self._held)) // 4)
