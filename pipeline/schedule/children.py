"""Children of a forkserver that has Scrapy loaded: they start in tens of milliseconds and are killed for sure.

The service names what they run and never imports it. A child leads its own session, so that its whole process
group, and nothing else, is what gets killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import multiprocessing
import os
import shutil
import signal
import tempfile
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.settings import Settings

ENTRY = "pipeline.child"
_MARK = "crawl-to-inbox"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def warm_up() -> None:
    """Start the forkserver; it loads Scrapy while we go on."""
    _sweep(Path(tempfile.gettempdir()))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([ENTRY, "pipeline.cli"])
    forkserver.ensure_running()
    _hold(Path(get_temp_dir()))


def _hold(folder: Path) -> None:
    """Mark the folder with the forkserver's socket as ours, and in use for as long as this process lives."""
    if (folder / _MARK).exists():  # warmed up before
        return
    descriptor = os.open(folder / "mark", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # never closed: see above
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.rename(folder / "mark", folder / _MARK)  # locked before anybody else sees it


def _sweep(temporary: Path) -> None:
    """Delete such folders of ours whose process was killed and could not do it."""
    for folder in temporary.glob("pymp-*"):
        try:
            with (folder / _MARK).open("rb+") as mark:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.stat(follow_symlinks=False).st_uid == os.geteuid():
                    shutil.rmtree(folder)
        except OSError:  # in use, or somebody else's
            continue


def _begin(work: str, settings: Settings, log_file: str, pipe: Connection, arguments: tuple[Any, ...]) -> None:
    """Runs in the child, where the module is already loaded."""
    importlib.import_module(ENTRY).enter(work, settings, log_file, pipe, *arguments)


class Child:
    """One child at work. start() returns at once; wait() returns when it is gone."""

    def __init__(self, work: str, settings: Settings, log_file: Path, *arguments: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        self._pipe, self._far_end = context.Pipe()
        self._process = context.Process(
            target=_begin, args=(work, settings, str(log_file), self._far_end, arguments), daemon=False)

    def start(self) -> None:
        """Blocks for some milliseconds, longer while the forkserver is still loading."""
        self._process.start()
        self._far_end.close()

    @property
    def pid(self) -> int | None:
        """None before it was started."""
        return self._process.pid

    async def wait(self, timeout_s: float | None = None) -> int | None:
        """Its exit code (negative: the signal that ended it); None when it is still there after timeout_s."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._process.sentinel, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), timeout_s)
        except TimeoutError:
            return None
        finally:
            loop.remove_reader(self._process.sentinel)
        return self._process.exitcode

    def stop(self) -> None:
        """Ask for a checkpoint and an end."""
        with contextlib.suppress(OSError):  # it is just ending
            self._pipe.send("stop")

    def kill(self) -> None:
        """End it and whatever it started, now."""
        if self.pid is None:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # not yet a leader of its own group, or just gone
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def answer(self) -> PipelineError | None:
        """What it said before it ended. Raises EOFError when it said nothing."""
        if not self._pipe.poll():
            raise EOFError
        found = self._pipe.recv()
        return found if isinstance(found, PipelineError) else None

    def memory_bytes(self) -> int:
        """Its resident memory; 0 where the system does not say (no /proc)."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def close(self) -> None:
        self._pipe.close()
        self._process.join()
        self._process.close()
