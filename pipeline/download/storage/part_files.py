"""Part files (partial downloads): files that contain the bytes of a download received so far."""

from __future__ import annotations

import io
import os

from pipeline.download.storage.safe_folders import FULL, disk_full
from pipeline.errors import DownloadError


class PartFile:
    """An open, locked part file. It contains the bytes received so far of one version of a file.

    size: the number of bytes in the part file. synced: how many of these bytes are safely on disk.
    """

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
        """Append the bytes in `view` to the part file. Raise DownloadError, or DiskFullError if the disk is full."""
        try:
            while view:
                count = self._file.write(view)
                self.size += count
                view = view[count:]
        except OSError as error:
            if error.errno not in FULL:
                raise DownloadError(f"the partial download cannot be written: {error.strerror}", where=self.key) from error
            raise disk_full(self.key) from error

    def truncate(self, size: int) -> None:
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size
        self.synced = min(self.synced, size)

    def sync(self) -> None:
        """Write all bytes to disk (fsync). Raise DownloadError, or DiskFullError if the file system is full."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            if error.errno in FULL:
                raise disk_full(self.key) from error
            raise DownloadError(f"the partial download cannot be synced to the disk: {error.strerror}", where=self.key) from error
        self.synced = self.size

    def close(self) -> None:
        self._file.close()
