"""Folders that are reached through open descriptors, one component at a time and with O_NOFOLLOW: a symbolic link
put there by anyone leads nowhere."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import DiskFullError, DownloadError

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What a file system says that knows no hard links (FAT, some network shares), or no more of this one."""
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_root(root: Path) -> int:
    """data_dir itself, made where it is missing. It may be a link: its owner chose it. Raises DownloadError."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(root, _FLAGS)
    except OSError as error:
        raise failure(error, str(root)) from error


@contextmanager
def inside(start: int, parts: Sequence[str], where: str = "", *, create: bool = True) -> Iterator[int]:
    """The folder `parts` below the open folder `start`.

    Raises DownloadError for a symbolic link or an unusable folder, FileNotFoundError for a missing one that is
    not to be created.
    """
    current = os.dup(start)
    try:
        for done, name in enumerate(parts, 1):
            inner = _step(current, name, "/".join(filter(None, (where, *parts[:done]))), create=create)
            os.close(current)
            current = inner
        yield current
    finally:
        os.close(current)


def _step(current: int, name: str, where: str, *, create: bool) -> int:
    try:
        if create:
            try:
                os.mkdir(name, 0o700, dir_fd=current)
                os.fsync(current)
            except FileExistsError:
                pass
        return os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=current)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise DownloadError("is a symbolic link or no folder, which downloads do not follow", where=where,
                                fix="put a folder there, or move data_dir as a whole") from error
        raise failure(error, where) from error


def disk_full(where: str) -> DiskFullError:
    return DiskFullError("no room left on the disk", where=where, retry=True,
                         fix="free some space; what has come so far is kept, and the next run goes on from there")


def failure(error: OSError, where: str) -> DownloadError:
    if error.errno in FULL:
        return disk_full(where)
    return DownloadError(f"cannot be written: {error.strerror}", where=where,
                         fix="check the folder's owner and permissions")


def locked(descriptor: int) -> bool:
    """Take the file for ourselves, until its descriptor is closed or we die; False when somebody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, *NO_LINKS):
            raise
    return True  # also where the file system knows no locks


def exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_file(name: str, folder: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
