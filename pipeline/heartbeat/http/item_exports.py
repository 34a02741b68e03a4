"""Sends the exported items of a spider, in chunks, as a file that browsers save."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from urllib.parse import quote

from aiohttp import hdrs, web

from pipeline.errors import PipelineError
from pipeline.heartbeat.http.operations.service_actions import ExportFormat

logger = logging.getLogger(__name__)

_TYPES: dict[ExportFormat, str] = {"csv": "text/csv; charset=utf-8", "json": "application/json",
                                   "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}

CHUNK_S = 60.0
"""How long a client may take to receive a chunk. Two exports whose clients stand still would otherwise keep everyone from exporting."""


async def send_items(request: web.Request, spider: str, form: ExportFormat, chunks: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    """Send the chunks of an export. Return the sent response. Raises PipelineError if the export fails before its first chunk.

    If it fails later, the connection is aborted, so that the client does not take a part for the whole.
    """
    response = web.StreamResponse(headers={
        "Content-Type": _TYPES[form], "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{spider}-items.{form}', safe='')}"})
    async with contextlib.aclosing(chunks):
        if request.method == hdrs.METH_HEAD:  # what nobody receives is not exported
            return response
        first = await anext(chunks, b"")
        try:
            await response.prepare(request)
            await _write(response, first)
            async for chunk in chunks:
                await _write(response, chunk)
            await response.write_eof()
        except Exception as error:
            if not response.prepared:
                raise
            if not isinstance(error, ConnectionError):
                logger.warning("items of %s could not be exported to their end: %s", spider, error)
            if request.transport is not None:
                request.transport.abort()
    return response


async def _write(response: web.StreamResponse, chunk: bytes) -> None:
    """Send a chunk. Raises PipelineError if the client does not receive it in time."""
    try:
        async with asyncio.timeout(CHUNK_S):
            await response.write(chunk)
    except TimeoutError as error:
        raise PipelineError(f"the client received nothing for {CHUNK_S:.0f} s") from error
