"""Deliver the messages of the outbox: lease a message, deliver it, record the result, retry later.

`deliver_due` delivers the due messages in the caller's thread. `DeliveryLoop` calls `deliver_due` in a thread whenever a message is
due. A failed delivery is retried after one minute, and then after twice the previous delay, up to one hour. When `RetryPolicy` gives
up, the message is parked (not retried automatically).
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import TypeVar

from pipeline.errors import LeaseLostError, MailError, PipelineError, StoreError
from pipeline.mail.transports import Transport
from pipeline.model import REBUILD_STEPS, Message, MessageState, Rebuild, RecipientResult
from pipeline.store import Store
from pipeline.store.mail import outbox as stored
from pipeline.text import clean_line, counted, span_for_people

FIRST_RETRY_S = 60.0
LAST_RETRY_S = 3600.0
LONGEST_ASKED_S = 3600.0
"""The longest wait in seconds that a server can ask for (Retry-After)."""
HOUR = timedelta(hours=1)
MAX_ATTEMPTS = 200
_POLL_S = 30.0
"""Interval in seconds at which `DeliveryLoop` checks for messages that other processes have enqueued."""
_PAUSE_S = 5.0
_MAX_PAUSE_S = 60.0
_RECORD_AGAIN_S = 0.5
_MAX_PER_CALL = 1000

Clock = Callable[[], datetime]
_T = TypeVar("_T")


@dataclass(frozen=True)
class RetryPolicy:
    """When to give up on a message, and how many messages to send per hour.

    max_age_s, max_attempts: a message whose delivery failed is parked (not retried automatically) if the message is older than
    max_age_s seconds, or after max_attempts attempts. per_hour: maximum number of messages sent in any hour; None means no limit.
    clock_is_trusted: function that returns whether the system clock is plausible (see clock_trust); while the function returns False,
    the age of messages is ignored.
    """

    max_age_s: float
    max_attempts: int = MAX_ATTEMPTS
    per_hour: int | None = None
    clock_is_trusted: Callable[[datetime], bool] = lambda now: True

    def gives_up(self, message: Message, now: datetime) -> bool:
        too_old = now - message.created_at > timedelta(seconds=self.max_age_s)
        return message.attempt >= self.max_attempts or (too_old and self.clock_is_trusted(now))


def _ignore(_: object) -> None:
    """Do nothing. This is the default of callbacks."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class DeliveryHooks:
    """Functions that `deliver_due` calls, in the thread in which it runs.

    on_attempt: called with each delivery attempt. on_error: called with the error if the result of an attempt cannot be recorded at
    first. stop: returns whether to stop before the next message. give_up: returns whether to stop although the result of an attempt
    could not be recorded.
    """

    on_attempt: Callable[[DeliveryAttempt], None] = _ignore
    on_error: Callable[[PipelineError], None] = _ignore
    stop: Callable[[], bool] = _never
    give_up: Callable[[], bool] = _never


@dataclass(frozen=True)
class DeliveryAttempt:
    """The outcome of one attempt to deliver a message.

    state: the state of the message after the attempt. results: one result for each recipient. error: why the attempt failed as a
    whole; "" if the server answered for each recipient. unreachable: whether the mail server could not be used, so that other messages
    would fail as well. next_attempt_at: time of the next attempt; None if there will be none. accepted, refused, waiting: numbers of
    recipients in each state. rebuild: set if the digest is built again with less, because the server refused the message for its size or
    its content.
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
    rebuild: Rebuild | None = None

    def __str__(self) -> str:
        return self.line(UTC)

    def line(self, zone: tzinfo) -> str:
        """Return a line that describes the outcome. zone: the time zone of the next attempt's time."""
        what, channel = f"message {self.message.id} “{clean_line(self.message.subject, 60)}”", self.message.channel
        if self.state is MessageState.SENT:
            refused = f"; the server refused {counted(self.refused, 'recipient')}: {_refusals(self.results)}" if self.refused else ""
            again = f"; for them, {self._rebuilt()}" if self.rebuild else ""
            return f"{what}: delivered to {channel or counted(self.accepted, 'recipient')}{refused}{again}"
        why = self.error or _refusals(self.results)
        if self.state is MessageState.DROPPED and self.rebuild is None:
            return f"{what}: the server refused even the numbers of changes, and the message that was refused first is parked: {why}"
        if self.state is MessageState.DROPPED:
            return f"{what}: the server refused the message, and {self._rebuilt()}: {why}"
        if self.state is MessageState.PARKED:
            return f"{what}: the delivery failed, and the message is parked: {why}; to try again, run `pipeline outbox retry {self.message.id}`"
        assert self.next_attempt_at is not None
        return f"{what}: the delivery is not complete; the next attempt is at {self.next_attempt_at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}: {why}"

    def _rebuilt(self) -> str:
        assert self.rebuild is not None
        return f"the digest is built again with {REBUILD_STEPS[self.rebuild.step]}"


