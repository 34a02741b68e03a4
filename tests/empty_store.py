"""Open a new store with tables that were made once.

Copying a file takes a tenth of the time that creating sixty tables takes.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from pipeline.store import Store, open_store

DATABASE = "pipeline.sqlite3"


def open_empty_store(data_dir: Path) -> Store:
    """Return the store of a new data_dir, as open_store() leaves it there, on SQLite. The caller closes it."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    (data_dir / DATABASE).touch(mode=0o600, exist_ok=False)
    (data_dir / DATABASE).write_bytes(_with_tables())
    return open_store(data_dir)


@cache
def _with_tables() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        open_store(Path(name)).close()
        return Path(name, DATABASE).read_bytes()
