"""A file in the file store, read in ranges as a file: nothing else of an object is fetched."""

from __future__ import annotations

from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase

from pipeline.store.files.file_store import FileStore

_BLOCK_BYTES = 256 * 1024


class StoredBytes(RawIOBase):
    """A stored file. Raises FileNotFoundError, StoreError."""

    def __init__(self, files: FileStore, key: str) -> None:
        self._files = files
        self._key = key
        self._size = files.size(key)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        self._position = max(0, offset + {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._size}[whence])
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, and at most 256 KiB."""
        wanted = _BLOCK_BYTES if size < 0 else min(size, _BLOCK_BYTES)
        data = self.range(self._position, wanted)
        self._position += len(data)
        return data

    def range(self, start: int, length: int) -> bytes:
        """Return the bytes of a range; fewer at the end of the file."""
        end = min(start + length, self._size)
        return self._files.read(self._key, start, end) if end > start else b""
