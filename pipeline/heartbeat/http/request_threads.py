"""A thread that reads the store and renders pages for requests, one after the other.

More such threads would compete with the event loop for the interpreter, and lines would be answered later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache, partial
from typing import TypeVar

THREADS = 1
"""Python runs one thread at a time. With two, answers are ready no sooner, and the event loop waits longer (benchmarks/console.py)."""

_T = TypeVar("_T")


async def in_request_thread(call: Callable[..., _T], *arguments: object) -> _T:
    """Call a function that takes milliseconds and never waits for the write lock or the network, such as a query or a template."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), partial(copy_context().run, call, *arguments))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="request")