def _refusals(results: Iterable[RecipientResult]) -> str:
    return "; ".join(f"{r.address}: {r.code} {r.text}" for r in results if not r.accepted)


def backoff_s(attempt: int, rng: random.Random) -> float:
    """Return how many seconds to wait after a failed attempt before the next attempt.

    attempt: number of the failed attempt, counted from 1. The delay is one minute at first, and doubles with each attempt up to one
    hour. It varies randomly by 20 %, so that the retries of several messages do not coincide.
    """
    base = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(max(attempt, 1) - 1, 20))
    return base * rng.uniform(0.8, 1.2)


def deliver_due(store: Store, transport: Transport, *, owner: str, now: Clock, policy: RetryPolicy,
                hooks: DeliveryHooks = DeliveryHooks(), channel: str = "") -> list[DeliveryAttempt]:
    """Deliver the messages that are due, one after the other over one connection; return the attempts.

    channel: "" for mails, otherwise the notification channel whose messages are delivered; `transport` then belongs to this channel.

    The function stops early if the server cannot be reached, or if `policy.per_hour` messages were sent within an hour; the remaining
    messages stay due. If the result of a delivery cannot be recorded, the function tries again until the result is recorded or
    `hooks.give_up` returns True. Raises StoreError, DiskFullError.
    """
    attempts: list[DeliveryAttempt] = []
    while len(attempts) < _MAX_PER_CALL and not hooks.stop():
        if next_free_at(store, policy.per_hour, now()) is not None:
            break
        leased = stored.lease(store, owner=owner, now=now(), channel=channel)
        if not leased:
            break
        attempt = _deliver(store, transport, leased[0], owner=owner, now=now, policy=policy, hooks=hooks)
        if attempt is None:
            continue
        attempts.append(attempt)
        hooks.on_attempt(attempt)
        if attempt.unreachable:
            break
    return attempts


def next_free_at(store: Store, per_hour: int | None, now: datetime) -> datetime | None:
    """Return when the limit `per_hour` allows the next message, or None if a message may be sent now."""
    if per_hour is None:
        return None
    sent = stored.accepted_between(store, now - HOUR, now)
    return sent[-per_hour] + HOUR if len(sent) >= per_hour else None


def _deliver(store: Store, transport: Transport, message: Message, *, owner: str, now: Clock, policy: RetryPolicy,
             hooks: DeliveryHooks) -> DeliveryAttempt | None:
    """Attempt to deliver one message and record the result; return the attempt.

    Return None if another process has taken over the message.
    """
    results: list[RecipientResult] = []
    error, retry, asked_s = "", True, 0.0
    with _lease_renewed(store, message, owner=owner, now=now):
        try:
            results = transport.deliver(message, _file_of(store, message))
        except MailError as failure:
            error, retry, asked_s = str(failure), failure.retry, failure.retry_after_s
        except StoreError as failure:  # the object store does not have the file now
            error, retry = str(failure), True
        at = now()
        gives_up = policy.gives_up(message, at)
        wait_s = max(backoff_s(message.attempt, random.Random()), min(asked_s, LONGEST_ASKED_S))  # noqa: S311  it only spreads the load
        again = at + timedelta(seconds=wait_s) if retry and not gives_up else None
        said = error or _refusals(results)
        if gives_up and said:
            said = f"delivery was given up after {counted(message.attempt, 'attempt')} in {span_for_people((at - message.created_at).total_seconds())}: {said}"
        record = partial(stored.record, store, message, results, owner=owner, now=at, next_attempt_at=again, error=said)
        try:
            done = _recorded(record, hooks)
        except LeaseLostError:
            return None
    return DeliveryAttempt(message, done.state, tuple(results), error and said, bool(error) and retry,
                           again if done.state is MessageState.WAITING else None, done.accepted, done.refused, done.waiting, done.rebuild)


def _file_of(store: Store, message: Message) -> Path:
    """Return the path of the message's file. If the file does not exist, the transport will say so. Raises MailError if another node may have it."""
    try:
        return store.files.local(message.file_key)
    except FileNotFoundError:
        path = store.files.path(message.file_key)
        if store.shared and not store.files.is_remote:
            raise MailError("the file of the message is not on this node: without an object store, only the node that built the message has it", where=str(path),
                            fix="the message waits for this node; set [pipeline] storage, or use a data_dir on a folder that all nodes share", retry=True) from None
        return path


