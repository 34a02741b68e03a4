"""The download folder of one spider: creates part files, names finished files, removes files.

The folder is `downloads/SPIDER/` in data_dir, with part files (partial downloads) in its subfolder `.parts/`. The folder stays
open, and files are opened relative to its file descriptor (see safe_folders.py). A complete part file gets its final name by
link(2), which never replaces a file. The file also keeps its name in `.parts/` until the store has recorded it, so that nothing
is lost if the process is killed in between.
"""

from __future__ import annotations

import errno
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
from pipeline.download.storage.part_files import PartFile
from pipeline.download.storage.safe_folders import (
    NO_LINKS,
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
_STORE_RESERVE_BYTES = MIB
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

IsRecorded = Callable[[str], bool]
"""A function that returns whether the store has a file with this key."""
_Link = Callable[[int, str], None]
"""A function that gives the finished file a name in an open folder. Raises FileExistsError if the name already exists."""


class DownloadFolder:
    """The open download folder of one spider. A context manager. Thread-safe."""

    def __init__(self, root: Path, spider: str) -> None:
        """Open the folder, and create missing folders.

        Raise DownloadError if a folder is a symbolic link or cannot be used.
        """
        self._prefix = f"downloads/{spider}"
        self._lock = threading.Lock()
        self._reserved: set[str] = set()
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

    def leave_space_for_store(self, part: PartFile) -> None:
        """If the disk is full, shorten the part file, because the database needs space to record the failure."""
        if self.free_bytes() < _STORE_RESERVE_BYTES:
            part.truncate(max(0, part.size - _STORE_RESERVE_BYTES))

    # Part files

    def create_part(self, row_id: int) -> PartFile:
        """Create an empty part file with a new name. Raise DownloadError, or DiskFullError if the disk is full."""
        name = f"{row_id}-{secrets.token_hex(4)}.part"
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
                                 dir_fd=self._parts)
        except OSError as error:
            raise failure(error, f"{self._prefix}/{_PARTS}") from error
        locked(descriptor)
        return PartFile(descriptor, f"{self._prefix}/{_PARTS}/{name}")

    def open_part(self, key: str, is_recorded: IsRecorded) -> PartFile | None:
        """Open an existing part file to resume it; return None if the file is missing or in use."""
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
        self._remove_final_name(found, is_recorded)
        return PartFile(descriptor, key)

    def _remove_final_name(self, part: os.stat_result, is_recorded: IsRecorded) -> None:
        """Remove the final name of a part file if the file already has a final name that the store has not recorded.

        A killed process has left this name. Both names are links to the same file, and the caller is about to change the file.
        """
        if part.st_nlink == 1:
            return
        for path, _, files, folder in os.fwalk(".", dir_fd=self._folder, follow_symlinks=False):
            subfolder = path.removeprefix(".")  # "" or "/2026/books"
            for name in files if subfolder != f"/{_PARTS}" else ():
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if (found.st_ino, found.st_dev) == (part.st_ino, part.st_dev) and not is_recorded(
                        f"{self._prefix}{subfolder}/{name}"):
                    unlink(name, folder)

    def remove_part(self, key: str) -> None:
        if name := self._part_name(key):
            unlink(name, self._parts)

    def remove_stale_parts(self, keep: set[str], is_recorded: IsRecorded) -> int:
        """Remove the part files that are not in `keep` and not in use. Return the number of removed part files.

        If such a part file also has a final name that the store has not recorded, the final name is removed too.
        """
        removed = 0
        for name in os.listdir(self._parts):
            if f"{self._prefix}/{_PARTS}/{name}" in keep or not name.endswith(".part"):
                continue
            try:
                descriptor = os.open(name, _READ, dir_fd=self._parts)
            except OSError:
                continue
            if locked(descriptor):
                self._remove_final_name(os.fstat(descriptor), is_recorded)
                unlink(name, self._parts)
                removed += 1
            os.close(descriptor)
        return removed

    # Finished files

    def has(self, key: str) -> bool:
        """Return whether the finished file still exists and is a regular file."""
        with suppress(DownloadError, FileNotFoundError), self._parent_of(key) as (folder, name):
            return is_file(name, folder)
        return False

    def finish(self, part: PartFile, path: Sequence[str], sha256: str, is_recorded: IsRecorded,
               same_content: Sequence[str] = ()) -> tuple[str, str]:
        """Give a synced part file its final name, and return its key and name.

        path: the folders and the preferred file name. same_content: keys of stored files that may have the same content; the
        first file that really has the same content gets the final name as an additional name, and the part file is not used.

        An existing file is never replaced. If a file with the preferred name and the same content exists but is not recorded in
        the store, a killed process has left it, and this file is used. The name stays reserved until release_name() is called.
        Raise DownloadError, or DiskFullError if the disk is full.
        """
        for key in same_content:
            with suppress(DownloadError, FileNotFoundError), self._parent_of(key) as (folder, name):
                if self._has_content(part, folder, name, sha256):
                    return self._finish(part, partial(_link, folder, name), path, sha256, is_recorded)
        source = part.key.rpartition("/")[2]
        return self._finish(part, partial(_link_or_move, self._parts, source), path, sha256, is_recorded)

    def release_name(self, key: str) -> None:
        """End the reservation of a name, because the file is recorded in the store or will never be recorded."""
        with self._lock:
            self._reserved.discard(key)

    def remove(self, key: str, size_bytes: int) -> bool:
        """Delete a finished file, and its folders if they are empty.

        If another file or a folder has taken the place of the file, delete nothing and return False.
        """
        *folders, _ = self._components(key)
        try:
            with suppress(FileNotFoundError), self._parent_of(key) as (folder, name):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode) or found.st_size != size_bytes:
                    return False
                unlink(name, folder)
                os.fsync(folder)
            while folders:
                with suppress(FileNotFoundError), inside(self._folder, folders[:-1], self._prefix, create=False) as outer:
                    os.rmdir(folders[-1], dir_fd=outer)
                folders.pop()
        except DownloadError:  # a folder has been replaced with a symbolic link
            return False
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise failure(error, key) from error
        return True

    def _finish(self, part: PartFile, link: _Link, path: Sequence[str], sha256: str,
                is_recorded: IsRecorded) -> tuple[str, str]:
        *folders, preferred = path
        where = "/".join((self._prefix, *folders))
        for last in (False, False, True):
            try:
                with inside(self._folder, folders, self._prefix) as folder:
                    for name in filenames.numbered(preferred):
                        if self._claim_name(part, link, (folder, name), key=f"{where}/{name}", sha256=sha256,
                                            is_recorded=is_recorded):
                            os.fsync(folder)
                            return f"{where}/{name}", name
            except FileNotFoundError as error:  # another thread has just deleted the empty folder
                if last:
                    raise failure(error, where) from error
        raise AssertionError("unreachable: filenames.numbered() never ends")

    def _claim_name(self, part: PartFile, link: _Link, target: tuple[int, str], *, key: str, sha256: str,
                    is_recorded: IsRecorded) -> bool:
        """Give the finished file a name, and reserve the name. Return False if the name belongs to another file."""
        with self._lock:
            if key in self._reserved:
                return False
            try:
                link(*target)
            except FileExistsError:
                if is_recorded(key) or not self._has_content(part, *target, sha256):
                    return False
            except FileNotFoundError:
                raise
            except OSError as error:
                raise failure(error, key) from error
            self._reserved.add(key)
            return True

    def _has_content(self, part: PartFile, folder: int, name: str, sha256: str) -> bool:
        """Return whether the file `name` in this folder has the same content as the part file."""
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
        """Return the file name in the key of a part file; "" for any other key."""
        *folders, name = self._components(key)
        return name if folders == [_PARTS] else ""

    @contextmanager
    def _parent_of(self, key: str) -> Iterator[tuple[int, str]]:
        """Open the folder of a finished file, and yield its descriptor and the file's name.

        Raise FileNotFoundError if the folder is missing, or DownloadError if the folder cannot be used.
        """
        *folders, name = self._components(key)
        if not name or folders[:1] == [_PARTS]:
            raise FileNotFoundError(key)
        with inside(self._folder, folders, self._prefix, create=False) as folder:
            yield folder, name

    def _components(self, key: str) -> list[str]:
        """Return the folders and the file name in a key, relative to this spider's folder; [""] for a key outside it."""
        path = key.removeprefix(f"{self._prefix}/").split("/") if key.startswith(f"{self._prefix}/") else [""]
        return [""] if any(each in ("", ".", "..") or "\0" in each for each in path) else path


def _link(folder: int, name: str, to_folder: int, to_name: str) -> None:
    os.link(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder, follow_symlinks=False)


def _link_or_move(folder: int, name: str, to_folder: int, to_name: str) -> None:
    try:
        _link(folder, name, to_folder, to_name)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # On file systems without hard links (FAT, some network shares), checking and renaming are two steps.
        if exists(to_name, to_folder):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), to_name) from error
        os.rename(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder)
