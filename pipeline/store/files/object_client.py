"""Requests to an object store (S3) through obstore, with time-outs, retries and translated errors.

obstore repeats a request at once after a failure of the connection or a status 5xx. Beyond that, a call is repeated here with a
growing pause until `patience_s` is over, so that a store that is down for a minute only delays the caller.
A process that was forked after the first call cannot use the client, because the threads of obstore do not exist there.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import obstore
from obstore import exceptions
from obstore.store import S3Store

from pipeline.errors import StoreError
from pipeline.store.files.file_store import StoredFileInfo
from pipeline.store.files.object_storage import ObjectStorage
from pipeline.text import clean_line

PATIENCE_S = 90.0
"""How long a call is repeated while the object store fails."""
PART_BYTES = 8 * 1024 * 1024
"""Size of the parts of an upload and of a download. Two parts at a time are in memory."""
_TRANSFER_TIMEOUT_S = 60
_QUICK_TIMEOUT_S = 15
_IMPATIENT_TIMEOUT_S = 5
_CONNECT_TIMEOUT_S = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_SHA256 = "sha256"
"""The name of the metadata that holds the SHA-256 of an object, in hexadecimal."""
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,60})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_PASSING_4XX = frozenset({408, 409, 425, 429})  # 409: two conditional writes met, and the server asks to repeat
_CREDENTIALS = "check access_key and secret_key in [pipeline.s3], or the AWS_* variables, and what they permit"
_NO_CREDENTIALS = re.compile(r"https?://(?:169\.254\.169\.254|169\.254\.170\.2|fd00:ec2::254)")
"""The servers that give credentials to programs on a cloud machine: they are asked if there are no other credentials."""
_SETTINGS = "check [pipeline] storage and [pipeline.s3]"
_BUCKET_KNOWN_S = 30.0
"""For how long the bucket is known to exist after the object store has said so."""

_Result = TypeVar("_Result")

ERRORS: dict[type[BaseException], tuple[str, str, bool]] = {
    exceptions.PermissionDeniedError: ("the object store refuses access", _CREDENTIALS, False),
    exceptions.UnauthenticatedError: ("the object store does not accept the credentials", _CREDENTIALS, False),
    exceptions.NotFoundError: ("the object or the bucket does not exist", _SETTINGS, False),
    exceptions.PreconditionError: ("the object has changed while it was read", "", True),
    exceptions.NotModifiedError: ("the object store answers that the object has not changed", "", True),
    exceptions.AlreadyExistsError: ("the object already exists", "", False),
    exceptions.InvalidPathError: ("the object store cannot have an object of this name", "", False),
    exceptions.NotSupportedError: ("the object store does not support this request", "", False),
    exceptions.UnknownConfigurationKeyError: ("obstore does not know a setting", _SETTINGS, False),
    exceptions.JoinError: ("a thread of obstore has ended unexpectedly", "", True),
    exceptions.GenericError: ("the object store cannot be used", _SETTINGS, True),
    exceptions.BaseError: ("the object store cannot be used", _SETTINGS, True),
    ValueError: ("the object store cannot have an object of this name", "", False),
    OSError: ("the object store cannot be used", _SETTINGS, True),
}
"""For each exception of obstore: what happened, how to fix it, and whether another attempt can succeed."""


@dataclass(frozen=True)
class ObjectHead(StoredFileInfo):
    """sha256: the SHA-256 of the object in hexadecimal; "" if it was not stored with the object."""

    sha256: str = ""


class ObjectClient:
    """The objects below one prefix of a bucket. Thread-safe."""

    def __init__(self, storage: ObjectStorage, *, patience_s: float = PATIENCE_S) -> None:
        """patience_s: how long a failing call is repeated; with 0, it fails within seconds."""
        self.where = storage.url
        self._patience_s = patience_s
        if patience_s:
            self._quick, self._transfers = _opened(storage, _QUICK_TIMEOUT_S), _opened(storage, _TRANSFER_TIMEOUT_S)
        else:
            self._quick = self._transfers = _opened(storage, _IMPATIENT_TIMEOUT_S, retries=1)
        self._never = threading.Event()
        self._process = os.getpid()
        self._bucket_seen_at = float("-inf")

    def head(self, key: str) -> ObjectHead | None:
        """Return what the store knows about an object; None if there is none. Raises StoreError if there is no bucket."""
        try:
            found = self._call(key, lambda: obstore.get(self._quick, key, options={"head": True}))
        except FileNotFoundError:
            self._require_bucket()
            return None
        meta = found.meta
        return ObjectHead(key, meta["size"], meta["last_modified"], meta["e_tag"] or "", str(found.attributes.get(_SHA256, "")))

    def _require_bucket(self) -> None:
        """Raise StoreError if there is no bucket: the status 404 of a request for an object does not say whether only the object is missing."""
        if time.monotonic() - self._bucket_seen_at < _BUCKET_KNOWN_S:
            return
        try:
            self._call("", lambda: next(iter(obstore.list(self._quick, chunk_size=1)), []))
        except FileNotFoundError as error:
            raise self._no_bucket() from error
        self._bucket_seen_at = time.monotonic()

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        """Return a range of an object: at most PART_BYTES. Raises FileNotFoundError."""
        options: Any = {"range": (start, end)} | ({"if_match": etag} if etag else {})
        found: bytes = self._call(key, lambda: bytes(obstore.get(self._transfers, key, options=options).bytes()))
        if len(found) != end - start:
            raise StoreError(f"the object store sent {len(found)} of {end - start} bytes", where=self._where(key), retry=True)
        return found

    def put(self, key: str, content: bytes, *, sha256: str, create: bool = False) -> str | None:
        """Store a small object, and return its ETag. create: store nothing and return None if an object of this name exists."""
        try:
            return self._put(key, lambda: obstore.put(self._transfers, key, content, mode="create" if create else "overwrite", use_multipart=False,
                                                      attributes={_SHA256: sha256})["e_tag"] or "")
        except exceptions.AlreadyExistsError:
            return None

    def upload(self, key: str, chunks: Callable[[], Iterable[bytes]], *, sha256: str, size_bytes: int) -> str:
        """Store a large object in parts, each with its checksum, and return its ETag.

        An existing object is replaced when all parts have arrived. chunks: returns the content from its beginning, once for each attempt.
        """
        part_bytes = max(PART_BYTES, -(-size_bytes // 9_000))  # an object has at most 10,000 parts
        return self._put(key, lambda: obstore.put(self._transfers, key, iter(chunks()), use_multipart=True, chunk_size=part_bytes, max_concurrency=2,
                                                  attributes={_SHA256: sha256})["e_tag"] or "")

    def copy_new(self, source: str, target: str) -> bool:
        """Copy an object inside the store. Return False and copy nothing if the target exists."""
        try:
            self._put(target, lambda: obstore.copy(self._transfers, source, target, overwrite=False))
        except exceptions.AlreadyExistsError:
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete an object, if it exists."""
        try:
            self._call(key, lambda: obstore.delete(self._quick, key))
        except FileNotFoundError:
            return

    def list(self, prefix: str) -> Iterator[StoredFileInfo]:
        """Yield the objects whose keys begin with `prefix`, in the order of their keys."""
        folder, after = prefix.rpartition("/")[0] or None, prefix
        while True:
            chunk = self._call(prefix, partial(self._chunk, folder, after))
            for meta in chunk:
                if not meta["path"].startswith(prefix):
                    return
                yield StoredFileInfo(meta["path"], meta["size"], meta["last_modified"], meta["e_tag"] or "")
            if not chunk:
                return
            after = chunk[-1]["path"]

    def _chunk(self, folder: str | None, after: str) -> Sequence[Any]:
        """Return the first objects in a folder whose keys come after `after`."""
        return next(iter(obstore.list(self._quick, folder, offset=after or None, chunk_size=1000)), [])

    def _put(self, key: str, call: Callable[[], _Result]) -> _Result:
        try:
            return self._call(key, call)
        except FileNotFoundError as error:
            raise self._no_bucket() from error

    def _no_bucket(self) -> StoreError:
        return StoreError("the bucket does not exist", where=self.where, fix=_SETTINGS)

    def _call(self, key: str, call: Callable[[], _Result]) -> _Result:
        """Call, and repeat the call while it fails for a reason that may pass. Raises StoreError, FileNotFoundError, AlreadyExistsError."""
        if os.getpid() != self._process:
            raise AssertionError("a forked process uses the object store of its parent")
        begun, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                return call()
            except (FileNotFoundError, exceptions.AlreadyExistsError):
                raise
            except (exceptions.BaseError, ValueError, OSError) as error:
                failure = translated(error, self._where(key))
                if not failure.retry or isinstance(error, exceptions.PreconditionError) or time.monotonic() - begun >= self._patience_s:
                    raise failure from error
            self._never.wait(pause_s * random.uniform(0.75, 1.25))  # noqa: S311  it only spreads the load
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _where(self, key: str) -> str:
        return f"{self.where}/{key}" if key else self.where


