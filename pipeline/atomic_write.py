"""Write files atomically, with mode 0600 unless told otherwise.

Write a temporary file, fsync, then rename or link.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, data: bytes, *, like: os.stat_result | None = None, check: Callable[[], None] | None = None) -> None:
    """Replace the content of `path` with `data`; create a missing folder with mode 0700. Raises OSError.

    like: the file gets this mode and, as far as that is permitted, this owner and group. check: called just before the rename; if it
    raises an exception, nothing is replaced.
    """
    temporary = _written(path, data)
    try:
        if like is not None:
            _make_like(temporary, like)
        if check is not None:
            check()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create_file(path: Path, data: bytes, *, like: os.stat_result | None = None) -> bool:
    """Create `path` with `data`. Return False and change nothing if `path` already exists. like: see replace_file. Raises OSError."""
    temporary = _written(path, data)
    try:
        if like is not None:
            _make_like(temporary, like)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def naming(error: OSError, path: Path) -> OSError:
    """Return the error with the name of the file that could not be written: writing to a full disk raises one without a name."""
    if error.filename is None:
        error.filename = os.fspath(path)
    return error


def sync_folder(folder: Path) -> None:
    """Sync `folder` to disk, so that a rename inside it survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_like(path: Path, like: os.stat_result) -> None:
    """Give a file the owner, the group and the mode of another file. An owner or group that is not permitted is left out."""
    own = path.stat()
    if own.st_gid != like.st_gid:
        with contextlib.suppress(PermissionError):
            os.chown(path, -1, like.st_gid)
    if own.st_uid != like.st_uid:
        with contextlib.suppress(PermissionError):
            os.chown(path, like.st_uid, -1)
    os.chmod(path, stat.S_IMODE(like.st_mode))


def _written(path: Path, data: bytes) -> Path:
    """Write `data` to a temporary file in the folder of `path`, sync it to disk and return its path."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise naming(error, path) from None
    return Path(name)
