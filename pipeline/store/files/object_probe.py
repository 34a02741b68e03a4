"""Test an object store: write, read, write under a condition, and delete a small object."""

from __future__ import annotations

import hashlib
import secrets

from pipeline.errors import StoreError
from pipeline.store.files.object_client import ObjectClient
from pipeline.store.files.object_storage import ObjectStorage

FOLDER = ".probes"


def probe(storage: ObjectStorage) -> None:
    """Raise StoreError if objects cannot be written, read and deleted, or if the store ignores the condition of a write."""
    client = ObjectClient(storage, patience_s=0)
    key = f"{FOLDER}/{secrets.token_hex(8)}"
    content = secrets.token_bytes(32)
    sha256 = hashlib.sha256(content).hexdigest()
    client.put(key, content, sha256=sha256)
    try:
        if client.read(key, 0, len(content)) != content:
            raise StoreError("the object store returned another object than was written", where=client.where)
        if client.put(key, content, sha256=sha256, create=True) is not None:
            raise StoreError("the object store ignores If-None-Match, so that two nodes could replace each other's files", where=client.where,
                             fix="use a server that supports conditional writes, as Amazon S3 and MinIO do")
        if not client.copy_new(key, f"{key}-copy"):
            raise StoreError("the object store does not copy objects", where=client.where)
    finally:
        for each in (key, f"{key}-copy"):
            client.delete(each)
