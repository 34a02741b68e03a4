"""Tests of backup and restore with files in an object store."""

from __future__ import annotations

import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store import open_store
from pipeline.store.files.object_storage import ObjectStorage
from pipeline.store.files.open_files import open_files
from pipeline.store.maintenance.backup import back_up
from pipeline.store.maintenance.restore import restore_backup
from pipeline.store.maintenance.stored_files import add_objects
from tests.servers.program import Program
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LARGE = bytes(range(256)) * 70_000  # more than one part of an upload
FILES = {"downloads/shop/a.pdf": LARGE, "messages/1.eml": b"mail", "pages/shop/x.html": b""}


def storage(s3: S3Server, prefix: str) -> ObjectStorage:
    return ObjectStorage(s3.bucket, prefix, endpoint=s3.url, region="us-east-1", access_key=ACCESS_KEY, secret_key=SECRET_KEY)


def backed_up(folder: Path, where: ObjectStorage | None, *, without_files: bool = False) -> Path:
    """A backup of a store with FILES in data_dir or in an object store."""
    store = open_store(folder / "old", storage=where)
    for key, content in FILES.items():
        store.files.write(key, content)
    archive = folder / "b.tar"
    back_up(store, archive, now=NOW, version="1", without_files=without_files)
    store.close()
    return archive


@pytest.mark.parametrize(("before", "after"), [("old", "new"), ("old", None), (None, "new")])
def test_files_are_restored_to_either_kind_of_storage(s3: S3Server, tmp_path: Path, before: str | None, after: str | None) -> None:
    archive = backed_up(tmp_path, storage(s3, before) if before else None)
    target = storage(s3, after) if after else None
    restored = restore_backup(tmp_path / "new", None, archive, replace=False, resend=False, now=NOW, storage=target)
    assert restored.files == len(FILES)
    store = open_store(tmp_path / "new", storage=target)
    assert {key: store.files.local(key).read_bytes() for key in FILES} == FILES
    store.close()
    if after:
        assert not list((tmp_path / "new").glob("downloads/**/*.pdf"))


def test_objects_that_are_replaced_or_deleted_during_a_backup_do_not_end_it(s3: S3Server, tmp_path: Path) -> None:
    files = open_files(tmp_path, storage(s3, "p"))
    files.write_all({f"pages/shop/{name}.html": b"old" for name in "abc"})
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        adding = add_objects(archive, files)
        names = [next(adding)[0]]
        s3.put("p/pages/shop/b.html", b"newer")
        s3.delete("p/pages/shop/c.html")
        names += [name for name, _ in adding]
    with tarfile.open(tmp_path / "b.tar") as archive:
        assert archive.getnames() == names == ["files/pages/shop/a.html", "files/pages/shop/b.html"]
        assert archive.getmember(names[1]).size == 5


def test_another_object_is_replaced_only_with_replace(s3: S3Server, tmp_path: Path) -> None:
    archive = backed_up(tmp_path, storage(s3, "p"))
    s3.put("p/messages/1.eml", b"other")
    with pytest.raises(StoreError, match=r"another file messages/1\.eml.*--replace"):
        restore_backup(tmp_path / "new", None, archive, replace=False, resend=False, now=NOW, storage=storage(s3, "p"))
    assert not (tmp_path / "new" / "pipeline.sqlite3").exists()
    restore_backup(tmp_path / "new", None, archive, replace=True, resend=False, now=NOW, storage=storage(s3, "p"))
    assert s3.objects()["p/messages/1.eml"] == b"mail"


def test_a_backup_without_files_lists_them_and_a_restore_names_those_that_changed(s3: S3Server, tmp_path: Path, program: Program) -> None:
    archive = backed_up(tmp_path, storage(s3, "p"), without_files=True)
    with tarfile.open(archive) as found:
        assert found.getnames() == ["database", "objects", "manifest.json"]
    s3.put("p/messages/1.eml", b"MAIL")
    program.environment |= s3.environment()
    program.write("")
    settings = program.folder / "settings.toml"
    settings.write_text(settings.read_text().replace("[pipeline]\n", f'[pipeline]\nstorage = "{s3.storage("p")}"\n'))
    done = program.run("restore", str(archive))
    assert done.returncode == 0, done.stderr
    assert "the database and 0 files\n1 file that the backup lists are missing from the object store, or have changed: messages/1.eml" in done.stdout
    again = program.run("backup", "again.tar", "--without-files")
    assert "and a list of 3 files in s3://files/p, which are not in the backup" in again.stdout, again.stderr
    settings.write_text(settings.read_text().replace("storage", "# storage"))
    assert "the files are in data_dir" in program.run("backup", "again.tar", "--without-files").stderr
