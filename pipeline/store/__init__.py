"""The truth: what was asked for, what was done, what was found and what was told."""

from pipeline.store.engine import Store, open_store
from pipeline.store.files import FileStore

__all__ = ["FileStore", "Store", "open_store"]
