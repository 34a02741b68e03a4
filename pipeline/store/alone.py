"""One service on a data_dir: a lock that dies with its holder, and tells the next one how that was."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import PipelineError, StoreError

LOCK = "serve.lock"


@contextmanager
def sole_service(data_dir: Path) -> Iterator[bool]:
    """Hold data_dir; whether the holder before us ended without its last word: a kill, a crash, a power cut.

    Raises StoreError saying who holds it.
    """
    descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            found = _word(descriptor)
            raise StoreError(f"another `pipeline serve` holds this data_dir ({found or 'another process'})",
                             where=str(data_dir), fix="stop it, or give this one a data_dir of its own") from error
        unclean = bool(_word(descriptor))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC".encode(), 0)
        os.fsync(descriptor)
        try:
            yield unclean
        except PipelineError:
            os.ftruncate(descriptor, 0)  # it could not begin, say since its port is taken: nothing is half done
            raise
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _word(descriptor: int) -> str:
    """What a holder writes when it begins, and wipes when it ends."""
    return os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
