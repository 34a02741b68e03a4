"""Start the forkserver, which forks child processes, and delete folders left by killed forkservers.

This module imports little, so that the forkserver starts early and loads Scrapy while the service loads its own modules.
The folder of the forkserver's socket contains a locked marker file. A folder whose marker file is not locked was left by a
process that was killed.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from multiprocessing import forkserver, resource_tracker
from multiprocessing.util import get_temp_dir
from pathlib import Path

from pipeline.workers.signals import stop_signals_blocked

ENTRY = "pipeline.workers.entry"
_MARKER = "crawl-to-inbox"


def warm_up(*also: str) -> None:
    """Start the forkserver, which loads Scrapy in the background.

    also: names of further modules that the forkserver loads.
    """
    _delete_abandoned_folders(Path(tempfile.gettempdir()))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.workers.forkserver_preload", ENTRY, *also])
    _skip_main_script()
    with stop_signals_blocked():
        resource_tracker.ensure_running()  # in a separate `with` block, since ensure_running() unblocks SIGINT and SIGTERM
    with stop_signals_blocked():
        forkserver.ensure_running()
    _mark_folder(Path(get_temp_dir()))


def _skip_main_script() -> None:
    """Keep multiprocessing from running the `pipeline` script again in every child process.

    By default, multiprocessing runs the main script again, unless the program was started with `python -m pipeline`.
    """
    script = sys.modules["__main__"]
    if script.__spec__ is None:
        script.__spec__ = find_spec("pipeline.__main__")


def _mark_folder(folder: Path) -> None:
    """Create a marker file in the folder of the forkserver's socket, locked until this process ends."""
    if (folder / _MARKER).exists():  # the forkserver is already running
        return
    descriptor = os.open(folder / "mark", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # never closed, to keep the lock
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.rename(folder / "mark", folder / _MARKER)  # no other process sees the marker file before it is locked


def _delete_abandoned_folders(temporary: Path) -> None:
    """Delete the folders of forkservers that were killed: the folders whose marker file is not locked."""
    for folder in temporary.glob("pymp-*"):
        try:
            with (folder / _MARKER).open("rb+") as mark:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.stat(follow_symlinks=False).st_uid == os.geteuid():
                    shutil.rmtree(folder)
        except OSError:  # the folder is in use or belongs to another user
            continue
