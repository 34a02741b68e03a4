"""Limits the requests to each host for all runs on this machine, with lock files.

The operating system releases a lock when its process ends, so a killed run frees its permits at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

from pipeline.errors import SessionError

_LOOK_S = 0.02
_OPEN_HOSTS = 64
"""The maximum number of hosts whose permit files stay open."""
_MOST_TURNS = 1000
"""The longest plausible wait for a host, as a multiple of the host's delay.

A stored time that would require a longer wait must come from another clock, and is ignored.
"""


class FileLimits:
    """Permits and turns of hosts, shared through lock files by all runs on this machine. See HostLimits.

    folder: the folder of the lock files, created when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._permits: OrderedDict[str, _Permits] = OrderedDict()
        self._lock = threading.Lock()
        self._boot = _boot_id()

    async def take(self, host: str, count: int) -> int:
        permits = self._permits_of(host, count)
        while (permit := permits.take()) is None:  # noqa: ASYNC110  other processes may hold the permits
            await asyncio.sleep(_LOOK_S)
        return permit

    def take_for_file(self, host: str, count: int, stopped: threading.Event) -> int | None:
        permits = self._permits_of(host, count)
        while (permit := permits.take(file=True)) is None and not stopped.wait(_LOOK_S):
            pass
        return permit

    def give_back(self, host: str, number: int) -> None:
        self._permits[host].give_back(number)  # the files of a host with a held permit are never closed

    async def turn(self, host: str, delay_s: float) -> None:
        if wait_s := self._next_turn_s(host, delay_s):
            await asyncio.sleep(wait_s)

    def turn_for_file(self, host: str, delay_s: float, closed: threading.Event) -> None:
        closed.wait(self._next_turn_s(host, delay_s))

    def release(self) -> None:
        """Do nothing: the operating system releases the locks when the process ends."""

    def _permits_of(self, host: str, count: int) -> _Permits:
        with self._lock:
            if host not in self._permits:
                self._permits[host] = _Permits(partial(self._open, _name(host)), count)
                for other in list(self._permits)[:max(0, len(self._permits) - _OPEN_HOSTS)]:
                    if self._permits[other].close():
                        del self._permits[other]
            self._permits.move_to_end(host)
            return self._permits[host]

    def _next_turn_s(self, host: str, delay_s: float) -> float:
        """Reserve the time of the next request to a host. Return the seconds until that time.

        The time is stored as a value of time.monotonic(), which is the same clock in all processes.
        """
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
