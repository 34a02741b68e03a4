"""Copies of objects on this node, bounded in size: the least recently used are deleted first.

A copy is named by its key and its ETag, and gets this name when it is complete. A copy that was used within the last minutes is never
deleted, because its reader may not have opened it yet.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from hashlib import sha256
from pathlib import Path, PurePosixPath

FOLDER = "cache/objects"
_IN_USE_S = 600.0
_LEFT_BEHIND_S = 24 * 3600.0
_PRUNE_EVERY = 16
"""After how many new copies, or a sixteenth of the maximum size, the size of all copies is added up."""


class ObjectCache:
    """The copies in one folder, which several processes may use. Thread-safe."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._added = self._added_bytes = 0

    def path(self, key: str, etag: str) -> Path:
        """Return where the copy of this version of an object is, or would be."""
        name = f"{sha256(key.encode()).hexdigest()[:32]}-{sha256(etag.encode()).hexdigest()[:16]}"
        return self.folder / f"{name}{PurePosixPath(key).suffix[:16]}"

    def temporary(self) -> Path:
        """Return a path for a file that `add` then renames. Only one thread may use it at a time."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.folder / f".{time.monotonic_ns():x}.{os.getpid()}-{threading.get_ident()}.tmp"

    def find(self, key: str, etag: str, size_bytes: int) -> Path | None:
        """Return the path of the copy, and count it as used; None if there is no copy, or only a part of it.

        Copies are not synced to the disk, so that a power failure can leave a part of a copy.
        """
        path = self.path(key, etag)
        try:
            if path.stat().st_size != size_bytes:
                return None
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def add(self, complete: Path, key: str, etag: str) -> Path:
        """Rename a complete file to the copy of an object, delete old copies if there are too many, and return the path."""
        path = self.path(key, etag)
        os.utime(complete)
        size = complete.stat().st_size
        os.replace(complete, path)
        with self._lock:
            self._added += 1
            self._added_bytes += size
            due = self._added >= _PRUNE_EVERY or self._added_bytes > self._max_bytes // 16
            if due:
                self._added = self._added_bytes = 0
        if due:
            self.prune()
        return path

    def prune(self) -> None:
        """Delete the copies beyond the maximum size, least recently used first, and the temporary files of killed processes."""
        now, total, found = time.time(), 0, []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # another process has just deleted it
                stat = path.stat()
                if path.name.startswith("."):
                    if now - stat.st_mtime > _LEFT_BEHIND_S:
                        path.unlink()
                    continue
                found.append((stat.st_mtime, stat.st_size, path))
                total += stat.st_size
        for used_at, size, path in sorted(found):
            if total <= self._max_bytes or now - used_at < _IN_USE_S:
                return
            path.unlink(missing_ok=True)
            total -= size
