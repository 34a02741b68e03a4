"""Start the forkserver, which forks child processes.

Delete the folders that killed forkservers have left.

This module imports few modules, so that the forkserver starts early and loads Scrapy while the service loads its own modules. The
folder of the forkserver's socket contains a locked marker file. If the marker file of a folder is not locked, the folder was left
by a process that was killed.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.workers.signals import stop_signals_blocked

ENTRY = "pipeline.workers.entry"
USED_WITH_POSTGRESQL = ("psycopg", "sqlalchemy.dialects.postgresql.psycopg", "pipeline.session.politeness.database_limits")
"""Modules that every child imports if the database is PostgreSQL, which takes more CPU time than a run of one page."""
_MARKER = "crawl-to-inbox"


def warm_up(*also: str) -> None:
    """Start the forkserver. It loads Scrapy in the background.

    also: names of further modules that the forkserver loads. Raises UsageError if the folder for temporary files cannot be used.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.workers.forkserver_preload", ENTRY, *also])
    try:
        _delete_abandoned_folders(Path(tempfile.gettempdir()))
        folder = _start()
        if folder is not None:
            _mark_folder(folder)
    except OSError as error:  # such as "AF_UNIX path too long"
        raise UsageError(f"the socket of the fork server cannot be created: {error.strerror or error}", where="TMPDIR",
                         fix="set TMPDIR to a writable folder with a short path, such as /tmp") from error


def _start() -> Path | None:
    """Start the forkserver and return the folder of its socket.

    The functions of multiprocessing that are used here are not documented. If Python no longer has them, return None. Then the
    forkserver is started together with the first child process, and the folder of a killed forkserver is not deleted.
    """
    try:
        from multiprocessing.forkserver import ensure_running as start_forkserver  # noqa: PLC0415
        from multiprocessing.resource_tracker import ensure_running as start_tracker  # noqa: PLC0415
        from multiprocessing.util import get_temp_dir  # noqa: PLC0415
    except ImportError:
        return None
    with stop_signals_blocked():
        start_tracker()  # in a separate `with` block, since it unblocks SIGINT and SIGTERM
    with stop_signals_blocked():
        start_forkserver()
    return Path(get_temp_dir())


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
