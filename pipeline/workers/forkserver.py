"""The process that children are forked from. Little is imported here: it is started first, and loads while others do.

Its socket is in a temporary folder of ours, marked, so that those of killed processes can be swept away.
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
_MARK = "crawl-to-inbox"


def warm_up(*also: str) -> None:
    """Start the forkserver; it loads Scrapy while we go on. also: further modules, of use to more than one child."""
    _delete_abandoned_folders(Path(tempfile.gettempdir()))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.workers.forkserver_preload", ENTRY, *also])
    _skip_main_script()
    with stop_signals_blocked():
        resource_tracker.ensure_running()  # it lets SIGINT and SIGTERM through again, so it comes first
    with stop_signals_blocked():
        forkserver.ensure_running()
    _hold(Path(get_temp_dir()))


def _skip_main_script() -> None:
    """Every child would run the script we were started by, `pipeline`, to have what it defines; `python -m pipeline` it
    leaves alone."""
    script = sys.modules["__main__"]
    if script.__spec__ is None:
        script.__spec__ = find_spec("pipeline.__main__")


def _hold(folder: Path) -> None:
    """Mark the folder with the forkserver's socket as ours, and in use for as long as this process lives."""
    if (folder / _MARK).exists():  # warmed up before
        return
    descriptor = os.open(folder / "mark", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # never closed: see above
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.rename(folder / "mark", folder / _MARK)  # locked before anybody else sees it


def _delete_abandoned_folders(temporary: Path) -> None:
    """Delete such folders of ours whose process was killed and could not do it."""
    for folder in temporary.glob("pymp-*"):
        try:
            with (folder / _MARK).open("rb+") as mark:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.stat(follow_symlinks=False).st_uid == os.geteuid():
                    shutil.rmtree(folder)
        except OSError:  # in use, or somebody else's
            continue
