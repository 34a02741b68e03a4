"""The store on both databases, with files on the disk and in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store import Store, open_store
from pipeline.store.files.object_storage import ObjectStorage
from tests.servers.postgres import Postgres
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server


@pytest.fixture(params=["sqlite", pytest.param("postgresql, objects", marks=pytest.mark.needs("postgres"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with files on the disk, and one whose files are in an object store."""
    url, storage = None, None
    if request.param != "sqlite":
        server: Postgres = request.getfixturevalue("postgres")
        s3: S3Server = request.getfixturevalue("s3")
        url = server.new_database(request.getfixturevalue("migrated"))
        storage = object_storage(s3)
    opened = open_store(tmp_path / "data", url, storage=storage)
    yield opened
    opened.close()


def object_storage(s3: S3Server) -> ObjectStorage:
    return ObjectStorage(s3.bucket, "p", endpoint=s3.url, region="us-east-1", access_key=ACCESS_KEY, secret_key=SECRET_KEY)
