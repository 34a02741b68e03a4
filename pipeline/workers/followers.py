"""Start the follower processes of a run, with the run or when the leader asks for another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from socket import socket

from pipeline.errors import PipelineError
from pipeline.workers.process import Child

logger = logging.getLogger(__name__)


class FollowerProcesses:
    """The follower processes of one run, as managed by the parent process.

    sockets: the followers' ends of the sockets between leader and followers. Each socket is closed in this process as soon as its
    follower has started; if it stayed open, the leader would not notice the end of the follower. make: a function that returns
    the not yet started process for a socket. prepare: a function that is called in a thread before the first follower is started.
    """

    def __init__(self, sockets: Sequence[socket], make: Callable[[socket], Child], prepare: Callable[[], None]) -> None:
        self._sockets = list(sockets)
        self._make = make
        self._prepare = prepare
        self._children: list[Child] = []
        self._starting: asyncio.Task[None] | None = None
        self._requests = 0
        self._ended = False
        self.optional = False
        """Whether followers are started only when the leader asks for them. If so, the run can continue without them."""

    async def start_all(self) -> None:
        """Start all followers, and return when they have started. Raise SpiderError if one cannot be started."""
        self._starting = asyncio.create_task(asyncio.to_thread(self._start_rest))
        await asyncio.shield(self._starting)
        self._starting = None

    def start_on_request(self, leader: Child) -> None:
        """From now on, start one follower each time that the leader asks for one."""
        self.optional = True
        leader.on_request(self._requested)

    def _requested(self) -> None:
        self._requests += 1
        if self._starting is None:
            self._starting = asyncio.create_task(self._start_requested())

    async def _start_requested(self) -> None:
        while self._requests and self._sockets and not self._ended:
            self._requests -= 1
            try:
                await asyncio.to_thread(self._start_next)
            except (PipelineError, OSError) as error:
                logger.warning("a follower process of a run could not be started; the run continues without this process: %s", error)
        self._starting = None

    def _start_rest(self) -> None:
        while self._sockets:
            self._start_next()

    def _start_next(self) -> None:
        end = self._sockets.pop(0)
        try:
            self._prepare()
            child = self._make(end)
            child.start()
        finally:
            end.close()  # also if the follower could not be started: the closed socket tells the leader
        self._children.append(child)

    @property
    def running(self) -> bool:
        """Whether a follower may be running."""
        return bool(self._children)

    def memory_bytes(self) -> int:
        """Return the resident memory of all followers, in bytes."""
        return sum(each.memory_bytes() for each in self._children)

    async def end(self) -> None:
        """Kill all followers, and do not start any more."""
        self._ended = True
        if self._starting is not None:  # wait until the thread that starts followers has ended, since a thread cannot be interrupted
            await asyncio.wait({self._starting})
        for end in self._sockets:
            end.close()
        self._sockets.clear()
        children, self._children = self._children, []
        for each in children:
            each.kill()
        for each in children:
            await asyncio.to_thread(each.close)
