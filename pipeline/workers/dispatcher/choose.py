"""Choose the dispatcher that the settings name."""

from __future__ import annotations

from importlib.util import find_spec

from pipeline.errors import StoreError
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.workers.dispatcher.base import Capacity, Dispatcher, Work
from pipeline.workers.dispatcher.local import LocalDispatcher


def open_dispatcher(store: Store, capacity: Capacity, work: Work) -> Dispatcher:
    """Return the dispatcher for the runs of the store, which starts nothing before its run() is called. Raises StoreError."""
    if uses_procrastinate(store, capacity.settings()):
        from pipeline.workers.dispatcher.procrastinate import (  # noqa: PLC0415  only several nodes need this package
            ProcrastinateDispatcher,
        )
        return ProcrastinateDispatcher(store, capacity, work)
    return LocalDispatcher(store, capacity, work)


def uses_procrastinate(store: Store, settings: Settings) -> bool:
    """Return whether procrastinate hands out the runs of the store. Raises StoreError if it cannot, although the settings name it."""
    wanted = settings.cluster.dispatcher
    if wanted == "local":
        return False
    if wanted == "auto":
        return store.shared and _is_installed()
    where = "cluster.dispatcher"
    if not store.shared:
        raise StoreError("procrastinate needs PostgreSQL, and the database is SQLite", where=where,
                         fix="set [pipeline] database to a PostgreSQL URL, or remove this setting")
    if not _is_installed():
        raise StoreError("the package procrastinate is not installed", where=where, fix="run `pip install 'crawl-to-inbox[cluster]'`")
    return True


def _is_installed() -> bool:
    return all(find_spec(name) is not None for name in ("procrastinate", "psycopg_pool"))
