"""The outbox at work: messages that are due are leased, delivered, and only then marked.

`deliver_due` is all of it, in the caller's thread; `Outbox` runs it beside an asyncio loop whenever a message
is due. Trying again waits a minute, then twice as long each time up to an hour, for `max_age` or `max_attempts` in all.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from pipeline.errors import LeaseLostError, MailError, PipelineError
from pipeline.mail.transports import Transport
from pipeline.model import Message, MessageState, RecipientResult
from pipeline.store import Store
from pipeline.store.mail import outbox as stored
from pipeline.text import clean_line

FIRST_RETRY_S = 60.0
LAST_RETRY_S = 3600.0
HOUR = timedelta(hours=1)
MAX_ATTEMPTS = 200
_POLL_S = 30.0
"""How long a message that another process enqueued may lie before it is seen."""
_PAUSE_S = 5.0
_MAX_PAUSE_S = 60.0
_NOTE_AGAIN_S = 0.5

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Attempt:
    """What one delivery of one message came to.

    results: what was said of each recipient; error: why nobody could be asked, "" when they were; unreachable:
    the server is to blame for that, so that other messages need not try either.
    """

    message: Message
    state: MessageState
    results: tuple[RecipientResult, ...]
    error: str
    unreachable: bool
    next_attempt_at: datetime | None
    accepted: int
    refused: int
    waiting: int

    def __str__(self) -> str:
        """One line for the log."""
        what = f"message {self.message.id} “{clean_line(self.message.subject, 60)}”"
        if self.state is MessageState.SENT:
            return f"{what}: delivered to {self.accepted}" + (f", refused by {self._refusals()}" if self.refused else "")
        why = self.error or self._refusals()
        if self.state is MessageState.PARKED:
            return f"{what}: parked: {why}; `pipeline outbox retry {self.message.id}` tries again"
        assert self.next_attempt_at is not None
        return f"{what}: will try again at {self.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC: {why}"

    def _refusals(self) -> str:
        return "; ".join(f"{r.address}: {r.code} {r.text}" for r in self.results if not r.accepted)


def backoff_s(attempt: int, rng: random.Random) -> float:
    """Seconds to wait after the `attempt`-th failure (from 1): a minute, doubling to an hour, ±20 % so that many
    messages do not come back at once."""
    base = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(max(attempt, 1) - 1, 20))
    return base * rng.uniform(0.8, 1.2)


def deliver_due(store: Store, transport: Transport, *, owner: str, now: Clock, max_age_s: float,
                max_attempts: int = MAX_ATTEMPTS, per_hour: int | None = None, rng: random.Random | None = None, limit: int = 1000,
                on_attempt: Callable[[Attempt], None] = lambda attempt: None,
                on_error: Callable[[PipelineError], None] = lambda error: None,
                stop: Callable[[], bool] = lambda: False, give_up: Callable[[], bool] = lambda: False,
                by_age: Callable[[datetime], bool] = lambda now: True) -> list[Attempt]:
    """Deliver what is due, one message after the other over one connection; what each attempt came to.

    Ends early when the server cannot be reached or has taken `per_hour` messages within an hour: what is left stays
    due. stop: asked between messages. on_error: told why what a server said cannot be written down yet; that is tried
    until it is, or `give_up`. by_age: whether the clock can be believed (clock_trust); else no message is given up for its
    age. Raises StoreError, DiskFullError.
    """
    attempts: list[Attempt] = []
    # Jitter only spreads load.
    rng = rng or random.Random()  # noqa: S311
    while len(attempts) < limit and not stop():
        if free_from(store, per_hour, now()) is not None:
            break
        leased = stored.lease(store, owner=owner, now=now())
        if not leased:
            break
        attempt = _deliver(store, transport, leased[0], owner=owner, now=now, max_age_s=max_age_s,
                           max_attempts=max_attempts, rng=rng, on_error=on_error, give_up=give_up, by_age=by_age)
        if attempt is None:
            continue
        attempts.append(attempt)
        on_attempt(attempt)
        if attempt.unreachable:
            break
    return attempts


def free_from(store: Store, per_hour: int | None, now: datetime) -> datetime | None:
    """When the next message may leave, with `per_hour` of them in any hour; None: now."""
    if per_hour is None:
        return None
    taken = stored.accepted_between(store, now - HOUR, now)
    return taken[-per_hour] + HOUR if len(taken) >= per_hour else None


def _deliver(store: Store, transport: Transport, message: Message, *, owner: str, now: Clock, max_age_s: float,
             max_attempts: int, rng: random.Random, on_error: Callable[[PipelineError], None],
             give_up: Callable[[], bool], by_age: Callable[[datetime], bool]) -> Attempt | None:
    """One attempt, recorded; None when the message was taken up by someone else meanwhile."""
    results: list[RecipientResult] = []
    error, retry = "", True
    with _kept(store, message, owner=owner, now=now):
        try:
            results = transport.deliver(message, store.files.path(message.file_key))
        except MailError as failure:
            error, retry = str(failure), failure.retry
        at = now()
        again: datetime | None = at + timedelta(seconds=backoff_s(message.attempt, rng))
        age = at - message.created_at
        given_up = message.attempt >= max_attempts or (age > timedelta(seconds=max_age_s) and by_age(at))
        if not retry or given_up:
            again = None
        said = error or "; ".join(f"{r.address}: {r.code} {r.text}" for r in results if not r.accepted)
        if given_up and said:
            said = f"given up after {age.total_seconds() / 3600:.0f} hours and {message.attempt} attempts: {said}"
        note = partial(stored.record, store, message, results, owner=owner, now=at, next_attempt_at=again, error=said)
        try:
            done = _noted(note, on_error=on_error, give_up=give_up)
        except LeaseLostError:
            return None
    return Attempt(message, done.state, tuple(results), error and said, bool(error) and retry,
                   again if done.state is MessageState.WAITING else None, done.accepted, done.refused,
                   done.waiting)


def _noted(note: Callable[[], stored.DeliveryResult], *, on_error: Callable[[PipelineError], None],
           give_up: Callable[[], bool]) -> stored.DeliveryResult:
    """What a server said, written down, however long the disk is full: what it accepted must not be sent again."""
    told, never = False, threading.Event()
    while True:
        try:
            return note()
        except LeaseLostError:
            raise
        except PipelineError as error:
            if give_up():
                raise
            if not told:
                on_error(error)
            told = True
        never.wait(_NOTE_AGAIN_S)  # sleep() fails where the clock is faked


@contextmanager
def _kept(store: Store, message: Message, *, owner: str, now: Clock) -> Iterator[None]:
    """Keep the lease of `message` from running out while its delivery takes long."""
    over = threading.Event()
    every_s = stored.LEASE_TTL.total_seconds() / 3

    def renew() -> None:
        while not over.wait(every_s):
            # A store that is busy for a moment is asked again; one that stays so shows when the result is recorded.
            with suppress(PipelineError):
                stored.renew(store, message.id, owner=owner, now=now())

    keeper = threading.Thread(target=renew, name=f"lease-of-message-{message.id}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


class Outbox:
    """Delivers what is due, beside an asyncio loop, until it is stopped.

    on_event: told of every attempt, in the loop. on_error: told of what keeps the outbox itself from working.
    """

    def __init__(self, store: Store, transport: Transport, *, max_age_s: float, now: Clock,
                 max_attempts: int = MAX_ATTEMPTS, per_hour: int | None = None,
                 on_event: Callable[[Attempt], None], on_error: Callable[[PipelineError], None],
                 by_age: Callable[[datetime], bool] = lambda now: True, rng: random.Random | None = None) -> None:
        self._store = store
        self._by_age = by_age
        self._transport = transport
        self._max_age_s = max_age_s
        self._max_attempts = max_attempts
        self._per_hour = per_hour
        self._now = now
        self._on_event = on_event
        self._on_error = on_error
        self._rng = rng
        self._owner = f"{store.owner}:outbox"
        self._woken = asyncio.Event()
        self._stopped = asyncio.Event()
        self._aborted = threading.Event()
        self._failures = 0

    def wake(self) -> None:
        """Something was enqueued: look now. Call it in the loop."""
        self._woken.set()

    def stop(self) -> None:
        """End `run` after the message that is being delivered. Call it in the loop; `abort` does not wait for that."""
        self._stopped.set()
        self._woken.set()

    def abort(self) -> None:
        """Cut off the delivery in progress, which will be tried again, and end `run`."""
        self.stop()
        self._aborted.set()
        self._transport.abort()

    async def run(self) -> None:
        """Deliver until `stop`; a cancellation aborts."""
        try:
            while not self._stopped.is_set():
                self._woken.clear()
                await self._round(self._stopped.is_set, self._aborted.is_set)
                await self._wait()
        except asyncio.CancelledError:
            self.abort()
            raise
        await asyncio.to_thread(self._transport.close)

    async def drain(self, deadline: datetime) -> int:
        """Deliver what is due until nothing is or `deadline` has passed; how many messages still wait.

        For the end of `run --send` and the like; not beside `run`.
        """
        def over() -> bool:
            return self._stopped.is_set() or self._now() >= deadline

        while not over():
            due = await asyncio.to_thread(stored.next_due, self._store)
            if due is None or due > self._now() or not await self._round(over, over):
                break
        await asyncio.to_thread(self._transport.close)
        return len(await asyncio.to_thread(stored.list_messages, self._store, (MessageState.WAITING,)))

    async def _round(self, stop: Callable[[], bool], give_up: Callable[[], bool]) -> int:
        loop = asyncio.get_running_loop()

        def tell(attempt: Attempt) -> None:
            loop.call_soon_threadsafe(self._on_event, attempt)

        def complain(error: PipelineError) -> None:
            loop.call_soon_threadsafe(self._on_error, error)

        try:
            attempts = await asyncio.to_thread(
                deliver_due, self._store, self._transport, owner=self._owner, now=self._now,
                max_age_s=self._max_age_s, max_attempts=self._max_attempts, per_hour=self._per_hour, rng=self._rng, on_attempt=tell,
                on_error=complain, stop=stop, give_up=give_up, by_age=self._by_age)
        except PipelineError as error:
            self._on_error(error)
            self._failures += 1
            return 0
        self._failures = self._failures + 1 if attempts and attempts[-1].unreachable else 0
        if not attempts:
            await asyncio.to_thread(self._transport.close)  # an idle connection is the server's to keep for others
        return len(attempts)

    async def _wait(self) -> None:
        """Until a message is due, `wake`, or `_POLL_S`; a while longer each time nobody can be reached."""
        if self._failures:
            wait_s = min(_MAX_PAUSE_S, _PAUSE_S * 2.0 ** min(self._failures - 1, 10))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), wait_s)
            return
        wait_s = _POLL_S
        try:
            due = await asyncio.to_thread(stored.next_due, self._store)
            free = await asyncio.to_thread(free_from, self._store, self._per_hour, self._now())
        except PipelineError as error:
            self._on_error(error)
            due = free = None
        if due is not None and free is not None:
            due = max(due, free)
        if due is not None:
            # What is due and was not leased is being delivered by another process: no reason to spin.
            wait_s = min(_POLL_S, max((due - self._now()).total_seconds(), 1.0))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), wait_s)
