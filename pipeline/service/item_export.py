"""Exports the items of a spider as a file, in chunks, in processes of the command `pipeline items`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from pathlib import Path
from typing import IO

from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.http.operations.service_actions import ExportFormat
from pipeline.settings.masking import Mask
from pipeline.store.console.items import ItemFilter
from pipeline.text import escape_line

AT_ONCE = 2
"""Maximum number of exports at the same time."""
LIMIT_S = 1800.0
"""Maximum duration of an export, also of one whose client reads slowly."""
_CHUNK_BYTES = 256 * 1024
_ERROR_BYTES = 8192
_STATES = {None: "all", True: "present", False: "gone"}


class ItemExports:
    """Exports items. A process of its own reads the store and writes the file, so that a million items keep neither this process nor its memory busy."""

    def __init__(self) -> None:
        self._in_progress = 0

    async def export(self, settings_file: str, spider: str, form: ExportFormat, wanted: ItemFilter, *, mask: Mask) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of the file. Raises UsageError if there are too many exports, PipelineError if the process fails.

        CSV and JSON are sent while they are written. XLSX is written to a temporary file first, because a ZIP file is complete only then.
        """
        if self._in_progress >= AT_ONCE:
            raise UsageError(f"{AT_ONCE} exports are in progress, the maximum", where=spider, fix="try again when one of them has ended")
        self._in_progress += 1
        try:
            with tempfile.TemporaryDirectory(prefix="pipeline-export-") as folder, tempfile.TemporaryFile() as errors:
                file = Path(folder, "items.xlsx") if form == "xlsx" else None
                ends_at = asyncio.get_running_loop().time() + LIMIT_S
                async with _process(_arguments(settings_file, spider, form, wanted, file), errors) as (process, output):
                    while chunk := await _until(ends_at, output.read(_CHUNK_BYTES)):
                        yield chunk
                    if await process.wait() != 0:
                        raise PipelineError(mask(_last_line(errors)) or "the items could not be exported", where=spider)
                if file is not None:
                    with await asyncio.to_thread(file.open, "rb") as written:
                        while chunk := await _until(ends_at, asyncio.to_thread(written.read, _CHUNK_BYTES)):
                            yield chunk
        except TimeoutError as error:
            raise PipelineError(f"the export has not ended within {LIMIT_S:.0f} s", where=spider, fix="export fewer items") from error
        finally:
            self._in_progress -= 1


async def _until(ends_at: float, reading: Awaitable[bytes]) -> bytes:
    """Return the bytes that are read. Raises TimeoutError when the time of the loop is over."""
    async with asyncio.timeout_at(ends_at):
        return await reading


def _arguments(settings_file: str, spider: str, form: ExportFormat, wanted: ItemFilter, file: Path | None) -> list[str]:
    """Return the arguments of the command. Text of a request follows `=` or `--`, so that it is no option."""
    filters = [f"--search={_argument(wanted.text)}", f"--state={_STATES[wanted.present]}"]
    filters += [f"--field={_argument(wanted.field)}", f"--value={_argument(wanted.value)}"] if wanted.field else []
    return ["items", "list", "--settings", settings_file, "--format", form, "--describe", "--mask", *filters,
            "--output", str(file) if file is not None else "/dev/stdout", "--", spider]


def _argument(text: str) -> str:
    """Return a text as an argument of a process can contain it: what is replaced is in no item."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


@contextlib.asynccontextmanager
async def _process(arguments: list[str], errors: IO[bytes]) -> AsyncIterator[tuple[Process, asyncio.StreamReader]]:
    """Start a command of this program, and kill it if the export ends before it: because its client is gone, for example.

    Its output is a pipe: uvloop would give it a socket, which the command cannot open as /dev/stdout.
    """
    loop, output = asyncio.get_running_loop(), asyncio.StreamReader(limit=_CHUNK_BYTES)
    read_end, write_end = os.pipe()
    try:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(output), os.fdopen(read_end, "rb", 0))
        try:
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "pipeline", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=write_end,
                                                           stderr=errors)
        except BaseException:
            transport.close()
            raise
    finally:
        os.close(write_end)
    try:
        yield process, output
    finally:
        transport.close()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read(_ERROR_BYTES).decode("utf-8", "replace").split("\n")
    return next((escape_line(line) for line in reversed(lines) if line.strip()), "")
