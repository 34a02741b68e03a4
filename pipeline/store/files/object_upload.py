"""Upload a file of this node.

Whole or in parts, with the content that is sent compared with its known checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol

from pipeline.errors import StoreError
from pipeline.store.files.object_client import PART_BYTES, ObjectClient

WHOLE_BYTES = PART_BYTES
"""A file of at most this size is sent by one request; a larger one in parts."""
_READ_BYTES = 1024 * 1024


class Seekable(Protocol):
    """The part of a binary file that an upload needs."""

    def seek(self, offset: int, /) -> int: ...

    def read(self, size: int, /) -> bytes | None: ...


def upload(client: ObjectClient, key: str, file: Seekable, *, sha256: str, size_bytes: int) -> str:
    """Store the file as an object, replace an object with this key, and return the ETag.

    Raises StoreError; if the content is not what `sha256` says, the object is deleted again.
    """
    if size_bytes <= WHOLE_BYTES:
        etag = client.put(key, _whole(file, key, sha256), sha256=sha256)
        assert etag is not None
        return etag
    sent: list[str] = []

    def chunks() -> Iterator[bytes]:
        hasher = hashlib.sha256()
        file.seek(0)
        while chunk := file.read(_READ_BYTES):
            hasher.update(chunk)
            yield chunk
        sent.append(hasher.hexdigest())

    etag = client.upload(key, chunks, sha256=sha256, size_bytes=size_bytes)
    if sent[-1] != sha256:
        client.delete(key)
        raise _changed(key)
    return etag


def create(client: ObjectClient, key: str, file: Seekable, *, sha256: str) -> bool:
    """Store a file of at most WHOLE_BYTES under a key that no object has. Return False and store nothing if an object has it."""
    return client.put(key, _whole(file, key, sha256), sha256=sha256, create=True) is not None


def _whole(file: Seekable, key: str, sha256: str) -> bytes:
    file.seek(0)
    content = file.read(WHOLE_BYTES + 1) or b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _changed(key)
    return content


def _changed(key: str) -> StoreError:
    return StoreError("the file on the disk differs from the file that was received", where=key, fix="check the disk", retry=True)
