"""End this process when one page takes too much CPU time; a file tells the parent which page it was.

Parsers are C code that holds Python's lock, so that no thread of this process could interrupt them. The kernel can: its
CPU timer ends the process with SIGPROF. The parent then sets the page aside and starts the run's process again.
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
    """cpu_s: CPU seconds of the whole process that one step of a page may take. file: where its frontier row is written."""

    def __init__(self, file: Path, cpu_s: float) -> None:
        self._cpu_s = cpu_s
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._note(None)  # gives the file its final size, so that no later write needs disk space
        except OSError as error:
            logger.warning("a page that takes too much CPU time will end the run, since %s cannot be opened: %s", file, error.strerror)
            self._file = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    @contextmanager
    def step(self, frontier_id: int | None) -> Iterator[None]:
        """Apply the limit to one step of a page. There must be no await in it."""
        self._begin(frontier_id)
        try:
            yield
        finally:
            self._end()

    def steps(self, entries: Iterable[_T], frontier_id: int | None) -> Iterator[_T]:
        """Yield the same entries. The limit applies to the making of each."""
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

    async def noted(self, entries: AsyncIterator[_T], frontier_id: int | None) -> AsyncIterator[_T]:
        """Yield the same entries without a limit, since the CPU time of an await is that of other tasks."""
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
