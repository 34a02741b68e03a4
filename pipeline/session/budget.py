"""One budget per host for all runs of this machine: who may send next, kept in small locked files.

Locks die with the process that holds them, so that a killed run gives its places back at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import SessionError

_LOOK_S = 0.05
_MOST_TURNS = 1000
"""A next turn further away than so many delays was written by a clock that is gone."""


class HostBudget:
    """folder: shared by all runs (made when needed). delay_s: between two requests to one host; concurrency: at a time.

    0 is no limit. Of spiders that name different figures for one host, each keeps its own.
    """

    def __init__(self, folder: Path | None = None, *, delay_s: float = 0.0, concurrency: int = 0) -> None:
        self._folder = folder
        self._delay_s = delay_s
        self._concurrency = concurrency
        self._slower: dict[str, float] = {}
        self._boot = _boot_id()

    def slow_down(self, url: str, delay_s: float) -> None:
        """The host of `url` asks for at least so long between two requests."""
        self._slower[_host(url)] = delay_s

    @asynccontextmanager
    async def turn(self, url: str) -> AsyncIterator[None]:
        """Wait until a request may go to the host of `url`, and hold its place meanwhile. Raises SessionError."""
        host = _host(url)
        if self._folder is None or not (self._concurrency or self._delay_of(host)):
            yield
            return
        place = await self._place(host)
        try:
            await asyncio.sleep(self._next_turn_s(host))
            yield
        finally:
            if place is not None:
                os.close(place)

    def wait(self, url: str) -> None:
        """As `turn`, for a thread, and without holding a place: downloads have limits of their own."""
        host = _host(url)
        if self._folder is not None and self._delay_of(host):
            time.sleep(self._next_turn_s(host))

    def _delay_of(self, host: str) -> float:
        return max(self._delay_s, self._slower.get(host, 0.0))

    async def _place(self, host: str) -> int | None:
        while self._concurrency:
            for number in range(self._concurrency):
                descriptor = self._open(f"{_name(host)}.{number}")
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                else:
                    return descriptor
            await asyncio.sleep(_LOOK_S)
        return None

    def _next_turn_s(self, host: str) -> float:
        """Take the host's next turn; the seconds until it comes. The clock is one for all processes, and never set."""
        delay_s = self._delay_of(host)
        if not delay_s:
            return 0.0
        descriptor = self._open(f"{_name(host)}.turn")
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

    def _open(self, name: str) -> int:
        assert self._folder is not None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SessionError(f"cannot be used: {error.strerror}", where=str(self._folder / name),
                               fix="check its owner and mode") from error


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or {'http': 80, 'https': 443}.get(parts.scheme, 0)}"


def _name(host: str) -> str:
    return sha256(host.encode()).hexdigest()[:24]


def _boot_id() -> str:
    """What tells one boot's monotonic clock from another's; "-" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "-"
