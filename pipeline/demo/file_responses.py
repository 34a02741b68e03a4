"""HTTP responses with a demo file: ETag, conditional requests and ranges (RFC 9110: 8.8, 13, 14)."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import quote

from aiohttp import ETag, web

from pipeline.demo.files import DemoFile


async def file_response(request: web.Request, file: DemoFile) -> web.StreamResponse:
    """Send the whole file or the requested range of it, or 304 if the client already has the current file."""
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
    if file.download_name:
        encoded = quote(file.download_name, safe="")  # RFC 6266 section 4.3, RFC 8187 section 3.2
        headers["Content-Disposition"] = f"attachment; filename=\"{file.name}\"; filename*=UTF-8''{encoded}"
    response = web.StreamResponse(headers=headers)
    response.etag = ETag(file.etag)
    response.last_modified = file.modified
    if _is_current(request, file):
        response.set_status(304)
        start = stop = 0
    else:
        response.headers["Content-Type"] = file.content_type
        start, stop = _span(request, file)
        if start >= stop:
            response.set_status(416)
            response.headers["Content-Range"] = f"bytes */{file.size_bytes}"
            start = stop = 0
        elif (start, stop) != (0, file.size_bytes):
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size_bytes}"
        response.content_length = stop - start
    await response.prepare(request)
    if request.method != "HEAD":
        with contextlib.suppress(ConnectionResetError):  # the client has closed the connection
            for chunk in file.chunks(start, stop):
                await response.write(chunk)
                await asyncio.sleep(0)  # lets the event loop run other tasks, even if the client reads fast
            await response.write_eof()
    return response


def _is_current(request: web.Request, file: DemoFile) -> bool:
    if request.if_none_match is not None:
        return any(tag.value in ("*", file.etag) for tag in request.if_none_match)
    return request.if_modified_since is not None and file.modified <= request.if_modified_since


def _span(request: web.Request, file: DemoFile) -> tuple[int, int]:
    """Return the range of bytes to send: the position of the first byte, and the position after the last.

    This is the whole file if the request has no valid Range header, or if its If-Range header does not match the file.
    """
    whole = (0, file.size_bytes)
    condition = request.headers.get("If-Range")
    if condition is not None and condition.strip('"') != file.etag and request.if_range != file.modified:
        return whole
    try:
        wanted = request.http_range
    except ValueError:
        return whole
    if wanted.start is None and wanted.stop is None:
        return whole
    if wanted.start is not None and wanted.start < 0:
        return max(0, file.size_bytes + wanted.start), file.size_bytes
    return wanted.start or 0, min(wanted.stop or file.size_bytes, file.size_bytes)