def translated(error: BaseException, where: str) -> StoreError:
    """Return the StoreError for an exception of obstore."""
    what, fix, retry = next(ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS)
    text = str(error).partition("\n\nDebug source:")[0]
    if _NO_CREDENTIALS.search(text):
        return StoreError("there are no credentials for the object store", where=where, fix=_CREDENTIALS, retry=True)
    status, code, message = _STATUS.search(text), _CODE.search(text), _MESSAGE.search(text)
    if status is not None and 400 <= int(status[1]) < 500 and int(status[1]) not in _PASSING_4XX and isinstance(error, exceptions.GenericError):
        retry = False
    if code is not None:
        said = f"{code[1]}: {message[1]}" if message is not None else code[1]
    elif status is not None:
        said = f"status {status[1]}"
    else:
        said = text.rpartition(" - ")[2] or text
    return StoreError(f"{what}: {clean_line(said, 200)}", where=where, fix=fix, retry=retry)


def _opened(storage: ObjectStorage, timeout_s: int, retries: int = 3) -> S3Store:
    keys: Any = {name: value for name, value in (("endpoint", storage.endpoint), ("region", storage.region), ("access_key_id", storage.access_key),
                                                 ("secret_access_key", storage.secret_key)) if value}
    try:
        return S3Store(storage.bucket, prefix=storage.prefix or None, checksum_algorithm="sha256", copy_if_not_exists="multipart", disable_bulk_delete=True,
                       client_options={"allow_http": storage.uses_http, "timeout": f"{timeout_s}s", "connect_timeout": f"{_CONNECT_TIMEOUT_S}s"},
                       retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=20),
                                     "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2}}, **keys)
    except (exceptions.BaseError, ValueError) as error:
        raise translated(error, storage.url) from error
