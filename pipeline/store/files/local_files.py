"""The local file store: files in data_dir, each written to a temporary file and then renamed."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pipeline.atomic_write import sync_folder
from pipeline.errors import StoreError
from pipeline.store.files.file_store import FileStore, StoredFileInfo

_TEMPORARY = re.compile(r"\..*\.(\d+)(?:-\w+)?(?:\.database)?\.tmp")


class LocalFiles(FileStore):
    """The files of one data_dir."""

    is_remote = False

    def local(self, key: str) -> Path:
        path = self.path(key)
        if not path.is_file():
            raise FileNotFoundError(key)
        return path

    def info(self, key: str) -> StoredFileInfo | None:
        try:
            found = self.path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _info(key, found) if stat.S_ISREG(found.st_mode) else None

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        with self.path(key).open("rb") as file:
            if etag and _info(key, os.fstat(file.fileno())).etag != etag:
                raise StoreError("the file has changed while it was read", where=key, retry=True)
            file.seek(start)
            return file.read(end - start)

    @contextmanager
    def writing(self, key: str, *, mode: int = 0o600, sync: bool = True) -> Iterator[BinaryIO]:
        """Open the file with this key for writing, as FileStore says.

        The content goes to a temporary file, which is synced to disk and then renamed.
        """
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = temporary_beside(target)
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

    def touch(self, key: str) -> None:
        os.utime(self.path(key))

    def remove(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[StoredFileInfo]:
        folder_key = prefix.rpartition("/")[0]
        top = self.path(folder_key) if folder_key else self.root
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self.root).as_posix()
                if key.startswith(prefix) and not _TEMPORARY.fullmatch(name):
                    found = self.info(key)
                    if found is not None:
                        yield found

    def sweep(self, under: str = "") -> int:
        swept = 0
        for folder, _, names in os.walk(self.root / under):
            for name in names:
                found = _TEMPORARY.fullmatch(name)
                if found and not _is_alive(int(found[1])):
                    Path(folder, name).unlink(missing_ok=True)
                    swept += 1
        return swept


def temporary_beside(target: Path) -> Path:
    """Return the path for a temporary file of this thread that will replace `target`. `sweep` deletes it if this process is killed."""
    return target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.tmp")


def _info(key: str, found: os.stat_result) -> StoredFileInfo:
    etag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
    return StoredFileInfo(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC), etag)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
