"""The interface of a file store: files named by keys, which every node sees.

A key is a relative path with "/" as the separator, such as `downloads/books/a.pdf`; the database holds only keys. A key cannot point
to a file outside data_dir, and as keys are relative, data_dir can be moved. There are two implementations: LocalFiles keeps the files
in data_dir, and ObjectFiles keeps them in an object store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar

from pipeline import archive_names
from pipeline.errors import StoreError

FOLDERS = ("archive", "downloads", "messages", "pages", "pictures", "screenshots")
"""The folders of the files to which the database, mails and pages refer. The keys of logs, which nothing refers to, begin with "logs/"."""


def stays_on_node(key: str) -> bool:
    """Return whether a file in data_dir belongs to processes of this node, and is neither backed up nor moved to an object store.

    In the folder of the web archive, these are parts, a lock and a cache.
    """
    return key.startswith(f"{archive_names.FOLDER}/") and not key.endswith((archive_names.WARC, archive_names.INDEX, archive_names.TOKEN))


@dataclass(frozen=True)
class StoredFileInfo:
    """What the file store knows about a file.

    etag: changes whenever the content changes, with the quotes of the header ETag. sha256: in hexadecimal; "" if it is not known.
    """

    key: str
    size_bytes: int
    modified_at: datetime
    etag: str = ""
    sha256: str = ""


class FileStore(ABC):
    """The files of one data_dir, or of one prefix in an object store. Thread-safe.

    Each method raises StoreError if the store of the files cannot be reached or the key is not valid, with retry=True if another
    attempt can succeed; LocalFiles also raises OSError.
    """

    is_remote: ClassVar[bool]
    """Whether the files are in an object store. Otherwise, `path` returns the files themselves."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Return the path of a file that lives on this node only, such as a partial download.

        Raises StoreError if the key is not valid, or points outside data_dir.
        """
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or "\0" in key or "\\" in key:
            raise StoreError(f"{key!r} is not a valid file key", where=str(self.root))
        return self.root.joinpath(*parts)

    @property
    def quick(self) -> FileStore:
        """The same files for callers that rather fail within seconds than wait for an object store that is down."""
        return self

    @abstractmethod
    def local(self, key: str) -> Path:
        """Return a path from which the file can be read now. Raises FileNotFoundError if there is no such file.

        The file at this path must not be changed. Open the file soon: a copy of an object may be deleted some minutes later.
        """

    @abstractmethod
    def info(self, key: str) -> StoredFileInfo | None:
        """Return size, time and ETag of the file; None if there is no such file."""

    @abstractmethod
    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        """Return the bytes from `start` to `end`, exclusive, of the file.

        etag: the version that is read; a file that has changed since raises StoreError. Raises FileNotFoundError if there is no such file.
        """

    def exists(self, key: str) -> bool:
        return bool(key) and self.info(key) is not None

    def size(self, key: str) -> int:
        """Return the size of the file in bytes. Raises FileNotFoundError if there is no such file."""
        found = self.info(key)
        if found is None:
            raise FileNotFoundError(key)
        return found.size_bytes

    @abstractmethod
    def writing(self, key: str, *, mode: int = 0o600, sync: bool = True) -> AbstractContextManager[BinaryIO]:
        """Open the file with this key for writing.

        The file appears, or is replaced, atomically at the end of the `with` block. An exception leaves the old file unchanged.
        sync: False for one of many files, which the caller then stores together with `sync`; this is many times faster.
        """

    def write(self, key: str, content: bytes, *, mode: int = 0o600) -> None:
        with self.writing(key, mode=mode) as file:
            file.write(content)

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Write several files. If writing fails, some of them may have been written."""
        for key, content in contents.items():
            self.write(key, content)

    @abstractmethod
    def sync(self, keys: Iterable[str]) -> None:
        """Store the files durably that were written with `sync=False`."""

    @abstractmethod
    def touch(self, key: str) -> None:
        """Make the file count as new for the deletion of old files. Raises FileNotFoundError if there is no such file."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Delete the file, if it exists."""

    def remove_all(self, keys: Iterable[str]) -> None:
        """Delete the files that exist."""
        for key in keys:
            self.remove(key)

    def close(self) -> None:  # noqa: B027  LocalFiles keeps no such files
        """Delete the files that were written with `sync=False` and never stored."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[StoredFileInfo]:
        """Yield the files whose keys begin with `prefix`, in no order. Temporary files are left out."""

    @abstractmethod
    def sweep(self, under: str = "") -> int:
        """Delete the temporary files of processes that no longer exist; return the number of deleted files.

        under: the key of the folder to search; "" means all folders. Use this method only if a single machine uses data_dir, because
        it cannot check whether a process on another machine exists.
        """
