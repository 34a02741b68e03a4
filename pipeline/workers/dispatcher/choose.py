"""Choose the dispatcher that the settings name."""

from __future__ import annotations

from pipeline.store import Store
from pipeline.workers.dispatcher.base import Capacity, Dispatcher, Work
from pipeline.workers.dispatcher.local import LocalDispatcher


def open_dispatcher(store: Store, capacity: Capacity, work: Work) -> Dispatcher:
    """Return the dispatcher for the runs of the store, which starts nothing before its run() is called."""
    return LocalDispatcher(store, capacity, work)
