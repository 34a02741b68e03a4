"""Where files land: `downloads/SPIDER/` under data_dir, parts in its `.parts/`.

Folders are held open and everything inside is reached through their descriptors, one component at a time with
O_NOFOLLOW: a symbolic link put there by anyone leads nowhere. A finished part gets its final name by link(2),
which never replaces a file; the part keeps its own name until the store knows the file, so that a kill in
between costs nothing.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.download import names
from pipeline.download.checksums import of_file
from pipeline.download.limits import MIB
from pipeline.errors import DiskFullError, DownloadError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_PARTS = ".parts"
_ROOM_FOR_THE_STORE = MIB


class Part:
    """The bytes of one version of a file, as far as they have come: open, locked, appended to."""

    def __init__(self, descriptor: int, key: str) -> None:
        self._file = io.FileIO(descriptor, "r+")
        self.key = key
        self.size = os.fstat(descriptor).st_size
        self.synced = self.size
        self._file.seek(self.size)

    @property
    def file(self) -> io.FileIO:
        return self._file

    def write(self, chunk: bytes) -> None:
        """Append. Raises DiskFullError, DownloadError."""
        view = memoryview(chunk)
        try:
            while view:
                count = self._file.write(view)
                self.size += count
                view = view[count:]
        except OSError as error:
            if error.errno not in _FULL:
                raise DownloadError(f"cannot be written: {error.strerror}", where=self.key) from error
            raise disk_full(self.key) from error

    def truncate(self, size: int) -> None:
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size
        self.synced = min(self.synced, size)

    def sync(self) -> None:
        """Onto the disk. Raises DiskFullError where the file system finds out only now; DownloadError."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            if error.errno in _FULL:
                raise disk_full(self.key) from error
            raise DownloadError(f"cannot be synced: {error.strerror}", where=self.key) from error
        self.synced = self.size

    def close(self) -> None:
        self._file.close()


