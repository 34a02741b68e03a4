"""Render digests in child processes, and simplify a digest that kills its processes."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pipeline.errors import PipelineError, SpiderError
from pipeline.model import DigestClaim
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files.scratch import remove_scratch
from pipeline.store.mail import digests
from pipeline.text import counted
from pipeline.workers.page_task import watch
from pipeline.workers.process import Child

DIGEST_LIMIT_S = 600.0
"""How long, in seconds, a process may take to render a digest before it is killed."""
PREVIEW_MEMORY_BYTES = 2**30
"""How much memory a process may use that renders the preview of a digest."""
RENEW_EVERY_S = 10.0
DEATHS_PER_PRESENTATION = 3
"""Whenever this many processes were killed while rendering a digest, a simpler presentation of the digest is used."""


class Starter(Protocol):
    """What the processes of digests need of the Runner."""

    settings: Settings

    def log_file(self, kind: str, number: int) -> Path: ...


class DigestRunner:
    """Renders claimed digests, each in a child process."""

    def __init__(self, store: Store, starter: Starter) -> None:
        self._store = store
        self._starter = starter
        self._children: set[Child] = set()
        self._deaths: Counter[int] = Counter()
        """For each digest, by the id of its claim: how many processes were killed before they had rendered the digest."""

    async def build(self, claim: DigestClaim, owner: str) -> None:
        """Render a claimed digest in a child process.

        Raise the error that the child reported; the claim stays in the store, so that rendering will be tried again.
        """
        log_file = self._starter.log_file("digests", claim.id)
        deaths = self._deaths[claim.id]
        less = (min(deaths // DEATHS_PER_PRESENTATION, 2),
                f"{counted(deaths, 'process')} ended before the digest was rendered; see {log_file.name} in data_dir/logs/digests",
                ) if deaths >= DEATHS_PER_PRESENTATION else (0, "")
        child = Child("digest", self._starter.settings, log_file, claim, owner, less)
        deadline = time.monotonic() + DIGEST_LIMIT_S
        try:
            await asyncio.to_thread(child.start)
            self._children.add(child)
            while await child.wait(min(RENEW_EVERY_S, max(0.0, deadline - time.monotonic()))) is None and time.monotonic() < deadline:
                await asyncio.to_thread(digests.renew, self._store, claim.id, owner=owner, now=datetime.now(UTC))
        finally:
            self._children.discard(child)
            child.kill()
            await child.wait()
            await asyncio.to_thread(remove_scratch, self._store, claim.id)
        try:
            error: PipelineError | None = child.result()
        except EOFError:
            self._deaths[claim.id] += 1
            if not self._store.shared:
                await asyncio.to_thread(self._store.files.sweep, "messages")  # the process may have left an incomplete file
            error = SpiderError("the process ended before the digest was rendered", where=f"digests.{claim.name}",
                                fix=f"see {log_file.name} in data_dir/logs/digests; the digest is rendered again", retry=True)
        await asyncio.to_thread(child.close)
        if error is not None:
            raise error
        self._deaths.pop(claim.id, None)

    def stop(self) -> None:
        """Ask every process to stop."""
        for child in self._children:
            child.stop()


async def preview(settings: Settings, name: str, folder: Path, *, limit_s: float, is_stopped: Callable[[], bool]) -> list[str]:
    """Write the mails of the next digest to `folder` in a child process; return what there is to say about them, see preview().

    The forkserver must be running. Raises the error that the child reported, SpiderError if it ends unexpectedly or exceeds a limit.
    """
    where = f"digests.{name}"
    with tempfile.TemporaryDirectory(prefix="pipeline-preview-log-") as logs:
        child = Child("preview", settings, Path(logs, "log"), name, str(folder))
        try:
            await asyncio.to_thread(child.start)
            problem = await watch(child, limit_s, PREVIEW_MEMORY_BYTES, is_stopped)
            error = child.result() if not problem else SpiderError(problem, where=where)
        except EOFError:
            error = SpiderError("the process ended before the digest was rendered", where=where)
        finally:
            child.kill()
            await asyncio.to_thread(child.close)
    if error is not None:
        raise error
    return child.remarks
