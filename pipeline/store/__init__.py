"""The truth: what was asked for, what was done, what was found and what was told."""

from pipeline.store.database.engine import Store
from pipeline.store.files.file_store import FileStore
from pipeline.store.open import open_store

__all__ = ["FileStore", "Store", "open_store"]
