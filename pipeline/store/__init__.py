"""The store: the database and the files of one data_dir, which hold all state of the program."""

from pipeline.store.database.engine import Store
from pipeline.store.files.file_store import FileStore
from pipeline.store.from_settings import open_store_of
from pipeline.store.open import open_store

__all__ = ["FileStore", "Store", "open_store", "open_store_of"]