def _recorded(record: Callable[[], stored.DeliveryResult], hooks: DeliveryHooks) -> stored.DeliveryResult:
    """Record the result of a delivery; if recording fails, try again until it succeeds.

    Recording can fail because the disk is full, for example. Without the record, a message that the server has accepted would be sent
    again. If `hooks.give_up` returns True, the error is raised instead.
    """
    reported, never = False, threading.Event()
    while True:
        try:
            return record()
        except LeaseLostError:
            raise
        except PipelineError as error:
            if hooks.give_up():
                raise
            if not reported:
                hooks.on_error(error)
            reported = True
        never.wait(_RECORD_AGAIN_S)  # not time.sleep(), which would fail in tests that replace the clock


@contextmanager
def _lease_renewed(store: Store, message: Message, *, owner: str, now: Clock) -> Iterator[None]:
    """Renew the lease of a message in a thread during a `with` block, in which the message is delivered."""
    over = threading.Event()
    every_s = stored.LEASE_TTL.total_seconds() / 3

    def renew() -> None:
        while not over.wait(every_s):
            # If the store remains unavailable, the error will be reported when the result of the delivery is recorded.
            with suppress(PipelineError):
                stored.renew(store, message.id, owner=owner, now=now())

    thread = threading.Thread(target=renew, name=f"lease-of-message-{message.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class DeliveryLoop:
    """Delivers due messages in a thread, controlled from an asyncio event loop, until it is stopped.

    on_attempt: called with each delivery attempt. on_error: called with each error of the database. Both functions are called in the
    event loop. now: function that returns the current time. channel: "" for mails, otherwise the notification channel whose messages
    are delivered.
    """

    def __init__(self, store: Store, transport: Transport, *, policy: RetryPolicy, now: Clock,
                 on_attempt: Callable[[DeliveryAttempt], None], on_error: Callable[[PipelineError], None],
                 channel: str = "") -> None:
        self._store = store
        self._transport = transport
        self._policy = policy
        self._now = now
        self._on_attempt = on_attempt
        self._on_error = on_error
        self._channel = channel
        self._owner = f"{store.owner}:outbox"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"outbox-{channel or 'mail'}")
        self._woken = asyncio.Event()
        self._stopped = asyncio.Event()
        self._aborted = threading.Event()
        self._failures = 0

    def wake(self) -> None:
        """Check for due messages now. Must be called in the event loop, after a message was enqueued."""
        self._woken.set()

    def stop(self) -> None:
        """Make `run` end after the delivery in progress. Must be called in the event loop."""
        self._stopped.set()
        self._woken.set()

    def abort(self) -> None:
        """Abort the delivery in progress and make `run` end. Must be called in the event loop.

        The message whose delivery was aborted will be tried again later.
        """
        self.stop()
        self._aborted.set()
        self._transport.abort()

    async def run(self) -> None:
        """Deliver messages until `stop` is called. Cancelling this coroutine aborts the delivery in progress."""
        try:
            while not self._stopped.is_set():
                self._woken.clear()
                await self._deliver()
                await self._wait()
        except asyncio.CancelledError:
            self.abort()
            raise
        await self._in_thread(self._transport.close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """Call `work` in the loop's own thread: a slow delivery must not occupy the threads that all parts of the service share."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()

        def report_attempt(attempt: DeliveryAttempt) -> None:
            loop.call_soon_threadsafe(self._on_attempt, attempt)

        def report_error(error: PipelineError) -> None:
            loop.call_soon_threadsafe(self._on_error, error)

        hooks = DeliveryHooks(on_attempt=report_attempt, on_error=report_error, stop=self._stopped.is_set,
                              give_up=self._aborted.is_set)
        try:
            attempts = await self._in_thread(partial(deliver_due, self._store, self._transport, owner=self._owner, now=self._now,
                                                     policy=self._policy, hooks=hooks, channel=self._channel))
        except PipelineError as error:
            self._on_error(error)
            self._failures += 1
            return
        self._failures = self._failures + 1 if attempts and attempts[-1].unreachable else 0
        if not attempts:
            await self._in_thread(self._transport.close)  # even an idle connection counts towards the server's connection limit

    async def _wait(self) -> None:
        """Wait until a message is due, `wake` is called or `_POLL_S` has passed.

        If the mail server or the database could not be used, wait instead until `stop` is called or a pause has passed. The pause
        doubles with each consecutive failure.
        """
        if self._failures:
            wait_s = min(_MAX_PAUSE_S, _PAUSE_S * 2.0 ** min(self._failures - 1, 10))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), wait_s)
            return
        wait_s = _POLL_S
        try:
            due = await self._in_thread(partial(stored.next_due, self._store, self._channel))
            free = await self._in_thread(partial(next_free_at, self._store, self._policy.per_hour, self._now()))
        except PipelineError as error:
            self._on_error(error)
            due = free = None
        if due is not None and free is not None:
            due = max(due, free)
        if due is not None:
            # Wait at least a second: a message that is due but could not be leased is being delivered by another process.
            wait_s = min(_POLL_S, max((due - self._now()).total_seconds(), 1.0))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), wait_s)
