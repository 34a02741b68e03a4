"""The lock that reserves a data_dir for one service, and shows if the last service stopped cleanly."""

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
"""The length of the status text in bytes. The text is overwritten in place, which works even on a full disk."""
_ENDED = "ended"

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def hold_instance_lock(data_dir: Path) -> Iterator[bool]:
    """Hold the lock of data_dir during the `with` block.

    Yields whether the previous service did not stop cleanly.
    A stop is not clean after a kill, a crash or a power failure. Raises StoreError if another process holds the lock; the message
    names that process. Raises StoreError, too, if the lock file cannot be opened or locked.
    """
    path = data_dir / LOCK
    first = not path.exists()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"the lock file cannot be opened: {error.strerror}", where=str(path),
                         fix="correct the owner and the mode of data_dir and of this file") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            found = _status(descriptor) or _holder(descriptor) or "another process"
            raise StoreError(f"data_dir is in use by another `pipeline serve` ({found})",
                             where=str(data_dir), fix="stop the other service, or set another [pipeline] data_dir") from error
        except OSError as error:
            raise StoreError(f"the file system cannot lock files: {error.strerror}", where=str(path),
                             fix="use a data_dir on a local disk") from error
        unclean = not first and not _status(descriptor).startswith(_ENDED)
        _write(descriptor, f"pid {os.getpid()}, since {_now()}")
        try:
            yield unclean
        except PipelineError:
            if not unclean:  # after an unclean stop, the next start must still check the database
                _write(descriptor, f"{_ENDED} {_now()}")  # the service could not start, for example because its port is in use
            raise
        _write(descriptor, f"{_ENDED} {_now()}")
    finally:
        os.close(descriptor)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _status(descriptor: int) -> str:
    """Return the text in the lock file.

    The service that holds the lock writes this text when the service starts and when it stops.
    """
    return os.pread(descriptor, _WIDTH, 0).decode("utf-8", "replace").strip("\0 \n")


def _write(descriptor: int, status: str) -> None:
    """Write the status text.

    If this fails, the text is left empty, and the next start checks the database.
    """
    try:
        os.pwrite(descriptor, status.ljust(_WIDTH).encode(), 0)
        os.fsync(descriptor)
    except OSError as error:
        logger.warning("the lock file %s cannot be written: %s", LOCK, error.strerror)
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)


def _holder(descriptor: int) -> str:
    """Return which process holds the lock, such as "pid 4711", according to /proc/locks; "" if unknown."""
    found = os.fstat(descriptor)
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        locks = Path("/proc/locks").read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    # "7: FLOCK  ADVISORY  WRITE 4711 fe:01:393229 0 EOF"; in the line of a process that waits for a lock, "->" precedes FLOCK.
    return next((f"pid {words[4]}" for words in map(str.split, locks) if len(words) > 5 and words[1] == "FLOCK" and words[5] == file), "")
