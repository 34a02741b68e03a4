"""Offers the stored files to which mails link: downloads, saved pages, and attachments that were too large.

All other files in data_dir, such as cookie jars, messages and the database, are not offered.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from sqlalchemy import select

from pipeline.errors import StoreError
from pipeline.registry import ATTACHMENT_FORMATS
from pipeline.store import Store
from pipeline.store.database.schema import download_files

logger = logging.getLogger(__name__)

_ATTACHMENT = re.compile(rf"messages/\d+(?:-\d+)?-[^/]+\.(?:{'|'.join(ATTACHMENT_FORMATS)}|zip)")
_CHUNK_BYTES = 64 * 1024
_SAVED_PAGE = re.compile(r"pages/[^/]+/[0-9a-f]{32}-[^/]+")


def stored_file(store: Store, key: str) -> tuple[Path, str] | None:
    """Return the path and the name of a file that is offered; None if there is no such file.

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
    return (path, name) if name is not None and path.is_file() else None


class StoredFileResponse(web.FileResponse):
    """A response with the file itself, even if a file with the same name and ".gz" or ".br" at the end is stored beside it."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the whole response. A second call, which aiohttp makes after the handler, sends nothing."""
        if self.prepared:
            return await web.StreamResponse.prepare(self, request)
        headers = request.headers.copy()
        headers.popall(hdrs.ACCEPT_ENCODING, None)
        return await super().prepare(request.clone(headers=headers))

    async def send(self, request: web.Request) -> None:
        """Send the whole response while the request still counts as being served: a slow client is not idle.

        If this fails after the head was sent, the connection is aborted, so that the client does not take a part for the whole.
        """
        try:
            await self.prepare(request)
        except Exception as error:
            if not self.prepared:
                raise
            if not isinstance(error, ConnectionError):
                logger.warning("a stored file could not be sent to its end: %s: %s", type(error).__name__, error)
            if request.transport is not None:
                request.transport.abort()


def file_response(path: Path, name: str) -> StoredFileResponse:
    """Return the response for a stored file, which browsers save and never show: its content comes from a crawled site."""
    return StoredFileResponse(path, chunk_size=_CHUNK_BYTES, headers={
        "Content-Type": "application/octet-stream", "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"})  # RFC 6266, 4.3; RFC 8187
