"""The download folder of one spider whose finished files are objects.

Part files on this node, names claimed in the object store.

A file gets its name by a conditional write (If-None-Match: *), so that two processes never get the same name. S3 has no conditional
upload in parts for this program's client; a large file is therefore uploaded under a temporary name and then copied inside the store
under the condition. Its part file remains until the store has recorded the file, as in the folder on the disk.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from pipeline.download.storage import filenames
from pipeline.download.storage.download_folder import DownloadFolder, IsRecorded
from pipeline.download.storage.part_files import PartFile
from pipeline.errors import DownloadError, StoreError
from pipeline.store.files.file_store import FileStore, StoredFileInfo
from pipeline.store.files.object_client import PART_BYTES
from pipeline.store.files.object_files import ObjectFiles
from pipeline.store.files.object_upload import WHOLE_BYTES, create, upload

COPY_BYTES = 5 * 10**9
"""S3 copies an object of at most 5 GiB by one request. A larger file gets a name that nobody else can choose."""
MAX_KEY_BYTES = 1024
LEFT_BEHIND = timedelta(days=1)
"""An object that no row names is deleted after this time: until then, another node may be about to record it."""
_UPLOADS = ".uploads"
_LARGE_UPLOADS = 2
"""How many files are uploaded in parts at the same time. Each needs about 30 MB of memory."""


class ObjectDownloadFolder(DownloadFolder):
    """The open download folder of one spider, with its finished files in an object store."""

    def __init__(self, files: ObjectFiles, spider: str) -> None:
        super().__init__(files.root, spider)
        self._files = files
        self._uploading = threading.BoundedSemaphore(_LARGE_UPLOADS)

    def has(self, key: str) -> bool:
        return bool(self._name_of(key)) and self._files.exists(key)

    def finish(self, part: PartFile, path: Sequence[str], sha256: str, is_recorded: IsRecorded,
               same_content: Sequence[str] = ()) -> tuple[str, str]:
        """Upload a synced part file under its final name, and return its key and name, as DownloadFolder.finish() does.

        same_content: without meaning, since an object has one name only. Raise StoreError if the upload fails; the part file remains.
        """
        *folders, preferred = path
        where = "/".join((self._prefix, *folders))
        if part.size > COPY_BYTES:
            stem, extension = filenames.split(preferred)
            name = f"{stem} ({secrets.token_hex(8)}){extension}"
            self._check_length(f"{where}/{name}")
            self._upload_large(f"{where}/{name}", part, sha256)
            return f"{where}/{name}", name
        uploaded = ""
        try:
            if part.size > WHOLE_BYTES:
                uploaded = f"{self._prefix}/{_UPLOADS}/{part.key.rpartition('/')[2]}-{secrets.token_hex(4)}"
                self._upload_large(uploaded, part, sha256)
            for name in filenames.numbered(preferred):
                key = f"{where}/{name}"
                self._check_length(key)
                if self._claim_key(part, key, uploaded, sha256, is_recorded):
                    return key, name
        finally:
            if uploaded:
                with suppress(StoreError):  # what is left is deleted after a day
                    self._files.quick.remove(uploaded)
        raise AssertionError("unreachable: filenames.numbered() never ends")

    def remove(self, key: str, size_bytes: int) -> bool:
        """Delete a finished file. If an object of another size has this key, delete nothing and return False."""
        found = self._files.info(key) if self._name_of(key) else None
        if found is not None and found.size_bytes != size_bytes:
            return False
        if found is not None:
            self._files.remove(key)
        return True

    def _upload_large(self, key: str, part: PartFile, sha256: str) -> None:
        with self._uploading:
            upload(self._files.client, key, part.file, sha256=sha256, size_bytes=part.size)

    def _claim_key(self, part: PartFile, key: str, uploaded: str, sha256: str, is_recorded: IsRecorded) -> bool:
        """Store the file under a key, and reserve the key. Return False if the key belongs to another file."""
        if is_recorded(key) and self._files.exists(key):  # without sending the file for each of its older versions
            return False
        with self._lock:
            if key in self._reserved:
                return False
            self._reserved.add(key)
        claimed = False
        try:
            claimed = self._files.client.copy_new(uploaded, key) if uploaded else create(self._files.client, key, part.file, sha256=sha256)
            # A killed process, or an attempt whose answer was lost, may have stored the same file under this name.
            claimed = claimed or (self._is_same(key, part.size, sha256) and not is_recorded(key))
        finally:
            if not claimed:
                self.release_name(key)
        return claimed

    def _is_same(self, key: str, size_bytes: int, sha256: str) -> bool:
        found = self._files.client.head(key)
        if found is None or found.size_bytes != size_bytes or (found.sha256 and found.sha256 != sha256):
            return False
        if datetime.now(UTC) - found.modified_at > LEFT_BEHIND / 2:  # it may be deleted at any moment
            return False
        hasher = hashlib.sha256()
        for start in range(0, size_bytes, PART_BYTES):
            hasher.update(self._files.client.read(key, start, min(start + PART_BYTES, size_bytes), etag=found.etag))
        return hasher.hexdigest() == sha256

    def _name_of(self, key: str) -> str:
        """Return the file name in a key of this spider's finished files; "" for any other key."""
        *folders, name = self._components(key)
        return "" if folders[:1] == [".parts"] else name

    def _check_length(self, key: str) -> None:
        if len(key.encode()) > MAX_KEY_BYTES:
            raise DownloadError(f"the path of the file has more than {MAX_KEY_BYTES} bytes, which object stores do not allow", where=key[:100],
                                fix="shorten downloads.path")


def left_behind(files: FileStore, spider: str, now: datetime) -> Iterator[StoredFileInfo]:
    """Yield the objects of a spider that were stored more than LEFT_BEHIND ago, recorded or not."""
    return (found for found in files.list(f"downloads/{spider}/") if now - found.modified_at > LEFT_BEHIND)
