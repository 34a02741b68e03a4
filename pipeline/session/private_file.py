"""Writes the session files that contain secrets: atomically and with mode 0600."""

from __future__ import annotations

from pathlib import Path

from pipeline.atomic_write import replace_file
from pipeline.errors import SessionError


def write_private(path: Path, data: bytes) -> None:
    """Replace the content of the file `path` with `data`. Raises SessionError if the file cannot be written."""
    try:
        replace_file(path, data)
    except OSError as error:
        raise SessionError(f"the file cannot be written: {error.strerror}", where=str(path),
                           fix="check the folder's owner, mode and free space") from error
