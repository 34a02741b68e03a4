"""Test an object store: write, read, write under a condition, and delete a small object."""

from __future__ import annotations

import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import StoreError
from pipeline.store.files.object_client import ObjectClient
from pipeline.store.files.object_storage import ObjectStorage

FOLDER = ".probes"
_WRITES = 8
_PATIENCE_S = 5.0
"""A store may answer that simultaneous writes conflict, and ask to repeat them."""
_FIX = "use a server that supports conditional writes, as Amazon S3 and MinIO do"


def probe(storage: ObjectStorage) -> None:
    """Raise StoreError if objects cannot be written, read and deleted, or if two writes under a condition can both succeed."""
    client = ObjectClient(storage, patience_s=0)
    key = f"{FOLDER}/{secrets.token_hex(8)}"
    content = secrets.token_bytes(32)
    sha256 = hashlib.sha256(content).hexdigest()
    client.put(key, content, sha256=sha256)
    try:
        if client.read(key, 0, len(content)) != content:
            raise StoreError("the object store returned another object than was written", where=client.where)
        if client.put(key, content, sha256=sha256, create=True) is not None:
            raise StoreError("the object store ignores If-None-Match, so that two nodes could replace each other's files", where=client.where, fix=_FIX)
        patient = ObjectClient(storage, patience_s=_PATIENCE_S)
        with ThreadPoolExecutor(_WRITES) as pool:
            created = sum(pool.map(lambda _: patient.put(f"{key}-new", content, sha256=sha256, create=True) is not None, range(_WRITES)))
        if created != 1:
            raise StoreError(f"of {_WRITES} simultaneous writes with If-None-Match, {created} succeeded instead of one, so that two nodes could replace "
                             "each other's files", where=client.where, fix=_FIX)
        if not client.copy_new(key, f"{key}-copy"):
            raise StoreError("the object store does not copy objects", where=client.where)
    finally:
        for each in (key, f"{key}-new", f"{key}-copy"):
            client.delete(each)
