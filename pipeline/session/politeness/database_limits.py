"""Limits the requests to each host for all nodes that share a PostgreSQL database.

A thread leases permits for some seconds and renews them, so that a request normally costs no query: a permit that was given back
serves the next request at once. The thread returns permits that are idle, and those beyond the share of this process if other
processes wait. If the database does not respond, permits expire and requests wait: no request starts without a permit.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Connection

from pipeline.errors import StoreError
from pipeline.session.politeness.futures import result_unless, set_error, set_result
from pipeline.session.politeness.leased_permits import LeasedPermits, Waiter
from pipeline.store import Store
from pipeline.store.runs import host_limits as table
from pipeline.store.runs.leases import owner_is_alive

RENEW_S = 0.5
"""How often permits are renewed. A process that waits for a permit is noticed after this time at the latest."""
UNAVAILABLE_S = 60.0
"""Requests fail if they have waited this long for the database."""
_TURNS = 3
"""A request that missed its turn, because this process was busy, takes another one, so that it does not come just before the next
request. After this many turns it is sent in any case."""
_RETRY_S = 0.5
_CLOSE_S = 2.0

logger = logging.getLogger(__name__)


class DatabaseLimits:
    """Permits and turns of hosts, shared through the database by the runs of all nodes. See HostLimits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owner = f"{store.owner}:{secrets.token_hex(3)}"
        self._hosts: dict[str, LeasedPermits] = {}
        self._asking: set[str] = set()
        """The hosts whose requests wait for permits, and perhaps others."""
        self._turns: dict[str, list[tuple[float, Future[float]]]] = {}
        self._returns: set[tuple[str, int]] = set()
        self._renew_at = 0.0
        self._unavailable_since: float | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    async def take(self, host: str, count: int) -> int:
        found = self._take(host, count, 0)
        if isinstance(found, int):
            return found
        try:
            return await asyncio.wrap_future(found.permit)
        except asyncio.CancelledError:
            self._withdraw(host, found)
            raise

    def take_for_file(self, host: str, count: int, stopped: threading.Event) -> int | None:
        found = self._take(host, count, 1 if count > 1 else 0)
        if isinstance(found, int):
            return found
        number = result_unless(found.permit, stopped)
        if number is None:
            self._withdraw(host, found)
        return number

    def give_back(self, host: str, number: int) -> None:
        with self._changed:
            if (permits := self._hosts.get(host)) is not None and permits.put_back(number, _clock()):
                self._returns.add((host, number))
                self._wake()

    async def turn(self, host: str, delay_s: float) -> None:
        for _ in range(_TURNS):
            at = await asyncio.wrap_future(self._ask_turn(host, delay_s))
            if (wait_s := at - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            if not _is_late(at, delay_s):
                return

    def turn_for_file(self, host: str, delay_s: float, closed: threading.Event) -> None:
        for _ in range(_TURNS):
            if (at := result_unless(self._ask_turn(host, delay_s), closed)) is None:
                return
            closed.wait(max(0.0, at - time.monotonic()))
            if not _is_late(at, delay_s):
                return

    def release(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(_CLOSE_S)  # if the database does not respond, the permits expire

    def _take(self, host: str, count: int, lowest: int) -> int | Waiter:
        """Return an idle permit, or a waiter that gets the next one."""
        with self._changed:
            permits = self._hosts.get(host)
            if permits is None:
                permits = self._hosts[host] = LeasedPermits(host, count)
            permits.count = min(permits.count, count)
            now = _clock()
            if not permits.waiters and (number := permits.take(lowest, now)) is not None:
                return number
            waiter = Waiter(lowest, now)
            permits.waiters.append(waiter)
            permits.serve(now)
            if permits.waiters:
                self._asking.add(host)
                self._wake()
            return waiter

    def _withdraw(self, host: str, waiter: Waiter) -> None:
        """Let a waiter wait no longer. If it has a permit already, return the permit."""
        with self._changed:
            permits = self._hosts.get(host)
            if permits is not None and waiter in permits.waiters:
                permits.waiters.remove(waiter)
        if waiter.permit.done() and not waiter.permit.cancelled() and waiter.permit.exception() is None:
            self.give_back(host, waiter.permit.result())

    def _ask_turn(self, host: str, delay_s: float) -> Future[float]:
        """Return the time of the next turn, as a value of time.monotonic()."""
        turn: Future[float] = Future()
        with self._changed:
            self._turns.setdefault(host, []).append((delay_s, turn))
            self._wake()
        return turn

    def _wake(self) -> None:
        """Wake the thread, or start it. The caller holds the lock."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="host limits", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while not self._closed:
            try:
                with self._store.autocommit() as connection:
                    while not self._closed:
                        self._work(connection)
                    table.release_all(connection, self._owner)
            except StoreError as error:
                self._failed(error)
            except Exception as error:
                logger.exception("the limits of hosts in the database cannot be used because of a bug")
                self._failed(StoreError(f"{type(error).__name__}: {error}"))

    def _work(self, connection: Connection) -> None:
        """Wait until something is due, and do it."""
        with self._changed:
            now = _clock()
            if not (self._closed or self._returns or self._turns) and (pause_s := self._next_look() - now) > 0:
                self._changed.wait(pause_s)
                now = _clock()
            returns, turns = set(self._returns), {host: list(asked) for host, asked in self._turns.items()}
            self._asking = {host for host in self._asking if host in self._hosts and self._hosts[host].waiters}
            wishes = {host: wish for host in self._asking if now >= self._hosts[host].look_at and (wish := self._hosts[host].wish(now))}
            renewing = self._renew_at <= now and bool(self._hosts)
        if returns:
            table.release(connection, self._owner, returns)
            with self._changed:
                self._returns -= returns
        if turns:
            self._reserve(connection, turns)
        if wishes:
            self._lease(connection, wishes)
        if renewing:
            self._renew(connection)
        if self._unavailable_since is not None and (returns or turns or wishes or renewing):
            logger.warning("the limits of hosts can be used again after %.0f s: requests are sent", _clock() - self._unavailable_since)
            self._unavailable_since = None

    def _next_look(self) -> float:
        """Return the time of the next look for permits or renewal."""
        looks = [self._hosts[host].look_at for host in self._asking if host in self._hosts and self._hosts[host].wish(0.0)]
        return min([*looks, *([self._renew_at] if self._hosts else [])], default=_clock() + 60.0)

    def _reserve(self, connection: Connection, turns: dict[str, list[tuple[float, Future[float]]]]) -> None:
        """Reserve one turn for each of the requests that wait for a turn."""
        delays = {host: max(delay_s for delay_s, _ in asked) for host, asked in turns.items()}
        waits = table.reserve_turns(connection, {host: (len(asked), delays[host]) for host, asked in turns.items()})
        here = time.monotonic()
        with self._changed:
            for host, asked in turns.items():
                self._turns[host] = self._turns[host][len(asked):]
                if not self._turns[host]:
                    del self._turns[host]
        for host, asked in turns.items():
            for number, (_, turn) in enumerate(asked):
                set_result(turn, here + waits[host] + number * delays[host])

    def _lease(self, connection: Connection, wishes: dict[str, table.Wish]) -> None:
        """Lease permits for the requests that wait, as far as other processes leave them."""
        now = _clock()
        uses = {host: table.HostUse() for host in wishes} | dict(table.look(connection, wishes))
        dead = {owner for use in uses.values() for owner in {*use.permits.values(), *use.waiting}
                if owner != self._owner and owner_is_alive(owner, self._store.owner) is False}
        uses = {host: use.without(dead) for host, use in uses.items()}
        grants = {host: table.grant(wish, uses[host], self._owner) for host, wish in wishes.items()}
        asked_at = _clock()
        leased = table.lease(connection, self._owner, sorted((host, number) for host, (numbers, _) in grants.items() for number in numbers), dead=dead)
        waiting: dict[bool | None, list[str]] = {True: [], False: [], None: []}
        with self._changed:
            for host, (_, lacks) in grants.items():
                permits = self._hosts[host]
                permits.leased((number for place, number in leased if place == host), asked_at)
                waiting[permits.looked(uses[host], self._owner, now, lacks=lacks)].append(host)
                permits.serve(_clock())
        if waiting[True]:
            table.wait(connection, self._owner, waiting[True])
        if waiting[False]:
            table.stop_waiting(connection, self._owner, waiting[False])

    def _renew(self, connection: Connection) -> None:
        """Renew all permits, and return those that are idle or that other processes wait for."""
        now = _clock()
        renewed = table.renew(connection, self._owner)
        with self._changed:
            self._renew_at = now + RENEW_S
            for host, found in renewed.items():
                known = self._hosts.get(host)
                self._returns |= {(host, number) for number in (known.unknown(found.numbers) if known is not None else found.numbers)}
            for host, permits in list(self._hosts.items()):
                self._returns |= {(host, number) for number in permits.renewed(renewed.get(host, table.Renewed()), now)}
                if not permits:
                    del self._hosts[host]

    def _failed(self, error: StoreError) -> None:
        """Wait before the next attempt. Let the requests fail that have waited too long."""
        now = _clock()
        if self._unavailable_since is None:
            self._unavailable_since = now
            logger.warning("requests wait until the database, which keeps the limits of hosts, responds again: %s", error)
        with self._changed:
            if now - self._unavailable_since >= UNAVAILABLE_S:
                self._give_up(StoreError(f"a request has waited for {UNAVAILABLE_S:.0f} s for the database, which keeps the limits of hosts",
                                         where=error.where, fix=error.fix, retry=True))
            self._changed.wait_for(lambda: self._closed, _RETRY_S)

    def _give_up(self, error: StoreError) -> None:
        futures: list[Future[Any]] = [turn for turns in self._turns.values() for _, turn in turns]
        futures += [waiter.permit for permits in self._hosts.values() for waiter in permits.waiters]
        self._turns.clear()
        for permits in self._hosts.values():
            permits.waiters.clear()
        for future in futures:
            set_error(future, error)


def _is_late(at: float, delay_s: float) -> bool:
    """Return whether a turn is missed. at: the time of the turn, as a value of time.monotonic()."""
    return time.monotonic() - at > max(0.2 * delay_s, 0.01)


def _clock() -> float:
    """Return the time in seconds of a clock that is never set, and that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
