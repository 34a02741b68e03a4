"""Files that hold secrets: whole or not at all, and for their owner's eyes only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pipeline.errors import SessionError


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, mode 0600, synced; its folder is made (0700) when missing. Raises SessionError."""
    temporary = ""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}-", suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = ""
        _sync_folder(path.parent)
    except OSError as error:
        raise SessionError(f"cannot be written: {error.strerror}", where=str(path),
                           fix="check the folder's owner, mode and free space") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Without it a rename may be undone by a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
