"""Files in an object store (S3).

Written as a whole after they are complete on this node's disk, read through a cache.
"""

from __future__ import annotations

import copy
import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import DiskFullError, StoreError
from pipeline.store.files.file_store import FileStore, StoredFileInfo
from pipeline.store.files.local_files import LocalFiles
from pipeline.store.files.object_cache import FOLDER, ObjectCache
from pipeline.store.files.object_client import PART_BYTES, ObjectClient
from pipeline.store.files.object_storage import ObjectStorage
from pipeline.store.files.object_upload import WHOLE_BYTES, upload

_FRESH = timedelta(days=1)
_THREADS = 8


class ObjectFiles(FileStore):
    """The files below one prefix of a bucket. `path` returns paths in data_dir, for files that only live on this node."""

    is_remote = True

    def __init__(self, root: Path, storage: ObjectStorage) -> None:
        super().__init__(root)
        self.client = ObjectClient(storage)
        self._cache = ObjectCache(root / FOLDER, storage.cache_bytes)
        self._local = LocalFiles(root)
        self._lock = threading.Lock()
        self._pending: dict[str, Path] = {}  # written with sync=False, and not uploaded yet
        self._storage = storage

    @cached_property
    def quick(self) -> ObjectFiles:
        found = copy.copy(self)
        found.client = ObjectClient(self._storage, patience_s=0)
        return found

    # Reading

    def local(self, key: str) -> Path:
        """Return the path of a copy of the object, which is fetched if this node has none. Raises FileNotFoundError, DiskFullError."""
        self.path(key)
        with self._lock:
            if key in self._pending:
                return self._pending[key]
        found = self.client.head(key)
        if found is None:
            raise FileNotFoundError(key)
        known = self._cache.find(key, found.etag, found.size_bytes) if found.etag else None
        if known is not None:
            return known
        hasher = hashlib.sha256()
        with self._temporary() as (temporary, file):
            for start in range(0, found.size_bytes, PART_BYTES):
                part = self.client.read(key, start, min(start + PART_BYTES, found.size_bytes), etag=found.etag)
                hasher.update(part)
                file.write(part)
            if found.sha256 and found.sha256 != hasher.hexdigest():
                raise StoreError("the object does not match the checksum that was stored with it", where=f"{self.client.where}/{key}", retry=True)
            file.flush()
            return self._cache.add(temporary, key, found.etag)

    def info(self, key: str) -> StoredFileInfo | None:
        self.path(key)
        with self._lock:
            pending = self._pending.get(key)
        if pending is not None:
            return StoredFileInfo(key, pending.stat().st_size, datetime.now(UTC))
        return self.client.head(key)

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        self.path(key)
        return self.client.read(key, start, end, etag=etag) if end > start else b""

    def list(self, prefix: str) -> Iterator[StoredFileInfo]:
        return self.client.list(prefix)

    # Writing

    @contextmanager
    def writing(self, key: str, *, mode: int = 0o600, sync: bool = True) -> Iterator[BinaryIO]:
        """Open the file with this key for writing, as FileStore says. The content is uploaded at the end of the `with` block.

        mode: without meaning, since nothing but the copy of this node is a file.
        """
        self.path(key)
        with self._temporary() as (temporary, file):
            yield file
            file.flush()
            if sync:
                self._upload(key, temporary)
                return
            kept = temporary.with_name(f".{hashlib.sha256(key.encode()).hexdigest()[:32]}{temporary.name}")
            os.replace(temporary, kept)
        with self._lock:
            self._pending[key] = kept

    def write(self, key: str, content: bytes, *, mode: int = 0o600) -> None:
        if len(content) > WHOLE_BYTES:
            super().write(key, content, mode=mode)
            return
        self.path(key)
        self.client.put(key, content, sha256=hashlib.sha256(content).hexdigest())

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        self._each(lambda key: self.write(key, contents[key]), list(contents))

    def sync(self, keys: Iterable[str]) -> None:
        """Upload the files that were written with `sync=False`, several at a time."""
        with self._lock:
            pending = {key: self._pending[key] for key in keys if key in self._pending}

        def store(key: str) -> None:
            self._upload(key, pending[key])
            with self._lock:
                self._pending.pop(key, None)

        self._each(store, pending)

    def touch(self, key: str) -> None:
        """Store the object again if it is older than a day, because the time of an object cannot be set."""
        found = self.info(key)
        if found is None:
            raise FileNotFoundError(key)
        if datetime.now(UTC) - found.modified_at > _FRESH:
            self._upload(key, self.local(key), keep=True)

    def remove(self, key: str) -> None:
        self.path(key)
        with self._lock:
            pending = self._pending.pop(key, None)
        if pending is not None:
            pending.unlink(missing_ok=True)
        self.client.delete(key)

    def remove_all(self, keys: Iterable[str]) -> None:
        self._each(self.remove, list(keys))

    def close(self) -> None:
        with self._lock:
            for pending in self._pending.values():
                pending.unlink(missing_ok=True)
            self._pending.clear()

    def sweep(self, under: str = "") -> int:
        return self._local.sweep(under) + (self._local.sweep(FOLDER) if under else 0)

    def _upload(self, key: str, path: Path, *, keep: bool = False) -> None:
        """Store a file of this node as an object; the file becomes the copy of the object. keep: whether the file stays where it is."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            etag = upload(self.client, key, file, sha256=sha256, size_bytes=file.seek(0, os.SEEK_END))
        if keep:
            return
        if etag:
            self._cache.add(path, key, etag)
        else:
            path.unlink(missing_ok=True)

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Path, BinaryIO]]:
        try:
            path = self._cache.temporary()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    yield path, file
            finally:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DiskFullError(f"a copy of a file of the object store cannot be written: {error.strerror}", where=str(self._cache.folder),
                                fix="free some disk space", retry=True) from error

    def _each(self, call: Callable[[str], None], keys: Collection[str]) -> None:
        """Call a function with each key, several at a time. Raise the first error when all calls have ended."""
        if len(keys) < 2:
            for key in keys:
                call(key)
            return
        with ThreadPoolExecutor(min(_THREADS, len(keys)), thread_name_prefix="objects") as pool:
            for done in [pool.submit(call, key) for key in keys]:
                done.result()
