"""Tests of files that people name: whole or not there, whatever dies, and no device is replaced."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.archive.reading import wacz
from pipeline.atomic_write import is_replaced, replacing
from pipeline.cli.item_export import Wanted, export_items
from pipeline.store import Store, open_store
from pipeline.store.console.items import ItemFilter
from pipeline.store.maintenance.backup import back_up
from tests.archive.exchanges import NOW, exchange
from tests.archive.filled import add_segment
from tests.mail.conftest import Site


@pytest.fixture(params=["unnamed", "named", "without links"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has files without a name, one that has not, and one that cannot give them a name."""
    if request.param == "without links":
        monkeypatch.setattr("pipeline.atomic_write._link", _refused)
    if request.param == "named":
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # fails as O_TMPFILE does where it is not supported


def _refused(descriptor: int, path: Path) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def _killed_at_the_end(write: Callable[[], object]) -> None:
    """Write a file in a process that is killed before it replaces the one that is there."""
    child = os.fork()
    if child == 0:
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        write()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def _export(store: Store, path: Path) -> None:
    wacz.export(store, "books", path, now=NOW)


def _items(store: Store, path: Path) -> None:
    export_items(store, Wanted("books", ItemFilter()), "json", path)


def _backup(store: Store, path: Path) -> None:
    back_up(store, path, now=NOW, version="1")


@pytest.mark.parametrize("write", [_export, _items, _backup])
@pytest.mark.usefixtures("file_system")
def test_a_killed_export_leaves_the_earlier_file_and_what_it_left_goes_with_the_next_one(write: Callable[[Store, Path], None], tmp_path: Path) -> None:
    store = open_store(tmp_path / "var")
    add_segment(store, [exchange("/a", at=NOW)], now=NOW)
    folder = tmp_path / "exports"
    folder.mkdir()
    path = folder / "monday"
    path.write_bytes(b"earlier")
    _killed_at_the_end(lambda: write(store, path))
    assert path.read_bytes() == b"earlier"
    with replacing(folder / "running") as living:
        living.write_bytes(b"by another process")
        write(store, folder / "tuesday")
    assert (folder / "running").read_bytes() == b"by another process"
    assert sorted(each.name for each in folder.iterdir()) == ["monday", "running", "tuesday"]
    store.close()


@pytest.mark.usefixtures("file_system")
def test_two_exports_to_one_file_leave_one_that_is_whole(tmp_path: Path) -> None:
    store = open_store(tmp_path / "var")
    for number in range(3):
        add_segment(store, [exchange(f"/{number}", at=NOW)], now=NOW)
    path = tmp_path / "all.wacz"
    with replacing(path) as part:
        _export(store, path)
        whole = path.read_bytes()
        part.write_bytes(b"half")
        assert path.read_bytes() == whole
    assert path.read_bytes() == b"half"
    store.close()


def test_a_device_a_pipe_and_a_link_stay_what_they_are_and_modes_are_kept(tmp_path: Path) -> None:
    with replacing(Path("/dev/null")) as path:
        path.write_bytes(b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    program = "from pathlib import Path; from pipeline.atomic_write import replacing\nwith replacing(Path('/dev/stdout')) as path: path.write_bytes(b'text')"
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout == b"text"
    with (tmp_path / "redirected").open("wb") as redirected:
        subprocess.run([sys.executable, "-c", program], stdout=redirected, check=True)
    assert (tmp_path / "redirected").read_bytes() == b"text"
    assert [is_replaced(Path(name)) for name in ("/dev/stdout", "/dev/null", "/proc/self/fd/1", "new")] == [False, False, False, True]
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"before")
    real.chmod(0o640)
    link.symlink_to(real)
    with replacing(link, private=False) as path:
        path.write_bytes(b"after")
    assert link.is_symlink()
    assert (real.read_bytes(), real.stat().st_mode & 0o777) == (b"after", 0o640)
    with replacing(tmp_path / "new") as path:
        path.write_bytes(b"secret")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # ZipFile tries to write its end once more when it is deleted
@pytest.mark.parametrize("form", ["json", "csv", "xlsx"])
def test_an_export_that_does_not_fit_on_the_disk_keeps_the_earlier_file_and_names_it(form: str, tmp_path: Path) -> None:
    store = open_store(tmp_path / "var")
    Site(store).run({str(number): {"title": f"Book {number}", "text": "x" * 200} for number in range(50)})
    path = tmp_path / f"books.{form}"
    export_items(store, Wanted("books", ItemFilter()), form, path)  # imports what it needs: below, Python could not write a whole module to its cache
    path.write_bytes(b"earlier")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))  # writing more fails as it does on a full disk
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            export_items(store, Wanted("books", ItemFilter()), form, path)
        with pytest.raises(FileNotFoundError) as missing:
            export_items(store, Wanted("books", ItemFilter()), form, tmp_path / "missing" / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(path)
    assert str(missing.value.filename).startswith(str(tmp_path / "missing"))
    assert path.read_bytes() == b"earlier"
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == [path.name]
    store.close()
