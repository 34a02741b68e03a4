"""Decide when followers join a run with `processes = "auto"`.

Such a run starts as one process. Another process joins when the known pages still need much CPU time, this process uses nearly a
whole core, and another core is idle. Therefore a small site or a slow site is crawled by one process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from socket import socket

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.processes.cores import idle_core_s, usable_cores
from pipeline.crawl.processes.leader import FollowerGroup
from pipeline.crawl.processes.memory import available_memory_bytes, own_memory_bytes
from pipeline.settings import SpiderTable

LOOK_EVERY_S = 1.0
"""The time between two measurements of the crawl, in seconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Thresholds:
    """The conditions under which another process joins a crawl.

    left_s: the minimum CPU time, in seconds, that the known pages still need; starting a process takes up to one second. busy:
    the minimum share of a core that this process uses. idle_cores: the minimum number of idle cores. memory: the maximum share of
    memory_limit that all processes together may use, assuming that the new process needs as much memory as this one.
    times_available: this multiple of this process's memory must be available, since a new process may also need a forkserver.
    """

    left_s: float = 5.0
    busy: float = 0.85
    idle_cores: float = 0.5
    memory: float = 0.5
    times_available: float = 3.0


@dataclass(frozen=True)
class Load:
    """The measurements of the last LOOK_EVERY_S seconds.

    busy: the CPU time of this process per second. idle_cores: how many usable cores were idle; None if unknown. pages_left: how
    many known pages are not yet committed. page_s: the average CPU time of one page, without the first seconds of the crawl.
    memory_bytes: the memory of this process. available_bytes: the memory that new processes can use; infinity if unknown.
    """

    busy: float
    idle_cores: float | None
    pages_left: int
    page_s: float
    memory_bytes: int
    available_bytes: float


THRESHOLDS = Thresholds()


def reason_for_one_process(table: SpiderTable, cores: int) -> str:
    """Return why a crawl with these settings never uses more than one process; "" if follower processes can join."""
    reasons = {
        "only one core may be used": cores < 2,
        f"concurrency is {table.concurrency}": table.concurrency < 2,
        "the setting `delay` limits the speed": table.delay > 0,
        "throttle needs a single process that measures the response times of the site": table.throttle,
        "all pages share the cookies of one login": table.login is not None or table.cookies is not None,
        "one session must use one proxy": table.proxy is not None,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def is_large(load: Load, thresholds: Thresholds) -> bool:
    """Return whether the known pages need so much CPU time that starting another process is worthwhile."""
    return load.pages_left * load.page_s >= thresholds.left_s


def reason_to_wait(load: Load, thresholds: Thresholds, *, processes: int, memory_limit_bytes: int) -> str:
    """Return why no other process should join a large crawl yet; "" if another process should join now.

    processes: the current number of processes.
    """
    if load.busy < thresholds.busy:
        return "the site and not the CPU limits the speed, or other programs use the core"
    if load.idle_cores is not None and load.idle_cores < thresholds.idle_cores:
        return "no other core is idle"
    if load.memory_bytes * (processes + 1) > thresholds.memory * memory_limit_bytes:
        return f"{processes + 1} processes might exceed memory_limit"
    if load.available_bytes < thresholds.times_available * load.memory_bytes:
        return "too little memory is available"
    return ""


class Scaling:
    """Adds followers to a run one after another.

    sockets: one socket for each possible follower. request: a function that asks the parent process to start the next follower,
    which uses the other end of the next socket.
    """

    def __init__(self, context: CrawlContext, sockets: Sequence[socket], request: Callable[[], None]) -> None:
        self._context = context
        self._sockets = list(sockets)
        self._request = request
        self._cores = usable_cores()
        self._most = min(len(sockets) + 1, self._cores, context.table.concurrency)
        self._reason = ""
        self.group = FollowerGroup(context, context.table.concurrency // self._most, optional=True)

    async def run(self) -> None:
        """Measure the crawl periodically, and add followers until no more can join."""
        fixed_reason = reason_for_one_process(self._context.table, self._cores)
        await asyncio.sleep(LOOK_EVERY_S)  # measured only now, because the start of the crawl and pages not yet committed would make each page look expensive
        pages_before, cpu_before_s = self._context.progress.pages, time.process_time()
        while True:
            begun_s, cpu_s, idle_s = time.monotonic(), time.process_time(), idle_core_s()
            await asyncio.sleep(LOOK_EVERY_S)
            processes, pages = self.group.ready + 1, self._context.progress.pages - pages_before
            if self.group.lost or (processes >= self._most and not fixed_reason):
                return
            seconds, idle_now_s = time.monotonic() - begun_s, idle_core_s()
            load = Load(
                busy=(time.process_time() - cpu_s) / seconds,
                idle_cores=None if idle_s is None or idle_now_s is None else (idle_now_s - idle_s) / seconds,
                pages_left=self._pages_left(), page_s=(time.process_time() - cpu_before_s) / max(1, pages),
                memory_bytes=own_memory_bytes(), available_bytes=available_memory_bytes())
            if self.group.joining or self._context.stopping() or not is_large(load, THRESHOLDS):
                continue
            reason = fixed_reason or reason_to_wait(load, THRESHOLDS, processes=processes,
                                                    memory_limit_bytes=self._context.table.memory_limit)
            if not reason:
                await self._add(load)
            elif reason != self._reason:
                self._reason = reason
                logger.info("this run uses %d process%s for now, because %s", processes, "es" if processes > 1 else "", reason)
            if fixed_reason:
                return

    def _pages_left(self) -> int:
        progress, limit = self._context.progress, self._context.table.max_pages
        return min(progress.waiting, limit - progress.pages) if limit else progress.waiting

    async def _add(self, load: Load) -> None:
        logger.info("process %d of at most %d is being started: %d pages are waiting and need about %.0f s of CPU time; the leader process uses "
                    "%.0f %% of a core", self.group.ready + 2, self._most, load.pages_left, load.pages_left * load.page_s, 100 * load.busy)
        await self.group.add(self._sockets.pop(0))
        self._request()
