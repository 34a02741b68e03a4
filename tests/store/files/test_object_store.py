"""The object store as a part that fails: time-outs, retries, errors, the cache of copies."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore import exceptions

from pipeline.errors import StoreError, UsageError
from pipeline.store.files import object_client
from pipeline.store.files.object_cache import ObjectCache
from pipeline.store.files.object_files import ObjectFiles
from pipeline.store.files.object_probe import probe
from pipeline.store.files.object_storage import ObjectStorage
from pipeline.store.files.open_files import read_url
from pipeline.store.maintenance.retention import RetentionRule, RetentionRules, prune
from pipeline.store.open import open_store
from tests.servers.s3 import Fault, S3Server
from tests.store.files.test_file_stores import LARGE, object_storage


@pytest.mark.parametrize("kind", [found for name in dir(exceptions) if isinstance(found := getattr(exceptions, name), type)], ids=str)
def test_every_exception_of_obstore_is_translated(kind: type[Exception]) -> None:
    assert kind in object_client.ERRORS
    assert isinstance(object_client.translated(kind("what happened"), "s3://files/a"), StoreError)


@pytest.mark.parametrize("fault", ["refuse", "503", "cut"])
def test_a_call_waits_for_a_store_that_comes_back(s3: S3Server, tmp_path: Path, fault: Fault) -> None:
    files = ObjectFiles(tmp_path, object_storage(s3))
    with s3.failing(fault):
        before = s3.connections
        writer = threading.Thread(target=lambda: files.write_all({"a": LARGE, "b": b"small"}))
        writer.start()
        while fault != "refuse" and s3.connections < before + 4:  # it has tried, and tried again
            writer.join(0.01)
    writer.join(60)
    assert s3.objects() == {"a/prefix/a": LARGE, "a/prefix/b": b"small"}


@pytest.mark.parametrize("fault", ["refuse", "503", "cut", "hang"])
def test_the_error_of_a_store_that_is_down_says_that_trying_again_can_help(s3: S3Server, tmp_path: Path, fault: Fault,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_client, "_IMPATIENT_TIMEOUT_S", 1)
    files = ObjectFiles(tmp_path, object_storage(s3)).quick
    with s3.failing(fault), pytest.raises(StoreError, match="the object store cannot be used") as failure:
        files.write("a", LARGE)
    assert failure.value.retry
    assert failure.value.where == "s3://files/a/prefix/a"
    assert s3.objects() == {}


def test_a_store_that_refuses_is_not_asked_again(s3: S3Server, tmp_path: Path) -> None:
    storage = ObjectStorage("no-such-bucket", endpoint=s3.url, region="us-east-1", access_key="a", secret_key="b")
    with pytest.raises(StoreError, match="the bucket does not exist") as failure:
        ObjectFiles(tmp_path, storage).write("a", b"x")
    assert not failure.value.retry
    with pytest.raises(StoreError, match="NoSuchBucket"):
        ObjectFiles(tmp_path, storage).exists("a")  # nobody knows whether the object is gone
    assert not ObjectFiles(tmp_path, object_storage(s3)).exists("a")


@pytest.mark.parametrize(("options", "said"), [([], None), (["--conflicting"], "of 8 simultaneous writes with If-None-Match, 8 succeeded")])
def test_a_store_where_two_writes_of_one_name_can_succeed_is_refused(options: list[str], said: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server("127.0.0.1", "files", *options) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        if said is None:
            probe(ObjectStorage("files"))
        else:
            with pytest.raises(StoreError, match=said):
                probe(ObjectStorage("files"))
        assert server.objects() == {}


def test_missing_credentials_are_named() -> None:
    error = exceptions.GenericError("Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 3ms - HTTP error: error sending request")
    assert "there are no credentials for the object store" in str(object_client.translated(error, "s3://files"))


def test_a_forked_process_does_not_hang(s3: S3Server, tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path, object_storage(s3))
    files.write("a", b"x")
    child = os.fork()
    if child == 0:
        try:
            files.write("b", b"y")
        except AssertionError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_cache_deletes_the_least_recently_used_copies_that_nobody_opens_now(tmp_path: Path) -> None:
    cache, others = ObjectCache(tmp_path, 250), ObjectCache(tmp_path, 10**9)
    for number, age_s in enumerate((5000, 4000, 3000, 1)):
        path = others.temporary()
        path.write_bytes(bytes(100))
        added = others.add(path, f"k{number}.pdf", "etag")
        os.utime(added, times=(time.time(), time.time() - age_s))
    assert cache.find("k0.pdf", "etag", 100)  # used again, and so the newest
    assert cache.find("k0.pdf", "other etag", 100) is None
    cache.prune()
    assert [bool(cache.path(f"k{number}.pdf", "etag").exists()) for number in range(4)] == [True, False, False, True]


def test_a_copy_is_served_only_if_it_is_what_was_stored(s3: S3Server, tmp_path: Path) -> None:
    ObjectFiles(tmp_path / "here", object_storage(s3)).write("a", b"content")
    there = ObjectFiles(tmp_path / "there", object_storage(s3))
    assert there.local("a").read_bytes() == b"content"
    asked = s3.connections
    assert there.local("a").read_bytes() == b"content"
    assert s3.connections <= asked + 1  # only asked whether it has changed
    next(path for path in (tmp_path / "there" / "cache" / "objects").iterdir()).write_bytes(b"con")  # as after a power failure
    assert there.local("a").read_bytes() == b"content"
    with s3.failing("refuse"), pytest.raises(StoreError):
        there.quick.local("a")  # nobody knows whether it is still this version
    assert [path.name[0] for path in (tmp_path / "there" / "cache" / "objects").iterdir()] != ["."]


def test_retention_deletes_objects_and_the_logs_of_this_node(s3: S3Server, tmp_path: Path) -> None:
    store = open_store(tmp_path, storage=object_storage(s3))
    store.files.write_all({"logs/runs/1.log": b"log", "logs/runs/2.log": b"log", "pages/s/a.html": b"page", "downloads/s/a.pdf": b"file"})
    (tmp_path / "logs" / "digests").mkdir(parents=True)
    (tmp_path / "logs" / "digests" / "1.log").write_bytes(b"log")
    rules = RetentionRules(logs=RetentionRule(timedelta(days=30)), pages=RetentionRule(timedelta(days=7)))
    done = prune(store, rules, now=datetime.now(UTC) + timedelta(days=10))
    assert (done.files, sorted(s3.objects())) == (1, ["a/prefix/downloads/s/a.pdf", "a/prefix/logs/runs/1.log", "a/prefix/logs/runs/2.log"])
    done = prune(store, rules, now=datetime.now(UTC) + timedelta(days=31))
    assert (done.files, sorted(s3.objects())) == (3, ["a/prefix/downloads/s/a.pdf"])
    store.close()


@pytest.mark.parametrize(("endpoint", "allow", "uses_http"), [
    ("https://s3.example", False, False), ("http://127.0.0.1:9000", False, True), ("http://[::1]:9", False, True), ("http://localhost", False, True),
    ("http://s3.example", True, True), ("", False, False)])
def test_http_is_used_on_this_machine_or_if_the_settings_say_so(endpoint: str, allow: bool, uses_http: bool) -> None:
    assert ObjectStorage("files", endpoint=endpoint, allow_http=allow).uses_http is uses_http


def test_http_to_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.example")
    with pytest.raises(UsageError, match="has no TLS"):
        _ = ObjectStorage("files").uses_http


@pytest.mark.parametrize(("endpoint", "said"), [
    ("minio.example:9000", "is not an http"), ("127.0.0.1:9000", "is not an http"), ("file:///etc", "is not an http"), ("https://", "is not an http"),
    ("https://me:hidden@minio.example", "more than scheme, host and port"), ("https://minio.example/?key=hidden", "more than scheme, host and port"),
    ("https://[::1", "is not a URL"), ("https://minio.example:x", "is not a URL")])
def test_an_endpoint_is_the_url_of_a_server_without_secrets(endpoint: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as failure:
        _ = ObjectStorage("files", endpoint=endpoint).uses_http
    assert "hidden" not in str(failure.value)


def test_an_object_is_read_by_its_url_with_the_credentials_of_the_environment(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    s3.put("conf/settings.toml", b"[pipeline]\n")
    assert read_url(s3.storage("conf/settings.toml")) == b"[pipeline]\n"
    with pytest.raises(UsageError, match="there is no such object"):
        read_url(s3.storage("conf/none.toml"))
    with pytest.raises(UsageError, match="only object stores with the protocol of Amazon S3"):
        read_url("ftp://x/y")
    with pytest.raises(UsageError, match="not the URL of a bucket") as failure:
        read_url("s3://key:hidden@bucket/settings.toml")
    assert "hidden" not in str(failure.value)
