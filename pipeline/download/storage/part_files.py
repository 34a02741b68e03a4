"""Part files and their final names: `downloads/SPIDER/` under data_dir, parts in its `.parts/`.

The spider's folder is held open, and everything inside is reached through its descriptor (folders.py). A finished
part gets its final name by link(2), which never replaces a file; the part keeps its own name until the store knows
the file, so that a kill in between costs nothing.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.download.checksums import of_file
from pipeline.download.limits import MIB
from pipeline.download.storage import filenames
from pipeline.download.storage.safe_folders import (
    FULL,
    NO_LINKS,
    disk_full,
    exists,
    failure,
    inside,
    is_file,
    locked,
    open_root,
    unlink,
)
from pipeline.errors import DownloadError

_PARTS = ".parts"
_ROOM_FOR_THE_STORE = MIB
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

Taken = Callable[[str], bool]
"""Whether a file of the store owns this key."""
_Give = Callable[[int, str], None]
"""Gives a file this name in this open folder. Raises FileExistsError."""


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

    def write(self, view: memoryview) -> None:
        """Append. Raises DiskFullError, DownloadError."""
        try:
            while view:
                count = self._file.write(view)
                self.size += count
                view = view[count:]
        except OSError as error:
            if error.errno not in FULL:
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
            if error.errno in FULL:
                raise disk_full(self.key) from error
            raise DownloadError(f"cannot be synced: {error.strerror}", where=self.key) from error
        self.synced = self.size

    def close(self) -> None:
        self._file.close()


class Landing:
    """The folder of one spider's downloads, open. A context manager; for any number of threads."""

    def __init__(self, root: Path, spider: str) -> None:
        """Creates what is missing. Raises DownloadError for a symbolic link or an unusable folder."""
        self._prefix = f"downloads/{spider}"
        self._lock = threading.Lock()
        self._given: set[str] = set()
        base = open_root(root)
        try:
            with inside(base, ("downloads", spider)) as folder, inside(folder, (_PARTS,), self._prefix) as parts:
                self._folder, self._parts = os.dup(folder), os.dup(parts)
        finally:
            os.close(base)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._parts)
        os.close(self._folder)

    def free_bytes(self) -> int:
        found = os.fstatvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def give_room(self, part: Part) -> None:
        """On a full disk, shorten a part a little: the database must still write down how it ended."""
        if self.free_bytes() < _ROOM_FOR_THE_STORE:
            part.truncate(max(0, part.size - _ROOM_FOR_THE_STORE))

    # Parts

    def new_part(self, row_id: int) -> Part:
        """An empty part with a name that no part had before. Raises DownloadError, DiskFullError."""
        name = f"{row_id}-{secrets.token_hex(4)}.part"
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
                                 dir_fd=self._parts)
        except OSError as error:
            raise failure(error, f"{self._prefix}/{_PARTS}") from error
        locked(descriptor)
        return Part(descriptor, f"{self._prefix}/{_PARTS}/{name}")

    def old_part(self, key: str, taken: Taken) -> Part | None:
        """A part to go on with; None when it is gone or in use."""
        name = self._part_name(key)
        if not name:
            return None
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._parts)
        except OSError:
            return None
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not locked(descriptor):
            os.close(descriptor)
            return None
        self._take_back(found, taken)
        return Part(descriptor, key)

    def _take_back(self, part: os.stat_result, taken: Taken) -> None:
        """Remove the final name of a part that was killed before it was recorded: the part is still written to."""
        if part.st_nlink == 1:
            return
        for path, _, files, folder in os.fwalk(".", dir_fd=self._folder, follow_symlinks=False):
            inner = path.removeprefix(".")  # "" or "/2026/books"
            for name in files if inner != f"/{_PARTS}" else ():
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if (found.st_ino, found.st_dev) == (part.st_ino, part.st_dev) and not taken(
                        f"{self._prefix}{inner}/{name}"):
                    unlink(name, folder)

    def remove_part(self, key: str) -> None:
        if name := self._part_name(key):
            unlink(name, self._parts)

    def sweep(self, keep: set[str], taken: Taken) -> int:
        """Remove parts that no row refers to and nobody holds, and final names of theirs nobody recorded; how many."""
        removed = 0
        for name in os.listdir(self._parts):
            if f"{self._prefix}/{_PARTS}/{name}" in keep or not name.endswith(".part"):
                continue
            try:
                descriptor = os.open(name, _READ, dir_fd=self._parts)
            except OSError:
                continue
            if locked(descriptor):
                self._take_back(os.fstat(descriptor), taken)
                unlink(name, self._parts)
                removed += 1
            os.close(descriptor)
        return removed

    # Finished files

    def has(self, key: str) -> bool:
        """Whether a finished file is still there, and is a file."""
        with suppress(DownloadError, FileNotFoundError), self._around(key) as (folder, name):
            return is_file(name, folder)
        return False

    def finish(self, part: Part, place: Sequence[str], sha256: str, taken: Taken,
               twins: Sequence[str] = ()) -> tuple[str, str]:
        """Give a synced part its final name: (key, name). Raises DownloadError, DiskFullError.

        place: folders and a wish for the name. twins: keys of files that should have the same content; the first
        that has gets this name, too, and the part is of no more use. A file that is already there stays; one with
        the very same content that no download owns was left by a kill just before it was recorded, and is taken
        for this one. Call `settled` once the store knows the file.
        """
        for twin in twins:
            with suppress(DownloadError, FileNotFoundError), self._around(twin) as (folder, name):
                if self._same(part, folder, name, sha256):
                    return self._finish(part, partial(_link, folder, name), place, sha256, taken)
        source = part.key.rpartition("/")[2]
        return self._finish(part, partial(_link_or_move, self._parts, source), place, sha256, taken)

    def settled(self, key: str) -> None:
        """The store knows this file, or never will."""
        with self._lock:
            self._given.discard(key)

    def remove(self, key: str, size_bytes: int) -> bool:
        """Delete a finished file for good, and its folders when they are empty; False when something else is there."""
        *folders, _ = self._inner(key)
        try:
            with suppress(FileNotFoundError), self._around(key) as (folder, name):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode) or found.st_size != size_bytes:
                    return False
                unlink(name, folder)
                os.fsync(folder)
            while folders:
                with suppress(FileNotFoundError), inside(self._folder, folders[:-1], self._prefix, create=False) as outer:
                    os.rmdir(folders[-1], dir_fd=outer)
                folders.pop()
        except DownloadError:  # a folder became a symbolic link
            return False
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise failure(error, key) from error
        return True

    def _finish(self, part: Part, give: _Give, place: Sequence[str], sha256: str,
                taken: Taken) -> tuple[str, str]:
        *folders, wish = place
        where = "/".join((self._prefix, *folders))
        for last in (False, False, True):
            try:
                with inside(self._folder, folders, self._prefix) as folder:
                    for name in filenames.numbered(wish):
                        if self._is_free(part, give, (folder, name), key=f"{where}/{name}", sha256=sha256, taken=taken):
                            os.fsync(folder)
                            return f"{where}/{name}", name
            except FileNotFoundError as error:  # the folder was empty, and was deleted at this moment
                if last:
                    raise failure(error, where) from error
        raise AssertionError("numbered names have no end")

    def _is_free(self, part: Part, give: _Give, target: tuple[int, str], *, key: str, sha256: str,
                 taken: Taken) -> bool:
        """Give the name to the file when it is free, or was this file's all along."""
        with self._lock:
            if key in self._given:
                return False
            try:
                give(*target)
            except FileExistsError:
                if taken(key) or not self._same(part, *target, sha256):
                    return False
            except FileNotFoundError:
                raise
            except OSError as error:
                raise failure(error, key) from error
            self._given.add(key)
            return True

    def _same(self, part: Part, folder: int, name: str, sha256: str) -> bool:
        try:
            descriptor = os.open(name, _READ, dir_fd=folder)
        except OSError:
            return False
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size != part.size:
                return False
            mine = os.fstat(part.file.fileno())
            return (mine.st_dev, mine.st_ino) == (found.st_dev, found.st_ino) or of_file(file, "sha256").hex() == sha256

    # Keys

    def _part_name(self, key: str) -> str:
        """The name of a part by its key; "" for what is none."""
        *folders, name = self._inner(key)
        return name if folders == [_PARTS] else ""

    @contextmanager
    def _around(self, key: str) -> Iterator[tuple[int, str]]:
        """The open folder of a finished file, and its name. Raises FileNotFoundError, DownloadError."""
        *folders, name = self._inner(key)
        if not name or folders[:1] == [_PARTS]:
            raise FileNotFoundError(key)
        with inside(self._folder, folders, self._prefix, create=False) as folder:
            yield folder, name

    def _inner(self, key: str) -> list[str]:
        """A key's folders and name below this folder; [""] for one that is not in it."""
        inner = key.removeprefix(f"{self._prefix}/").split("/") if key.startswith(f"{self._prefix}/") else [""]
        return [""] if any(each in ("", ".", "..") or "\0" in each for each in inner) else inner


def _link(folder: int, name: str, to_folder: int, to_name: str) -> None:
    os.link(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder, follow_symlinks=False)


def _link_or_move(folder: int, name: str, to_folder: int, to_name: str) -> None:
    try:
        _link(folder, name, to_folder, to_name)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # No hard links here (FAT, some network shares): the best there is, with a moment in between.
        if exists(to_name, to_folder):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), to_name) from error
        os.rename(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder)
