"""Offers the stored files to which mails link.

Downloads, saved pages, and attachments that were too large.

All other files of the file store, such as cookie jars, messages and the database, are not offered.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import quote

from aiohttp import ETag, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from sqlalchemy import select

from pipeline.errors import StoreError
from pipeline.model import PICTURES
from pipeline.registry import ATTACHMENT_FORMATS
from pipeline.store import FileStore, Store
from pipeline.store.database.schema import download_files
from pipeline.store.files.file_store import StoredFileInfo

logger = logging.getLogger(__name__)

_ATTACHMENT = re.compile(rf"messages/\d+(?:-\d+)?-[^/]+\.(?:{'|'.join(ATTACHMENT_FORMATS)}|zip)")
_CHUNK_BYTES = 64 * 1024
_OBJECT_CHUNK_BYTES = 2 * 1024 * 1024
"""How much of an object is read by one request to the object store."""
_SAVED_PAGE = re.compile(rf"(?:pages|{PICTURES})/[^/]+/[0-9a-f]{{32}}-[^/]+")
"""Keys of saved pages, and of pictures of pages."""


_READERS = 8
_Result = TypeVar("_Result")


async def in_file_thread(call: Callable[..., _Result], *arguments: object) -> _Result:
    """Call a function that may wait for the object store, in one of a few threads that do nothing else.

    If the object store does not answer, these calls wait for each other, but the service goes on: `asyncio.to_thread` stays free.
    """
    return await asyncio.get_running_loop().run_in_executor(_file_threads(), partial(call, *arguments))


@cache
def _file_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_READERS, thread_name_prefix="stored files")


@dataclass(frozen=True)
class OfferedFile:
    """A file that is offered. path: the file on this node's disk; None if the file is in an object store."""

    files: FileStore
    info: StoredFileInfo
    name: str
    path: Path | None


def stored_file(store: Store, key: str) -> OfferedFile | None:
    """Return a file that is offered; None if there is no such file. Raises StoreError if the object store cannot be reached.

    key: key of the file in the file store.
    """
    try:
        path = store.files.path(key)
    except StoreError:
        return None
    name: str | None = PurePosixPath(key).name
    if not _ATTACHMENT.fullmatch(key) and not _SAVED_PAGE.fullmatch(key):
        with store.read() as connection:
            name = connection.execute(select(download_files.c.name).where(
                download_files.c.key == key, download_files.c.doomed_at.is_(None))).scalar_one_or_none()
    info = store.files.quick.info(key) if name is not None else None
    if info is None or name is None or (not store.files.is_remote and path.is_symlink()):  # the program stores no links: it could lead to any file
        return None
    return OfferedFile(store.files.quick, info, name, None if store.files.is_remote else path)


class StoredFileResponse(web.FileResponse):
    """A response with the file itself, even if a file with the same name and ".gz" or ".br" at the end is stored beside it."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the whole response. A second call, which aiohttp makes after the handler, sends nothing."""
        if self.prepared:
            return await web.StreamResponse.prepare(self, request)
        headers = request.headers.copy()
        headers.popall(hdrs.ACCEPT_ENCODING, None)
        return await super().prepare(request.clone(headers=headers))


class StoredObjectResponse(web.StreamResponse):
    """A response with an object, read from the object store in chunks while it is sent: ranges and conditions as of a file."""

    def __init__(self, found: OfferedFile, headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        self._found = found

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the whole response. A second call, which aiohttp makes after the handler, sends nothing."""
        if self.prepared:
            return await super().prepare(request)
        info = self._found.info
        own = ETag(info.etag.strip('"'))
        self.etag, self.last_modified = own, info.modified_at
        self.headers[hdrs.ACCEPT_RANGES] = "bytes"
        start, end = self._range(request, own)
        if self.status < 300:
            self.content_length = end - start
        writer = await super().prepare(request)
        if request.method == hdrs.METH_HEAD or self.status >= 300:
            return writer
        for at in range(start, end, _OBJECT_CHUNK_BYTES):
            last = min(at + _OBJECT_CHUNK_BYTES, end)
            await self.write(await in_file_thread(partial(self._found.files.read, info.key, at, last, etag=info.etag)))
        await self.write_eof()
        return writer

    def _range(self, request: web.BaseRequest, own: ETag) -> tuple[int, int]:
        """Set the status, and return the first byte to send and the one after the last (RFC 9110, 13.2.2 and 14)."""
        size, changed = self._found.info.size_bytes, self._found.info.modified_at.replace(microsecond=0)
        if request.if_match is not None:
            if not any(each.value in ("*", own.value) and not each.is_weak for each in request.if_match):
                self.set_status(412)
        elif request.if_unmodified_since is not None and changed > request.if_unmodified_since:
            self.set_status(412)
        if self.status < 300 and request.if_none_match is not None:
            if any(each.value in ("*", own.value) for each in request.if_none_match):
                self.set_status(304)
        elif self.status < 300 and request.if_modified_since is not None and changed <= request.if_modified_since:
            self.set_status(304)
        if_range = request.headers.get(hdrs.IF_RANGE, "")
        if self.status >= 300 or (if_range and if_range != f'"{own.value}"' and (request.if_range is None or changed > request.if_range)):
            return 0, size
        try:
            wanted = request.http_range
        except ValueError:
            wanted = slice(size, None)
        if wanted.start is None:
            return 0, size
        start = max(0, size + wanted.start) if wanted.start < 0 else wanted.start
        end = min(wanted.stop if wanted.stop is not None else size, size)
        if start >= size:
            self.headers[hdrs.CONTENT_RANGE] = f"bytes */{size}"
            self.set_status(416)
            return 0, 0
        self.set_status(206)
        self.headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{end - 1}/{size}"
        return start, end


NOT_SHOWN = "sandbox; default-src 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of content of a crawled site that is not shown as a page."""


def headers_of_file(name: str, *, shown_as: str = "") -> dict[str, str]:
    """Return the headers of a file that browsers save and never show (RFC 6266, 4.3; RFC 8187). shown_as: media type of a picture that is shown."""
    return {"Content-Type": shown_as or "application/octet-stream", "Content-Security-Policy": NOT_SHOWN,
            "Content-Disposition": f"{'inline' if shown_as else 'attachment'}; filename*=UTF-8''{quote(name, safe='')}"}


async def send_file(found: OfferedFile, request: web.Request, *, shown_as: str = "") -> web.StreamResponse:
    """Send a stored file, which browsers save and never show: its content comes from a crawled site. Return the sent response.

    shown_as: media type of a picture that this program took itself, and which browsers therefore show.

    The whole response is sent while the request still counts as being served: a slow client is not idle. If this fails after the head
    was sent, the connection is aborted, so that the client does not take a part for the whole.
    """
    headers = headers_of_file(found.name, shown_as=shown_as)
    response = StoredObjectResponse(found, headers) if found.path is None else StoredFileResponse(found.path, chunk_size=_CHUNK_BYTES, headers=headers)
    try:
        await response.prepare(request)
    except Exception as error:
        if not response.prepared:
            raise
        if not isinstance(error, ConnectionError):
            logger.warning("a stored file could not be sent to its end: %s: %s", type(error).__name__, error)
        if request.transport is not None:
            request.transport.abort()
    return response
