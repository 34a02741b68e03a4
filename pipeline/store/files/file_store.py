"""The files in data_dir.

Each file is named by a key, such as `downloads/books/a.pdf`; the database holds only keys.
A key is a relative path with "/" as the separator, and cannot point to a file outside data_dir. As keys are relative,
data_dir can be moved.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pipeline.atomic_write import sync_folder
from pipeline.errors import StoreError

_TEMPORARY = re.compile(r"\..*\.(\d+)(?:-\w+)?(?:\.database)?\.tmp")


class FileStore:
    """The files of one data_dir."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Return the path of the file with this key.

        Raises StoreError if the key is not valid, or points outside data_dir.
        """
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or "\0" in key or "\\" in key:
            raise StoreError(f"{key!r} is not a valid file key", where=str(self.root))
        return self.root.joinpath(*parts)

    def exists(self, key: str) -> bool:
        return bool(key) and self.path(key).is_file()

    @contextmanager
    def writing(self, key: str, *, mode: int = 0o600, sync: bool = True) -> Iterator[BinaryIO]:
        """Open the file with this key for writing.

        The file appears, or is replaced, atomically at the end of the `with` block.
        The content goes to a temporary file, which is synced to disk and then renamed. An exception leaves the old file unchanged.
        sync: False for one of many files, which the caller then syncs together with `sync`; this is many times faster.
        """
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if sync:
            sync_folder(target.parent)

    def sync(self, keys: Iterable[str]) -> None:
        """Sync files to disk that were written with `sync=False`, and the folders that contain them."""
        folders = set()
        for key in keys:
            path = self.path(key)
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            folders.add(path.parent)
        for folder in folders:
            sync_folder(folder)

    def write(self, key: str, content: bytes, *, mode: int = 0o600) -> None:
        with self.writing(key, mode=mode) as file:
            file.write(content)

    def sweep(self, under: str = "") -> int:
        """Delete the temporary files of processes that no longer exist; return the number of deleted files.

        under: the key of the folder to search; "" means all folders. Use this method only if a single machine uses data_dir, because
        it cannot check whether a process on another machine exists.
        """
        swept = 0
        for folder, _, names in os.walk(self.root / under):
            for name in names:
                found = _TEMPORARY.fullmatch(name)
                if found and not _is_alive(int(found[1])):
                    Path(folder, name).unlink(missing_ok=True)
                    swept += 1
        return swept

    def remove(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
