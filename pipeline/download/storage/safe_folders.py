"""Open folders without following symbolic links: each folder relative to the descriptor of its parent."""

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
"""The errors of link(2) that mean: the file system has no hard links (FAT, some network shares), or a file has too many links."""
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_root(root: Path) -> int:
    """Open the folder data_dir, which may be a symbolic link, or create it if it is missing.

    Return its file descriptor. Raise DownloadError if the folder cannot be opened or created.
    """
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(root, _FLAGS)
    except OSError as error:
        raise failure(error, str(root)) from error


@contextmanager
def inside(start: int, parts: Sequence[str], where: str = "", *, create: bool = True) -> Iterator[int]:
    """Open the folder with the path `parts` below the open folder `start`, and yield its descriptor.

    create: whether to create missing folders; otherwise raise FileNotFoundError. where: the path of `start` for error messages. Raise
    DownloadError if a folder is a symbolic link or cannot be used.
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
            raise DownloadError("this path is a symbolic link or not a folder; downloads do not follow symbolic links", where=where,
                                fix="replace it by a folder, or move the whole data_dir") from error
        raise failure(error, where) from error


def disk_full(where: str) -> DiskFullError:
    return DiskFullError("no space left on the disk", where=where, retry=True,
                         fix="free some disk space; the next run resumes the download where it stopped")


def failure(error: OSError, where: str) -> DownloadError:
    if error.errno in FULL:
        return disk_full(where)
    return DownloadError(f"the file or folder cannot be written: {error.strerror}", where=where,
                         fix="check the folder's owner and permissions")


def locked(descriptor: int) -> bool:
    """Lock a file until its descriptor is closed or this process ends.

    Return False if another process has locked the file.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, *NO_LINKS):
            raise
    return True  # also if the file system does not support locks


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
