"""Limits delay and concurrency of requests to each host, for all runs on this machine or all nodes.

The limits are kept in lock files (file_limits.py), or in the database if several services share it (database_limits.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

from pipeline.hosts import host_and_port
from pipeline.session.politeness.file_limits import FileLimits
from pipeline.store import Store


class HostLimits(Protocol):
    """Permits and turns that the processes of all runs share. Threads and asyncio tasks can use one object at the same time.

    host: "name:port". count: the number of permits of the host: a permit is a number below it. delay_s: the minimum delay between
    two turns. Each method raises SessionError or StoreError if the limits cannot be used.
    """

    async def take(self, host: str, count: int) -> int:
        """Wait until a permit is free, and return it."""

    def take_for_file(self, host: str, count: int, stopped: threading.Event) -> int | None:
        """Block until a permit for a download is free, and return it; None if the event `stopped` was set first.

        If the host has several permits, permit 0 is reserved for pages.
        """

    def give_back(self, host: str, number: int) -> None:
        """Return a permit."""

    async def turn(self, host: str, delay_s: float) -> None:
        """Reserve the time of the next request, and wait until that time."""

    def turn_for_file(self, host: str, delay_s: float, closed: threading.Event) -> None:
        """Reserve the time of the next request, and block until that time, or until the event `closed` is set."""

    def release(self) -> None:
        """Give all permits back at once, because this process sends no further requests."""


def host_limits_of(store: Store) -> HostLimits:
    """Return the limits that all runs share: on this machine, or on all nodes if several services share the database."""
    if not store.shared:
        return FileLimits(store.data_dir / "hosts")
    from pipeline.session.politeness.database_limits import DatabaseLimits  # noqa: PLC0415  not needed with SQLite
    return DatabaseLimits(store)


class HostBudget:
    """Enforces the request limits of all hosts. Threads and asyncio tasks can use one object at the same time.

    limits: the limits that other processes share, or the folder of their lock files; None for no limits. delay_s: the minimum delay
    between two requests to one host; concurrency: the maximum number of simultaneous requests to one host, 0 for no limit. If
    spiders have different limits for the same host, each spider applies its own limits. paused: maps each host that asked for a
    pause to the end of the pause, as a value of time.monotonic(). on_pause: a function that is called with a host ("name:port")
    and a number of seconds, each time that the host asks for a pause that ends later than its current pause.
    """

    def __init__(self, limits: HostLimits | Path | None = None, *, delay_s: float = 0.0, concurrency: int = 0,
                 paused: Mapping[str, float] | None = None, on_pause: Callable[[str, float], None] = lambda host, seconds: None) -> None:
        self._limits = FileLimits(limits) if isinstance(limits, Path) else limits
        self._delay_s = delay_s
        self._concurrency = concurrency
        self.paused: dict[str, float] = dict(paused or {})
        self._on_pause = on_pause
        self._slower: dict[str, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def slow_down(self, url: str, delay_s: float) -> None:
        """Set the minimum delay between two requests to the host of `url`."""
        self._slower[_host(url)] = delay_s

    def leave_alone(self, url: str, seconds: float) -> None:
        """Send no requests to the host of `url` for this number of seconds, because the host asked for a pause."""
        self.pause({_host(url): time.monotonic() + seconds})

    def pause(self, until: Mapping[str, float]) -> None:
        """Add the pauses that another process of the run has recorded. until: that process's attribute `paused`."""
        with self._lock:
            longer = {host: at for host, at in until.items() if at > self.paused.get(host, 0.0)}
            self.paused |= longer
        for host, at in longer.items():
            self._on_pause(host, at - time.monotonic())

    def left_alone_s(self, url: str) -> float:
        """Return the seconds until the pause of the host of `url` ends; 0.0 if there is no pause."""
        return max(0.0, self.paused.get(_host(url), 0.0) - time.monotonic()) if self.paused else 0.0

    @asynccontextmanager
    async def turn(self, url: str) -> AsyncIterator[None]:
        """Wait until a request to the host of `url` is allowed, and hold a permit during the `async with` statement.

        Raises SessionError or StoreError if the limits cannot be used.
        """
        limits, host = self._limits, _host(url)
        permit = await limits.take(host, self._concurrency) if limits is not None and self._concurrency else None
        try:
            if limits is not None and (delay_s := self._delay_of(host)):
                await limits.turn(host, delay_s)
            yield
        finally:
            if limits is not None and permit is not None:
                limits.give_back(host, permit)

    @contextmanager
    def permit_for_file(self, url: str, stopped: threading.Event) -> Iterator[None]:
        """Block until a permit for downloading a file is free, and hold the permit during the `with` statement.

        Because downloads take long, one permit of each host with several permits is reserved for pages. If the event `stopped` is
        set while this method waits, the `with` statement is executed without a permit. Raises SessionError or StoreError if the
        limits cannot be used.
        """
        limits, host = self._limits, _host(url)
        permit = limits.take_for_file(host, self._concurrency, stopped) if limits is not None and self._concurrency else None
        try:
            yield
        finally:
            if limits is not None and permit is not None:
                limits.give_back(host, permit)

    def wait(self, url: str) -> None:
        """Block the thread until the next request to the host of `url` is allowed, or until `close` is called.

        The next request is allowed when the host's pause and delay are over. An asyncio task must not block, and uses
        `left_alone_s` instead.
        """
        self._closed.wait(self.left_alone_s(url))
        host = _host(url)
        if self._limits is not None and (delay_s := self._delay_of(host)) and not self._closed.is_set():
            self._limits.turn_for_file(host, delay_s, self._closed)

    def close(self) -> None:
        """Wake all threads that are blocked in `wait`."""
        self._closed.set()

    def release(self) -> None:
        """Give all permits back, because no further requests are sent."""
        self.close()
        if self._limits is not None:
            self._limits.release()

    def _delay_of(self, host: str) -> float:
        return max(self._delay_s, self._slower.get(host, 0.0))


def _host(url: str) -> str:
    host, port = host_and_port(url)
    return f"{host}:{port}"
