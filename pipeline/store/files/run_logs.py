"""The logs of runs: on the disk of the run's node, and after its end in the object store, if any."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.model import Run
from pipeline.store.database.engine import Store
from pipeline.store.runs.runs import get_run

FOLDER = "logs/runs"
_PART = re.compile(rf"{FOLDER}/\d+-([0-9a-f]{{6}})\.log")

_log = logging.getLogger(__name__)


def run_log(store: Store, run_id: int) -> Path:
    """Return the path of a run's log, or of a copy if another node performed the run. There may be no file at this path.

    The log of a run that another node is performing is not available yet. Raises StoreError if the object store cannot be reached.
    """
    return _log_file(store, f"{FOLDER}/{run_id}.log")


def run_log_files(store: Store, run_id: int, part: str = "") -> list[Path]:
    """Return the paths of the files of a run's log, the oldest first, as `run_log` does: one that reached its size limit, and the last one.

    part: one of `parts_of`; "" means the log of the node that performed the run.
    """
    name = f"{FOLDER}/{run_id}-{part}.log" if part else f"{FOLDER}/{run_id}.log"
    return [_log_file(store, f"{name}.1"), _log_file(store, name)]


def parts_of(store: Store, run_id: int) -> list[str]:
    """Return the names of the logs of processes of a run on other nodes, which are in the object store. Raises StoreError."""
    if not store.files.is_remote:
        return []
    found = (_PART.fullmatch(each.key) for each in store.files.quick.list(f"{FOLDER}/{run_id}-"))
    return sorted(name[1] for name in found if name is not None)


def _log_file(store: Store, key: str) -> Path:
    path = store.files.path(key)
    if path.exists() or not store.files.is_remote:
        return path
    try:
        return store.files.quick.local(key)
    except FileNotFoundError:
        return path


def upload_run_logs(store: Store, ending: Run, performing: Collection[int]) -> None:
    """Move the log of a run that ends to the object store, and the logs of ended runs that could not be moved before.

    The page that a failed login has saved is copied, too. If the object store cannot be reached, a log stays on this node's disk until
    another run ends. Without an object store, this does nothing. performing: the ids of the runs that this process performs.
    """
    if not store.files.is_remote:
        return
    try:
        login_page = f"pages/login-{ending.spider}.html"
        path = store.files.path(login_page)
        if ending.started_at is not None and _modified_s(path) >= ending.started_at.timestamp():
            _upload(store, path, login_page)
        _upload_logs(store, ending.id, performing)
    except (StoreError, OSError) as error:
        _log.warning("the log of run %d stays on this node, and is stored when another run ends: %s", ending.id, error)


def _upload_logs(store: Store, ending: int, performing: Collection[int]) -> None:
    for path in sorted(store.files.path(FOLDER).glob("*.log*"), key=lambda path: path.name.partition(".")[0] != str(ending)):
        number = path.name.partition(".")[0]
        if not number.isdigit():
            continue
        run_id = int(number)
        if run_id != ending and (run_id in performing or not _has_ended(store, run_id)):
            continue
        key = f"{FOLDER}/{path.name}"
        if run_id != ending and store.files.quick.exists(key):  # of another process of the run, on another node
            key = f"{FOLDER}/{number}-{secrets.token_hex(3)}{path.name.removeprefix(number)}"
        _upload(store, path, key)
        path.unlink(missing_ok=True)


def _upload(store: Store, path: Path, key: str) -> None:
    with path.open("rb") as source, store.files.quick.writing(key) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _modified_s(path: Path) -> float:
    """Return when the file was changed, in seconds since 1970; 0 if there is none."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _has_ended(store: Store, run_id: int) -> bool:
    run = get_run(store, run_id)
    return run is None or run.ended_at is not None
