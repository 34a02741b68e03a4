"""Opens the store that the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from pipeline.settings import Settings
from pipeline.settings.masking import CurrentMask
from pipeline.store.database.engine import Store
from pipeline.store.files.object_storage import storage_of
from pipeline.store.open import open_store
from pipeline.store.runs.jobs import DEFAULT_QUEUE
from pipeline.store.session_files import LocalSessionFiles, SessionFiles, files_of


def open_store_of(settings: Settings, *, migrate: bool = True, mask: CurrentMask | None = None) -> Store:
    """Open the store of the settings and return it. Raises StoreError, or UsageError if a secret cannot be read.

    migrate: whether to create or migrate the tables; if False, an older schema raises StoreError.
    mask: masks secrets in what is stored, as in the logs of this process; None means that only the store masks them.
    """
    store = open_store(settings.data_dir, settings.database_url, storage=storage_of(settings), migrate=migrate)
    store.use_queues(queues_of(settings))
    store.mask = mask or CurrentMask(settings)
    return store


def queues_of(settings: Settings) -> dict[str, str]:
    """Return the queue of each spider whose runs do not have the default queue."""
    return {name: spider.queue for name, spider in settings.spiders.items() if spider.queue != DEFAULT_QUEUE}


def is_shared(settings: Settings) -> bool:
    """Return whether several services may share the database of the settings, as Store.shared says for an open store.

    Raises UsageError if a secret cannot be read.
    """
    url = settings.database_url
    return url is not None and not url.startswith("sqlite")


@contextmanager
def session_files_of(settings: Settings, spider: str) -> Iterator[SessionFiles]:
    """Yield the private files of a spider's session, for a command. The store is opened only if they are in the database.

    Raises StoreError, or UsageError if a secret cannot be read.
    """
    if not is_shared(settings):
        yield LocalSessionFiles(settings.data_dir / "jars", spider)
        return
    with closing(open_store_of(settings)) as store:
        yield files_of(store, spider)
