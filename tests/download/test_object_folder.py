"""Downloads whose files are in an object store: names, interrupted uploads, outages, retention."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.download.storage.object_folder import ObjectDownloadFolder
from pipeline.download.storage.retention import delete_left_behind, delete_surplus
from pipeline.errors import StoreError
from pipeline.store.database.schema_version import count_as_restored
from pipeline.store.files.object_files import ObjectFiles
from pipeline.store.files.prefix_owner import OWNER
from pipeline.store.open import open_store
from tests.download.conftest import Bench
from tests.download.storage.test_retention import limits
from tests.servers.files import FileServer
from tests.servers.s3 import S3Server
from tests.store.files.test_file_stores import object_storage

SMALL, LARGE = b"small file", random.Random(5).randbytes(10_000_000)


@pytest.fixture
def shop(tmp_path: Path, server: FileServer, s3: S3Server) -> Iterator[Bench]:
    store = open_store(tmp_path / "var", storage=object_storage(s3, ""))
    yield Bench(store, server)
    store.close()


def finish(files: ObjectFiles, content: bytes, *path: str, is_recorded: Callable[[str], bool] = lambda key: False) -> str:
    """The key that a download with this content gets."""
    with ObjectDownloadFolder(files, "books") as folder:
        part = folder.create_part(7)
        part.write(memoryview(content))
        key, name = folder.finish(part, path, hashlib.sha256(content).hexdigest(), is_recorded)
        part.close()
        assert key.endswith(f"/{name}")
        assert files.path(part.key).read_bytes() == content  # until the store has recorded it
        folder.remove_part(part.key)
        return key


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_a_name_that_another_file_has_gets_a_number(s3: S3Server, tmp_path: Path, content: bytes) -> None:
    files = ObjectFiles(tmp_path, object_storage(s3, ""))
    others = {"downloads/books/2026/a.tar.gz": b"not recorded", "downloads/books/2026/a (2).tar.gz": content}
    for key, other in others.items():
        s3.put(key, other)
    assert finish(files, content, "2026", "a.tar.gz", is_recorded="downloads/books/2026/a (2).tar.gz".__eq__) == "downloads/books/2026/a (3).tar.gz"
    assert s3.objects() == others | {"downloads/books/2026/a (3).tar.gz": content}


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_the_object_of_a_killed_process_is_used(s3: S3Server, tmp_path: Path, content: bytes) -> None:
    s3.put("downloads/books/a.pdf", content)
    assert finish(ObjectFiles(tmp_path, object_storage(s3, "")), content, "a.pdf") == "downloads/books/a.pdf"
    assert s3.objects() == {"downloads/books/a.pdf": content}


@pytest.mark.parametrize(("nodes", "size"), [(6, 20), (3, len(LARGE))], ids=["small", "large"])
def test_nodes_that_meet_under_one_name_keep_all_files(s3: S3Server, tmp_path: Path, nodes: int, size: int) -> None:
    contents = [bytes([number]) * size for number in range(nodes)]
    threads = [threading.Thread(target=finish, args=(ObjectFiles(tmp_path / str(number), object_storage(s3, "")), content, "a.pdf"))
               for number, content in enumerate(contents)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(s3.objects().values()) == contents


def test_a_run_whose_uploads_fail_keeps_the_parts_and_the_next_one_resumes_them(shop: Bench, s3: S3Server) -> None:
    patient = shop.store.files
    shop.store.files = patient.quick  # fails at once where a run would wait for a minute
    url = shop.server.put("/a.bin", LARGE, etag='"v1"')
    with s3.failing("refuse"):
        made = shop.get(url)
    assert isinstance(made.fatal, StoreError)
    assert made.fatal.retry
    assert (shop.row(url)["state"], shop.row(url)["attempt"], shop.files, len(shop.parts)) == ("waiting", 0, [], 1)

    shop.get(url)
    assert shop.server.asked[-1].headers["range"] == f"bytes={len(LARGE) - 1}-"
    assert s3.objects() == {"downloads/books/a.bin": LARGE}
    assert (shop.files[0].key, shop.parts, shop.names) == ("downloads/books/a.bin", [], [])


def test_versions_beyond_the_limit_and_objects_that_no_row_names_are_deleted(shop: Bench, s3: S3Server, tmp_path: Path) -> None:
    for number, content in enumerate((b"one", b"two")):
        shop.get(shop.server.put("/a.bin", content, etag=f'"{number}"'))
    assert s3.objects() == {"downloads/books/a.bin": b"one", "downloads/books/a (2).bin": b"two"}
    settings = limits(tmp_path, "versions = 1")
    now = datetime.now(UTC)
    delete_surplus(shop.store, settings, now=now)
    assert s3.objects() == {"downloads/books/a (2).bin": b"two"}

    s3.put("downloads/books/orphan.bin", b"of a killed process")
    s3.put("downloads/books/.uploads/7-aa.part-bb", b"of another one")
    delete_left_behind(shop.store, settings, now=now)  # another node may be about to record them
    assert len(s3.objects()) == 4
    new = open_store(tmp_path / "new", storage=object_storage(s3, ""))  # its database has no rows of the objects
    with new.write() as connection:
        count_as_restored(connection, now + timedelta(minutes=1))
    delete_left_behind(new, settings, now=now + timedelta(days=2))
    new.close()
    assert len(s3.objects()) == 4
    delete_left_behind(shop.store, settings, now=now + timedelta(days=2))
    assert s3.objects().keys() == {OWNER, "downloads/books/a (2).bin"}


def test_a_database_deletes_no_objects_below_the_prefix_of_another(shop: Bench, s3: S3Server, tmp_path: Path,
                                                                caplog: pytest.LogCaptureFixture) -> None:
    shop.get(shop.server.put("/a.bin", b"one"))
    settings, now = limits(tmp_path, "versions = 1"), datetime.now(UTC)
    other = open_store(tmp_path / "other", storage=object_storage(s3, ""))
    with other.write() as connection:
        count_as_restored(connection, now - timedelta(days=9))
    delete_left_behind(shop.store, settings, now=now)
    delete_left_behind(other, settings, now=now + timedelta(days=2))
    assert s3.objects().keys() == {OWNER, "downloads/books/a.bin"}
    assert "another database uses the same [pipeline] storage" in caplog.text
    other.close()


def test_an_object_that_was_replaced_or_deleted_is_left_alone_and_fetched_again(shop: Bench, s3: S3Server) -> None:
    url = shop.server.put("/a.bin", SMALL, etag='"v1"')
    shop.get(url)
    with ObjectDownloadFolder(ObjectFiles(shop.store.data_dir, object_storage(s3, "")), "books") as folder:
        assert not folder.remove("downloads/books/a.bin", 3)
        assert folder.remove("downloads/other/a.bin", 3)
        assert folder.has("downloads/books/a.bin")
        shop.get(url)
        assert len(shop.server.asked_for("/a.bin")) == 2
        assert folder.remove("downloads/books/a.bin", len(SMALL))
    shop.get(url)
    assert s3.objects() == {"downloads/books/a.bin": SMALL}
