"""Both file stores: files in data_dir, and files in an object store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store.files.file_store import FileStore
from pipeline.store.files.object_storage import ObjectStorage
from pipeline.store.files.open_files import open_files
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server

LARGE = bytes(range(256)) * 40_000  # 10 MB: in parts


def object_storage(s3: S3Server, prefix: str = "a/prefix", **more: int) -> ObjectStorage:
    return ObjectStorage(s3.bucket, prefix, endpoint=s3.url, region="us-east-1", access_key=ACCESS_KEY, secret_key=SECRET_KEY, **more)


Node = Callable[[str], FileStore]


@pytest.fixture(params=["local", "object"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """A file store as a node with this name sees it: each has a data_dir of its own if there is an object store."""
    if request.param == "local":
        yield lambda name: open_files(tmp_path / "data", None)
    else:
        storage = object_storage(request.getfixturevalue("s3"))
        yield lambda name: open_files(tmp_path / name, storage)


def test_what_one_node_writes_every_node_reads(node: Node) -> None:
    here, there = node("here"), node("there")
    here.write("messages/1-1.eml", b"first")
    here.write("messages/1-1.eml", b"second version")
    assert there.local("messages/1-1.eml").read_bytes() == b"second version"
    assert (there.size("messages/1-1.eml"), there.exists("messages/1-1.eml"), there.read("messages/1-1.eml", 7, 14)) == (14, True, b"version")
    here.write("messages/1-1.eml", b"")
    assert (there.local("messages/1-1.eml").read_bytes(), there.size("messages/1-1.eml")) == (b"", 0)


def test_a_file_that_is_written_in_parts_is_whole(node: Node) -> None:
    with node("here").writing("downloads/books/large (ü) #1.bin") as file:
        file.write(LARGE)
    found = node("there").local("downloads/books/large (ü) #1.bin")
    assert hashlib.sha256(found.read_bytes()).digest() == hashlib.sha256(LARGE).digest()


def test_files_written_together_are_stored_by_sync(node: Node) -> None:
    here = node("here")
    for number in range(3):
        with here.writing(f"messages/2-{number}.eml", sync=False) as file:
            file.write(b"mail %d" % number)
    assert here.size("messages/2-1.eml") == 6
    assert here.local("messages/2-1.eml").read_bytes() == b"mail 1"
    here.sync(f"messages/2-{number}.eml" for number in range(3))
    assert [node("there").local(f"messages/2-{number}.eml").read_bytes() for number in range(3)] == [b"mail 0", b"mail 1", b"mail 2"]


def test_an_interrupted_writer_leaves_the_old_file(node: Node) -> None:
    here = node("here")
    here.write("pictures/a.png", b"old")

    def cut_short() -> None:
        with here.writing("pictures/a.png") as file:
            file.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    assert here.local("pictures/a.png").read_bytes() == b"old"
    assert [found.key for found in here.list("pictures/")] == ["pictures/a.png"]


def test_files_are_listed_by_the_beginning_of_their_keys_and_removed(node: Node) -> None:
    here = node("here")
    here.write_all({"messages/12-1.eml": b"a", "messages/12-2.eml": b"bc", "messages/123-1.eml": b"d", "messages/1.eml": b"e", "pages/s/x": b"f"})
    assert {found.key: found.size_bytes for found in here.list("messages/12-")} == {"messages/12-1.eml": 1, "messages/12-2.eml": 2}
    assert len(list(here.list("messages/"))) == 4
    here.remove("messages/12-1.eml")
    here.remove("messages/12-1.eml")
    assert [found.key for found in here.list("messages/12-")] == ["messages/12-2.eml"]
    assert list(here.list("downloads/")) == []


def test_a_missing_file_is_no_error_of_the_store(node: Node) -> None:
    here = node("here")
    for read in (here.local, here.size, here.touch, lambda key: here.read(key, 0, 1)):
        with pytest.raises(FileNotFoundError):
            read("pages/s/none")
    assert (here.info("pages/s/none"), here.exists("pages/s/none"), here.exists("")) == (None, False, False)


@pytest.mark.parametrize("key", ["/etc/passwd", "../a", "a/../../b", "a\0b", "", "a\\b"])
def test_a_key_never_points_outside(node: Node, key: str) -> None:
    with pytest.raises(StoreError, match="not a valid file key"):
        node("here").write(key, b"x")


def test_a_changed_file_is_not_read_in_ranges_of_two_versions(node: Node) -> None:
    here = node("here")
    here.write("downloads/s/a", b"one version")
    found = here.info("downloads/s/a")
    assert found is not None
    assert here.read("downloads/s/a", 4, 11, etag=found.etag) == b"version"
    here.write("downloads/s/a", b"another one")
    with pytest.raises(StoreError, match="has changed while it was read"):
        here.read("downloads/s/a", 4, 11, etag=found.etag)
