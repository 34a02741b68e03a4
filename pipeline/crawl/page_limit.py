"""End this process when one page takes too much CPU time, and record in a file which page it was.

Parsers are C code that holds the global interpreter lock, so that no Python thread can interrupt them. Therefore a CPU timer of
the kernel ends the process with SIGPROF. The parent process then marks the page as skipped and starts the run's process again.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class PageLimit:
    """The CPU time limit of pages. If a page exceeds the limit, this process ends.

    file: the file in which the id of the current page's frontier row is recorded. cpu_s: the limit for one step of processing a
    page, in CPU seconds of the whole process.
    """

    def __init__(self, file: Path, cpu_s: float) -> None:
        self._cpu_s = cpu_s
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._note(None)  # gives the file its final size now, so that later writes succeed even if the disk is full
        except OSError as error:
            logger.warning("%s cannot be opened: %s; if a page exceeds page_cpu_limit, the run ends, and the next run does not skip this page",
                           file, error.strerror)
            self._file = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    @contextmanager
    def step(self, frontier_id: int | None) -> Iterator[None]:
        """Apply the limit to one step of processing a page: the body of a `with` statement, which must contain no await."""
        self._begin(frontier_id)
        try:
            yield
        finally:
            self._end()

    def steps(self, entries: Iterable[_T], frontier_id: int | None) -> Iterator[_T]:
        """Yield the entries, and apply the limit to the time in which `entries` produces each of them."""
        iterator = iter(entries)
        while True:
            self._begin(frontier_id)
            try:
                entry = next(iterator)
            except StopIteration:
                return
            finally:
                self._end()
            yield entry

    async def async_steps(self, entries: AsyncIterator[_T], frontier_id: int | None) -> AsyncIterator[_T]:
        """Like steps(), for an asynchronous iterator that never waits for I/O, such as Scrapy's wrapper of a callback's
        generator.
        """
        while True:
            self._begin(frontier_id)
            try:
                entry = await anext(entries)
            except StopAsyncIteration:
                return
            finally:
                self._end()
            yield entry

    async def noted(self, entries: AsyncIterator[_T], frontier_id: int | None) -> AsyncIterator[_T]:
        """Yield the entries without a CPU time limit, because other tasks use CPU time while `entries` waits for I/O.

        The page is still recorded in the file.
        """
        while True:
            self._note(frontier_id)
            try:
                entry = await anext(entries)
            except StopAsyncIteration:
                return
            finally:
                self._note(None)
            yield entry

    def _note(self, frontier_id: int | None) -> None:
        os.pwrite(self._file, (frontier_id or 0).to_bytes(8, sys.byteorder), 0)

    def _begin(self, frontier_id: int | None) -> None:
        self._note(frontier_id)
        signal.setitimer(signal.ITIMER_PROF, self._cpu_s)

    def _end(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._note(None)
