"""Opens the store that the settings name."""

from __future__ import annotations

from pipeline.settings import Settings
from pipeline.store.database.engine import Store
from pipeline.store.open import open_store


def open_store_of(settings: Settings, *, migrate: bool = True) -> Store:
    """Open the store of the settings and return it. Raises StoreError, or UsageError if a secret cannot be read.

    migrate: whether to create or migrate the tables; if False, a schema of another version raises StoreError.
    """
    return open_store(settings.data_dir, settings.database_url, migrate=migrate)
