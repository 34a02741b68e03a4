"""Where the files of the archive are, whose they are, and the lock of whoever merges and deletes them."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.archive_names import FOLDER
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files.archive_files import ArchiveFile

LOCK = "housekeeping.lock"
_ADVISORY_LOCK = 0x61726368
"""The number of the advisory lock of PostgreSQL: "arch"."""


def node_of(store: Store, settings: Settings) -> str:
    """Return the name of the node that alone has the files it stores; "" if every process that uses the database reaches them."""
    if store.files.is_remote or not store.shared:
        return ""
    return settings.cluster.node or socket.gethostname()


def is_within_reach(row: ArchiveFile, node: str) -> bool:
    """Return whether a process of this node can read and delete the files of a row."""
    return row.node in ("", node)


def key_of(store: Store, path: Path) -> str:
    """Return the key of a file in data_dir."""
    return path.relative_to(store.data_dir).as_posix()


def spider_folders(store: Store) -> list[Path]:
    """Return the folders of all spiders that have had archive files on this node's disk."""
    top = store.data_dir / FOLDER
    return sorted(path for path in top.iterdir() if path.is_dir()) if top.is_dir() else []


@contextmanager
def housekeeping_lock(store: Store) -> Iterator[bool]:
    """Hold the lock of the process that merges and deletes files. Yield False if another process has it.

    The files in data_dir are protected by a lock on a file; those in an object store, by a lock in the database that its services share.
    """
    folder = store.data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        with _lock_in_database(store) as is_held:
            yield is_held
    finally:
        os.close(descriptor)


@contextmanager
def _lock_in_database(store: Store) -> Iterator[bool]:
    if not (store.shared and store.files.is_remote):
        yield True
        return
    with store.autocommit() as connection:
        is_held = bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})").scalar())
        try:
            yield is_held
        finally:
            if is_held:
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_ADVISORY_LOCK})")
