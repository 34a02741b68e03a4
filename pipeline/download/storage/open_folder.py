"""Open the download folder of a spider: on the disk, or with its finished files in the object store."""

from __future__ import annotations

from pipeline.download.storage.download_folder import DownloadFolder
from pipeline.store import Store


def open_folder(store: Store, spider: str) -> DownloadFolder:
    """Open the download folder of a spider. Raises DownloadError if a folder is a symbolic link or cannot be used."""
    if not store.files.is_remote:
        return DownloadFolder(store.files.root, spider)
    from pipeline.download.storage.object_folder import ObjectDownloadFolder  # noqa: PLC0415  files on the disk do not need obstore
    from pipeline.store.files.object_files import ObjectFiles  # noqa: PLC0415
    assert isinstance(store.files, ObjectFiles)
    return ObjectDownloadFolder(store.files, spider)
