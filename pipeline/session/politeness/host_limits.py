"""One budget per host for all runs of this machine: who may send next, kept in small locked files.

Locks die with the process that holds them, so that a killed run gives its places back at once.
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
"""So many hosts' files stay open."""
_MOST_TURNS = 1000
"""A next turn further away than so many delays was written by a clock that is gone."""


class HostBudget:
    """folder: shared by all runs (made when needed). delay_s: between two requests to one host; concurrency: at a time.

    0 is no limit. Of spiders that name different figures for one host, each keeps its own. Threads and tasks may share it.
    paused: hosts that asked to be left alone, and until when (time.monotonic(), as the event loop's).
    on_pause: told the host ("name:port") and the seconds whenever a host asks to be left alone for longer than before.
    """

    def __init__(self, folder: Path | None = None, *, delay_s: float = 0.0, concurrency: int = 0,
                 paused: Mapping[str, float] | None = None, on_pause: Callable[[str, float], None] = lambda host, seconds: None) -> None:
        self._folder = folder
        self._delay_s = delay_s
        self._concurrency = concurrency
        self.paused: dict[str, float] = dict(paused or {})
        self._on_pause = on_pause
        self._slower: dict[str, float] = {}
        self._places: OrderedDict[str, _Places] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._boot = _boot_id()

    def slow_down(self, url: str, delay_s: float) -> None:
        """The host of `url` asks for at least so long between two requests."""
        self._slower[_host(url)] = delay_s

    def leave_alone(self, url: str, seconds: float) -> None:
        """The host of `url` asks for no request, for a page or a file, for so long."""
        self.pause({_host(url): time.monotonic() + seconds})

    def pause(self, until: Mapping[str, float]) -> None:
        """What another process of the run was asked for, as its `paused` has it."""
        with self._lock:
            longer = {host: at for host, at in until.items() if at > self.paused.get(host, 0.0)}
            self.paused |= longer
        for host, at in longer.items():
            self._on_pause(host, at - time.monotonic())

    def left_alone_s(self, url: str) -> float:
        """The seconds until the host of `url` may be asked again; 0.0: now."""
        return max(0.0, self.paused.get(_host(url), 0.0) - time.monotonic()) if self.paused else 0.0

    @asynccontextmanager
    async def turn(self, url: str) -> AsyncIterator[None]:
        """Wait until a request may go to the host of `url`, and hold its place meanwhile. Raises SessionError."""
        host = _host(url)
        places = self._places_at(host)
        while (place := places.take() if places else None) is None and places:  # noqa: ASYNC110  other processes hold them
            await asyncio.sleep(_LOOK_S)
        try:
            if wait_s := self._next_turn_s(host):
                await asyncio.sleep(wait_s)
            yield
        finally:
            if places and place is not None:
                places.give_back(place)

    @contextmanager
    def place_for_file(self, url: str, stopped: threading.Event) -> Iterator[None]:
        """Hold a place at the host of `url`, for a thread; files, which take long, leave one of several to pages.

        Returns without one when `stopped` is set. Raises SessionError.
        """
        places = self._places_at(_host(url))
        while (place := places.take(file=True) if places else None) is None and places and not stopped.wait(_LOOK_S):
            pass
        try:
            yield
        finally:
            if places and place is not None:
                places.give_back(place)

    def wait(self, url: str) -> None:
        """Wait until the host of `url` may be asked again, and for the next turn at it; no longer than until `close`.

        For a thread; a task learns from `left_alone_s` what else to do meanwhile.
        """
        self._closed.wait(self.left_alone_s(url))
        self._closed.wait(self._next_turn_s(_host(url)))

    def close(self) -> None:
        """Nobody waits any more."""
        self._closed.set()

    def _delay_of(self, host: str) -> float:
        return max(self._delay_s, self._slower.get(host, 0.0)) if self._folder is not None else 0.0

    def _places_at(self, host: str) -> _Places | None:
        if self._folder is None or not self._concurrency:
            return None
        with self._lock:
            if host not in self._places:
                self._places[host] = _Places(partial(self._open, _name(host)), self._concurrency)
                for other in list(self._places)[:max(0, len(self._places) - _OPEN_HOSTS)]:
                    if self._places[other].close():
                        del self._places[other]
            self._places.move_to_end(host)
            return self._places[host]

    def _next_turn_s(self, host: str) -> float:
        """Take the host's next turn; the seconds until it comes. The clock is one for all processes, and never set."""
        delay_s = self._delay_of(host)
        if not delay_s:
            return 0.0
        descriptor = self._open(_name(host), "turn")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for microseconds
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
            raise SessionError(f"cannot be used: {error.strerror}", where=str(path), fix="check its owner and mode") from error


class _Places:
    """The places at one host: numbered files, of which whoever has the lock has the place.

    Files stay open: a request costs two system calls, not a look at each place that is taken.
    """

    def __init__(self, open_place: Callable[[str], int], count: int) -> None:
        self._open_place = open_place
        self._count = count
        self._descriptors: dict[int, int] = {}
        self._held: set[int] = set()
        self._lock = threading.Lock()

    def take(self, *, file: bool = False) -> int | None:
        """A free place's number; None for none."""
        with self._lock:
            for number in range(1 if file and self._count > 1 else 0, self._count):
                if number not in self._held and self._try(number):
                    self._held.add(number)
                    return number
        return None

    def _try(self, number: int) -> bool:
        if number not in self._descriptors:
            self._descriptors[number] = self._open_place(str(number))
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
        """Close the files, unless a place is held; whether they are closed."""
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
    """What tells one boot's monotonic clock from another's; "-" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "-"
