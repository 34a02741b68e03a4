"""The logs of runs: on the disk of the node that performs the run, and in the object store after its end, if there is one."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.store.database.engine import Store
from pipeline.store.runs.runs import get_run

FOLDER = "logs/runs"

_log = logging.getLogger(__name__)


def run_log(store: Store, run_id: int) -> Path:
    """Return the path of a run's log, or of a copy if another node performed the run. There may be no file at this path.

    The log of a run that another node is performing is not available yet. Raises StoreError if the object store cannot be reached.
    """
    key = f"{FOLDER}/{run_id}.log"
    path = store.files.path(key)
    if path.exists() or not store.files.is_remote:
        return path
    try:
        return store.files.quick.local(key)
    except FileNotFoundError:
        return path


def upload_run_logs(store: Store, ending: int, performing: Collection[int]) -> None:
    """Move the log of a run that ends to the object store, and the logs of ended runs that could not be moved before.

    If the object store cannot be reached, a log stays on this node's disk until another run ends. Without an object store, this
    does nothing. performing: the ids of the runs that this process performs.
    """
    if not store.files.is_remote:
        return
    for path in sorted(store.files.path(FOLDER).glob("*.log*"), key=lambda path: path.name.partition(".")[0] != str(ending)):
        number = path.name.partition(".")[0]
        if not number.isdigit():
            continue
        run_id = int(number)
        if run_id != ending and (run_id in performing or not _has_ended(store, run_id)):
            continue
        try:
            with path.open("rb") as source, store.files.quick.writing(f"{FOLDER}/{path.name}") as target:
                while content := source.read(1 << 20):
                    target.write(content)
            path.unlink(missing_ok=True)
        except (StoreError, OSError) as error:
            _log.warning("the log %s stays on this node, and is stored when another run ends: %s", path, error)
            return


def _has_ended(store: Store, run_id: int) -> bool:
    run = get_run(store, run_id)
    return run is None or run.ended_at is not None
