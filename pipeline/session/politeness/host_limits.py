"""Limits the delay and the concurrency of requests to each host, for all runs on this machine.

The limits use file locks. The operating system releases a lock when its process ends, so a killed run frees its permits at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

from pipeline.errors import SessionError
from pipeline.hosts import host_and_port

_LOOK_S = 0.02
_OPEN_HOSTS = 64
"""The maximum number of hosts whose permit files stay open."""
_MOST_TURNS = 1000
"""The longest plausible wait for a host, as a multiple of the host's delay.

A stored time that would require a longer wait must come from another clock, and is ignored.
"""


class HostBudget:
    """Enforces the request limits of all hosts. Threads and asyncio tasks can use one object at the same time.

    folder: the folder of the lock files, shared by all runs and created when needed; delay_s: the minimum delay between two
    requests to one host; concurrency: the maximum number of simultaneous requests to one host, 0 for no limit. If spiders have
    different limits for the same host, each spider applies its own limits. paused: maps each host that asked for a pause to the
    end of the pause, as a value of time.monotonic(). on_pause: a function that is called with a host ("name:port") and a number
    of seconds, each time that the host asks for a pause that ends later than its current pause.
    """

    def __init__(self, folder: Path | None = None, *, delay_s: float = 0.0, concurrency: int = 0,
                 paused: Mapping[str, float] | None = None, on_pause: Callable[[str, float], None] = lambda host, seconds: None) -> None:
        self._folder = folder
        self._delay_s = delay_s
        self._concurrency = concurrency
        self.paused: dict[str, float] = dict(paused or {})
        self._on_pause = on_pause
        self._slower: dict[str, float] = {}
        self._permits: OrderedDict[str, _Permits] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._boot = _boot_id()

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

        Raises SessionError if the lock files cannot be used.
        """
        host = _host(url)
        permits = self._permits_of(host)
        while (permit := permits.take() if permits else None) is None and permits:  # noqa: ASYNC110  other processes may hold the permits
            await asyncio.sleep(_LOOK_S)
        try:
            if wait_s := self._next_turn_s(host):
                await asyncio.sleep(wait_s)
            yield
        finally:
            if permits and permit is not None:
                permits.give_back(permit)

    @contextmanager
    def permit_for_file(self, url: str, stopped: threading.Event) -> Iterator[None]:
        """Block until a permit for downloading a file is free, and hold the permit during the `with` statement.

        Because downloads take long, one permit of each host with several permits is reserved for pages. If the event `stopped` is
        set while this method waits, the `with` statement is executed without a permit. Raises SessionError if the lock files
        cannot be used.
        """
        permits = self._permits_of(_host(url))
        while (permit := permits.take(file=True) if permits else None) is None and permits and not stopped.wait(_LOOK_S):
            pass
        try:
            yield
        finally:
            if permits and permit is not None:
                permits.give_back(permit)

    def wait(self, url: str) -> None:
        """Block the thread until the next request to the host of `url` is allowed, or until `close` is called.

        The next request is allowed when the host's pause and delay are over. An asyncio task must not block, and uses
        `left_alone_s` instead.
        """
        self._closed.wait(self.left_alone_s(url))
        self._closed.wait(self._next_turn_s(_host(url)))

    def close(self) -> None:
        """Wake all threads that are blocked in `wait`."""
        self._closed.set()

    def _delay_of(self, host: str) -> float:
        return max(self._delay_s, self._slower.get(host, 0.0)) if self._folder is not None else 0.0

    def _permits_of(self, host: str) -> _Permits | None:
        if self._folder is None or not self._concurrency:
            return None
        with self._lock:
            if host not in self._permits:
                self._permits[host] = _Permits(partial(self._open, _name(host)), self._concurrency)
                for other in list(self._permits)[:max(0, len(self._permits) - _OPEN_HOSTS)]:
                    if self._permits[other].close():
                        del self._permits[other]
            self._permits.move_to_end(host)
            return self._permits[host]

    def _next_turn_s(self, host: str) -> float:
        """Reserve the time of the next request to a host. Return the seconds until that time.

        The time is stored as a value of time.monotonic(), which is the same clock in all processes.
        """
        delay_s = self._delay_of(host)
        if not delay_s:
            return 0.0
        descriptor = self._open(_name(host), "turn")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # the lock is held for microseconds only
            now = time.monotonic()
            boot, _, text = os.read(descriptor, 200).decode("ascii", "replace").partition(" ")
            try:
                free_at = float(text) if boot == self._boot else 0.0
            except ValueError:
                free_at = 0.0
            turn = max(now, free_at if free_at < now + _MOST_TURNS * delay_s else 0.0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.truncate(descriptor, 0)
            os.write(descriptor, f"{self._boot} {turn + delay_s:.6f}".encode())
            return turn - now
        finally:
            os.close(descriptor)

    def _open(self, host: str, what: str) -> int:
        assert self._folder is not None
        path = self._folder / f"{host}.{what}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SessionError(f"the lock file cannot be used: {error.strerror}", where=str(path), fix="check the file's owner and mode") from error


class _Permits:
    """The permits of one host. Each permit is a numbered file; the process that has locked the file has the permit.

    The files stay open, so that a request costs only two system calls.
    """

    def __init__(self, open_permit: Callable[[str], int], count: int) -> None:
        self._open_permit = open_permit
        self._count = count
        self._descriptors: dict[int, int] = {}
        self._held: set[int] = set()
        self._lock = threading.Lock()

    def take(self, *, file: bool = False) -> int | None:
        """Take a free permit. Return the number of the permit; None if all permits are taken.

        file: whether the permit is for a download. If the host has several permits, a download cannot take permit 0.
        """
        with self._lock:
            for number in range(1 if file and self._count > 1 else 0, self._count):
                if number not in self._held and self._try(number):
                    self._held.add(number)
                    return number
        return None

    def _try(self, number: int) -> bool:
        if number not in self._descriptors:
            self._descriptors[number] = self._open_permit(str(number))
        try:
            fcntl.flock(self._descriptors[number], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def give_back(self, number: int) -> None:
        with self._lock:
            fcntl.flock(self._descriptors[number], fcntl.LOCK_UN)
            self._held.discard(number)

    def close(self) -> bool:
        """Close the files, unless this process holds a permit. Return whether the files were closed."""
        with self._lock:
            if self._held:
                return False
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])
            return True


def _host(url: str) -> str:
    host, port = host_and_port(url)
    return f"{host}:{port}"


def _name(host: str) -> str:
    return sha256(host.encode()).hexdigest()[:24]


def _boot_id() -> str:
    """Return the id of the current boot of this machine; "-" if the system provides no such id.

    Values of time.monotonic() are comparable only within one boot.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "-"
