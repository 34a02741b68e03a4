"""Files of a session that hold secrets: jars, login state, saved pages. Whole or not at all, mode 0600."""

from __future__ import annotations

from pathlib import Path

from pipeline.atomic_write import replace_file
from pipeline.errors import SessionError


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data`. Raises SessionError."""
    try:
        replace_file(path, data)
    except OSError as error:
        raise SessionError(f"cannot be written: {error.strerror}", where=str(path),
                           fix="check the folder's owner, mode and free space") from error
