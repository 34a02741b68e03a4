"""Open the file store of a data_dir, or read one object by its URL.

Only these functions import obstore, and only where it is needed.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import StoreError, UsageError
from pipeline.settings.fields.storage_url import split_storage_url
from pipeline.store.files.file_store import FileStore
from pipeline.store.files.local_files import LocalFiles
from pipeline.store.files.object_storage import ObjectStorage

MAX_SETTINGS_BYTES = 10_000_000
"""Maximum size of an object that `read_url` returns."""


def open_files(data_dir: Path, storage: ObjectStorage | None) -> FileStore:
    """Open the file store: data_dir, or the object store. Raises StoreError if the extra s3 is missing."""
    if storage is None:
        return LocalFiles(data_dir)
    require_extra()
    from pipeline.store.files.object_files import ObjectFiles  # noqa: PLC0415  a file store in data_dir does not need obstore
    return ObjectFiles(data_dir, storage)


def require_extra() -> None:
    """Raise StoreError if the extra s3 is not installed."""
    try:
        import obstore  # noqa: F401, PLC0415  only needed for an object store
    except ImportError as error:
        raise StoreError("files in an object store need the extra s3", where="pipeline.storage",
                         fix="run `pip install 'crawl-to-inbox[s3]'`") from error


def read_url(url: str) -> bytes:
    """Return an object by its URL, such as "s3://bucket/settings.toml", with the credentials of the environment (AWS_*).

    Raises UsageError if the URL is not valid or there is no such object, and StoreError.
    """
    try:
        bucket, key = split_storage_url(url)
    except ValueError as error:
        raise UsageError(str(error), where="s3://…" if "@" in url or "?" in url else url) from error
    require_extra()
    from pipeline.store.files.object_client import ObjectClient  # noqa: PLC0415  files on disk do not need obstore
    client = ObjectClient(ObjectStorage(bucket))
    found = client.head(key) if key else None
    if found is None:
        raise UsageError("there is no such object", where=url, fix="check the URL")
    if found.size_bytes > MAX_SETTINGS_BYTES:
        raise UsageError("the object is too large for a settings file", where=url)
    return client.read(key, 0, found.size_bytes, etag=found.etag) if found.size_bytes else b""
