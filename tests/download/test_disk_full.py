"""A full disk during a download, on a small tmpfs (root on Linux only)."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import DiskFullError
from pipeline.store.open import open_store
from tests.download.conftest import Bench
from tests.download.torture import can_mount, mount
from tests.servers.files import FileServer

BODY = random.Random(3).randbytes(8_000_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if not can_mount():
        pytest.skip("a tmpfs can be mounted by root on Linux only")
    disk = tmp_path / "disk"
    disk.mkdir()
    assert mount(disk, 16_000_000)
    try:
        yield disk
    finally:
        # Lazily: a test that failed may still hold its database open.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_ends_the_run_and_the_next_one_resumes_the_part(small_disk: Path, server: FileServer) -> None:
    store = open_store(small_disk / "var")
    bench = Bench(store, server)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 5_000_000))
    # Without a length the check of the free space cannot fail before the transfer.
    url = server.put("/a.bin", BODY, etag='"v1"', chunked=True)
    made = bench.get(url)
    assert isinstance(made.fatal, DiskFullError)
    assert "no space left on the disk" in str(made.fatal)
    row = bench.row(url)
    assert (row["state"], row["attempt"]) == ("waiting", 0)
    part, = bench.parts
    assert bench.names == []
    kept = part.stat().st_size
    assert kept > 1_000_000

    filler.unlink()
    bench.get(url)
    assert server.asked[-1].headers["range"] == f"bytes={kept - 1}-", "one byte again, for its headers"
    assert bench.content(bench.files[0]) == BODY
    store.close()
