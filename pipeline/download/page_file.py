"""Store a file that a browser has made of a page, such as a picture, in the download folder."""

from __future__ import annotations

from hashlib import sha256

from pipeline.download.storage import filenames
from pipeline.download.storage.safe_folders import disk_full
from pipeline.download.transfer import Fetched, NotModified, TransferRecords, TransferTools
from pipeline.errors import DownloadError
from pipeline.model import QueuedDownload
from pipeline.store.files.page_files import CONTENT_TYPES, Kind
from pipeline.text import shown_url, size_for_people


def store_page_file(tools: TransferTools, wanted: QueuedDownload, records: TransferRecords, kind: Kind, data: bytes | None) -> Fetched | NotModified:
    """Give the file its final name. data: its content; None if it is not on this machine.

    Raise DownloadError, or DiskFullError if the disk is full.
    """
    where = shown_url(wanted.url)
    if data is None:
        raise DownloadError("the file that the browser has made is not on this machine", where=where, fix="the next pass makes it again")
    if len(data) > tools.limits.max_bytes:
        raise DownloadError(f"the file has {size_for_people(len(data))}; at most {size_for_people(tools.limits.max_bytes)} are allowed", where=where,
                            fix="increase downloads.max_size")
    digest = sha256(data).hexdigest()
    if digest == wanted.file_sha256 and (tools.folder.has(wanted.file_key) if wanted.file_key else True):
        return NotModified()
    if tools.folder.free_bytes() - len(data) < tools.limits.keep_free_bytes:
        raise disk_full(where)
    part = tools.folder.create_part(wanted.id)
    try:
        part.write(memoryview(data))
        part.sync()
        name = filenames.choose(preferred=wanted.name, disposition="", url=wanted.url, content_type=CONTENT_TYPES[kind])
        duplicates = records.same_content(digest, len(data)) if tools.layout.link_duplicates else ()
        key, stored = tools.folder.finish(part, tools.layout.path_of(wanted, name), digest, records.is_recorded, duplicates)
    except DownloadError:
        tools.folder.remove_part(part.key)
        raise
    finally:
        part.close()
    return Fetched(key=key, name=stored, size_bytes=len(data), sha256=digest, content_type=CONTENT_TYPES[kind], etag="", last_modified="",
                   part_key=part.key, received_bytes=len(data))
