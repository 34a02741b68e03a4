"""One service on a data_dir: a lock that dies with its holder, and tells the next one how that was."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import PipelineError, StoreError

LOCK = "serve.lock"
_WIDTH = 80
"""A word is written over the one before it, and is as long: that takes no room, which a full disk may not have."""
_ENDED = "ended"

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def hold_instance_lock(data_dir: Path) -> Iterator[bool]:
    """Hold data_dir; whether the holder before us ended without its last word: a kill, a crash, a power cut.

    Raises StoreError saying who holds it.
    """
    path = data_dir / LOCK
    first = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            found = _word(descriptor) or _holder(descriptor) or "another process"
            raise StoreError(f"another `pipeline serve` holds this data_dir ({found})",
                             where=str(data_dir), fix="stop it, or give this one a data_dir of its own") from error
        unclean = not first and not _word(descriptor).startswith(_ENDED)
        _write(descriptor, f"pid {os.getpid()}, since {_now()}")
        try:
            yield unclean
        except PipelineError:
            if not unclean:  # else the next one has to look, too: nobody has seen that all is well
                _write(descriptor, f"{_ENDED} {_now()}")  # it could not begin, say since its port is taken
            raise
        _write(descriptor, f"{_ENDED} {_now()}")
    finally:
        os.close(descriptor)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _word(descriptor: int) -> str:
    """What a holder writes when it begins, and when it ends."""
    return os.pread(descriptor, _WIDTH, 0).decode("utf-8", "replace").strip("\0 \n")


def _write(descriptor: int, word: str) -> None:
    """One that cannot be written leaves none: the next start looks through the database, and no more than that is lost."""
    try:
        os.pwrite(descriptor, word.ljust(_WIDTH).encode(), 0)
        os.fsync(descriptor)
    except OSError as error:
        logger.warning("%s cannot be written: %s", LOCK, error.strerror)
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)


def _holder(descriptor: int) -> str:
    """Who has the lock as the kernel knows it, where it says; "" elsewhere."""
    found = os.fstat(descriptor)
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        locks = Path("/proc/locks").read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    # "7: FLOCK  ADVISORY  WRITE 4711 fe:01:393229 0 EOF"; who waits for one has "->" in front.
    return next((f"pid {words[4]}" for words in map(str.split, locks) if len(words) > 5 and words[1] == "FLOCK" and words[5] == file), "")
