"""Run a crawl with Twisted's reactor on the same event loop, for components that need the reactor."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from pipeline.errors import SpiderError

T = TypeVar("T")
_PATIENCE_S = 2.0
"""How long, in seconds, tasks that are left after the crawl may take to end when they are cancelled."""


def install_reactor() -> asyncio.AbstractEventLoop:
    """Install Twisted's asyncio reactor on a new event loop, and return the loop.

    The modules of the project may import the reactor, so it is installed before them. Raise SpiderError if the settings of the project
    have already imported another reactor.
    """
    if "twisted.internet.reactor" in sys.modules:
        raise SpiderError("the settings of the Scrapy project import twisted.internet.reactor, so that its asyncio reactor cannot be used",
                          fix="import the reactor inside the functions that need it")
    from twisted.internet import asyncioreactor  # noqa: PLC0415  imports the reactor, so only when a project needs it
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)  # type: ignore[no-untyped-call]
    return loop


def run_on_reactor(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine while the reactor runs, and return its result. Stopping the reactor ends its threads.

    loop: the return value of install_reactor().
    """
    from twisted.internet import reactor  # noqa: PLC0415  only when a project needs it
    running: Any = reactor  # the module stands for the reactor that was installed
    tasks: list[asyncio.Task[T]] = []

    def begin() -> None:
        task = loop.create_task(work())
        task.add_done_callback(lambda _: running.stop())
        tasks.append(task)

    running.callWhenRunning(begin)
    running.run(installSignalHandlers=False)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=_PATIENCE_S))
    return tasks[0].result()