class Landing:
    """The folder of one spider's downloads, open. A context manager."""

    def __init__(self, root: Path, spider: str) -> None:
        """Creates what is missing. Raises DownloadError for a symbolic link or an unusable folder."""
        self._root = root
        self._prefix = f"downloads/{spider}"
        self._folder = _open_folders(root, ("downloads", spider))
        try:
            self._parts = _open_folders(root, ("downloads", spider, _PARTS))
        except BaseException:
            os.close(self._folder)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        os.close(self._parts)
        os.close(self._folder)

    def free_bytes(self) -> int:
        found = os.fstatvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def give_room(self, part: Part) -> None:
        """On a full disk, shorten a part a little: the database must still write down how it ended."""
        if self.free_bytes() < _ROOM_FOR_THE_STORE:
            part.truncate(max(0, part.size - _ROOM_FOR_THE_STORE))

    def new_part(self, row_id: int) -> Part:
        """An empty part with a name that no part had before. Raises DownloadError, DiskFullError."""
        name = f"{row_id}-{secrets.token_hex(4)}.part"
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
                                 dir_fd=self._parts)
        except OSError as error:
            raise _failure(error, f"{self._prefix}/{_PARTS}") from error
        _locked(descriptor)
        return Part(descriptor, f"{self._prefix}/{_PARTS}/{name}")

    def old_part(self, key: str) -> Part | None:
        """A part to go on with; None when it is gone or in use."""
        name = self._own(key, f"{self._prefix}/{_PARTS}/")
        if not name:
            return None
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._parts)
        except OSError:
            return None
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not _locked(descriptor):
            os.close(descriptor)
            return None
        if found.st_nlink > 1:
            self._take_back(found)
        return Part(descriptor, key)

    def _take_back(self, part: os.stat_result) -> None:
        """Remove the final name of a part that was killed before it was recorded: the part is still written to."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.inode() == part.st_ino and entry.stat(follow_symlinks=False).st_dev == part.st_dev:
                    _unlink(entry.name, self._folder)

    def remove_part(self, key: str) -> None:
        if name := self._own(key, f"{self._prefix}/{_PARTS}/"):
            _unlink(name, self._parts)

    def has(self, key: str) -> bool:
        """Whether a finished file is still there, and is a file."""
        name = self._own(key, f"{self._prefix}/")
        return bool(name) and _is_file(name, self._folder)

    def finish(self, part: Part, wish: str, sha256: str, taken: Callable[[str], bool]) -> tuple[str, str]:
        """Give a synced part its final name: (key, name). Raises DownloadError, DiskFullError.

        A file that is already there stays; one with the very same content that no download owns (`taken`
        says so of a key) was left by a kill just before it was recorded, and is taken for this one.
        """
        for name in names.numbered(wish):
            key = f"{self._prefix}/{name}"
            try:
                self._link(part, name)
            except FileExistsError:
                if not self._same(part, name, sha256) or taken(key):
                    continue
            except OSError as error:
                raise _failure(error, key) from error
            os.fsync(self._folder)
            return key, name
        raise AssertionError("numbered names have no end")

    def _link(self, part: Part, name: str) -> None:
        source = part.key.rpartition("/")[2]
        try:
            os.link(source, name, src_dir_fd=self._parts, dst_dir_fd=self._folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # No hard links here (FAT, some network shares): the best there is, with a moment in between.
            if _exists(name, self._folder):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from error
            os.rename(source, name, src_dir_fd=self._parts, dst_dir_fd=self._folder)

    def _same(self, part: Part, name: str, sha256: str) -> bool:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
                                 dir_fd=self._folder)
        except OSError:
            return False
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size != part.size:
                return False
            mine = os.fstat(part.file.fileno())
            return (mine.st_dev, mine.st_ino) == (found.st_dev, found.st_ino) or of_file(file, "sha256").hex() == sha256

    def sweep(self, keep: set[str]) -> int:
        """Remove parts that no row refers to and nobody holds; how many."""
        removed = 0
        for name in os.listdir(self._parts):
            key = f"{self._prefix}/{_PARTS}/{name}"
            if key in keep or not name.endswith(".part"):
                continue
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
                                     dir_fd=self._parts)
            except OSError:
                continue
            if _locked(descriptor):
                _unlink(name, self._parts)
                removed += 1
            os.close(descriptor)
        return removed

    @staticmethod
    def _own(key: str, prefix: str) -> str:
        """The name of `key` when it lies right in the folder `prefix`; "" when it does not."""
        name = key.removeprefix(prefix) if key.startswith(prefix) else ""
        return "" if "/" in name or name in (".", "..") or "\0" in name else name


def disk_full(where: str) -> DiskFullError:
    return DiskFullError("no room left on the disk", where=where, retry=True,
                         fix="free some space; what has come so far is kept, and the next run goes on from there")


def _failure(error: OSError, where: str) -> DownloadError:
    if error.errno in _FULL:
        return disk_full(where)
    return DownloadError(f"cannot be written: {error.strerror}", where=where,
                         fix="check the folder's owner and permissions")


def _open_folders(root: Path, parts: tuple[str, ...]) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        current = os.open(root, flags)  # data_dir itself may be a link: its owner chose it
    except OSError as error:
        raise _failure(error, str(root)) from error
    for done, name in enumerate(parts, 1):
        try:
            try:
                os.mkdir(name, 0o700, dir_fd=current)
                os.fsync(current)
            except FileExistsError:
                pass
            inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=current)
        except OSError as error:
            where = "/".join(parts[:done])
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise DownloadError("is a symbolic link or no folder, which downloads do not follow", where=where,
                                    fix="put a folder there, or move data_dir as a whole") from error
            raise _failure(error, where) from error
        finally:
            os.close(current)
        current = inner
    return current


def _locked(descriptor: int) -> bool:
    """Take the file for ourselves, until its descriptor is closed or we die; False when somebody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, *_NO_LINKS):
            raise
    return True  # also where the file system knows no locks


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_file(name: str, folder: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
