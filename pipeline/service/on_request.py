"""What the service does on request of the pages and the API.

Reload, build digests, check settings, suggest rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.http.operations.mending import MendingReport
from pipeline.heartbeat.http.operations.message_file import attachments_of, head_of
from pipeline.heartbeat.http.operations.service_actions import (
    CheckReport,
    DigestTime,
    ExportFormat,
    PreviewedMail,
    SendReport,
    SessionState,
)
from pipeline.heartbeat.http.operations.spider_drafts import DraftReport, SavedSpider, SpiderSource
from pipeline.mail.digests.notice import NOTHING_NEW
from pipeline.schedule.upcoming import next_times, upcoming_digests
from pipeline.service import session_requests
from pipeline.service.digests import DigestBuilder
from pipeline.service.drafts import SpiderDrafts, create_tables
from pipeline.service.item_export import ItemExports
from pipeline.service.mending_on_request import RequestedMending
from pipeline.service.reload import Reloader
from pipeline.service.state import ServiceState, utc_now
from pipeline.settings import Settings
from pipeline.settings.drafts import is_known, session_keys
from pipeline.settings.masking import Mask
from pipeline.settings.restart import ReloadReport
from pipeline.store.console.items import ItemFilter
from pipeline.store.mail import digests
from pipeline.text import escape_line, shown_url
from pipeline.workers import page_task
from pipeline.workers.digests import preview
from pipeline.workers.plain_session import NAME, name_for, plain_settings

AT_ONCE = 2
"""Maximum number of child processes for requests at the same time."""
WAITING = 4
"""Maximum number of requests that wait for such a process."""
SUGGEST_LIMIT_S = 60.0
PREVIEW_LIMIT_S = 60.0
COMMAND_LIMIT_S = 60.0
MOST_BYTES = 8 * 2**20
"""Maximum size of a previewed mail, and of the output of a command."""


class RequestedActions:
    """Implements ServiceActions. mask: returns a Mask of the current settings."""

    def __init__(self, state: ServiceState, reloader: Reloader, builder: DigestBuilder, mask: Callable[[], Mask]) -> None:
        self._state = state
        self._reloader = reloader
        self._builder = builder
        self._mask = mask
        self._places = asyncio.Semaphore(AT_ONCE)
        self._requests = 0
        self._exports = ItemExports()
        self._drafts = SpiderDrafts(state, reloader, mask, self._place)
        self._mending = RequestedMending(state, reloader, mask, self._place)

    async def reload(self) -> ReloadReport:
        """Reload the settings, as SIGHUP does. The problems are masked."""
        report = await self._reloader.reload()
        return replace(report, problems=tuple(map(self._mask(), report.problems)))

    async def send_digest(self, name: str) -> SendReport:
        """Build a digest of what it has not reported yet, also during its quiet hours and while it is muted."""
        self._check_digest(name)
        claim = await self._builder.claim_on_request(name)
        if claim is not None:
            self._state.spawn(self._builder.build_requested(name, claim.id))
            return SendReport("building", len(claim.run_ids), claim.id)
        earlier = await asyncio.to_thread(digests.oldest_unfinished, self._state.store, name, now=utc_now())
        if earlier is None:
            return SendReport("nothing to report", 0)
        self._state.spawn(self._builder.build_requested(name, earlier))
        return SendReport("building", 0, earlier)

    async def preview_digest(self, name: str) -> list[PreviewedMail]:
        """Render the mails that the next digest would consist of, in a child process, with the settings that the service uses."""
        self._check_digest(name)
        async with self._place():
            with tempfile.TemporaryDirectory(prefix="pipeline-preview-") as folder:
                settings = self._state.settings
                model_s = settings.ai.max_time if settings.ai is not None and settings.digests[name].asks_model else 0.0
                said = await preview(settings, name, Path(folder), limit_s=PREVIEW_LIMIT_S + model_s, is_stopped=self._state.stopping.is_set)
                asked = " ".join(text for text in said if text != NOTHING_NEW)
                return await asyncio.to_thread(_mails_in, Path(folder), has_news=NOTHING_NEW not in said, asked=asked)

    async def digest_times(self) -> Mapping[str, Sequence[DigestTime]]:
        """Return the schedules of each digest with their next due times."""
        settings = self._state.settings
        found: dict[str, list[DigestTime]] = {}
        for entry in await asyncio.to_thread(upcoming_digests, self._state.store, settings, now=utc_now()):
            found.setdefault(entry.name, []).append(DigestTime(entry.schedule or "", entry.words, entry.next))
        return found

    async def build_requested_digest(self, name: str, claim_id: int) -> None:
        """Begin to build a digest that a person has asked for, unless a process does it already."""
        self._state.spawn(self._builder.build_requested(name, claim_id))

    async def check(self, toml: str | None) -> CheckReport:
        """Check the settings file, or what it would be with `toml` as one more file of settings.d."""
        if toml is not None:
            lines = await self._drafts.check_file(toml)
            return CheckReport(not lines, lines)
        async with self._place():
            code, lines = await self._command("check", "--settings", self._state.settings.file)
        return CheckReport(code == 0, [self._mask()(line) for line in lines])

    async def suggest(self, url: str, *, render: bool, spider: str | None, name: str = "", schedule: str = "") -> Mapping[str, Any]:
        """Fetch a page and propose rules for a spider.

        spider: the spider whose session fetches the page. None means a session of its own, which fetches no private address: whoever has a
        token must not reach through this service what only this machine can reach. name, schedule: of a new spider, whose proposed table can be
        saved as it is: with the session of `spider`, or only for public addresses.
        """
        settings = self._state.settings
        if spider is not None and spider not in settings.spiders:
            raise UsageError(f"no spider named {spider!r}", where="spider")
        keys: dict[str, Any] = {"schedule": schedule} if schedule else {}
        if name or spider is None:
            keys |= await asyncio.to_thread(session_keys, settings, spider) if spider is not None else {}
            keys |= {} if is_known([url], settings.spiders) else {"public_only": True}
        options = {"url": url, "as": name or spider or name_for(url), "keys": keys, "render": render}
        async with self._place():
            with plain_settings(url, settings, public_only=True) if spider is None else contextlib.nullcontext(settings) as used:
                return await self._suggest(used, url, spider, options)

    async def _suggest(self, settings: Settings, url: str, spider: str | None, options: dict[str, Any]) -> Mapping[str, Any]:
        await asyncio.to_thread(create_tables, settings)
        return await page_task.perform(settings, "suggest", spider or NAME, options, limit_s=SUGGEST_LIMIT_S, where=shown_url(url),
                                       is_stopped=self._state.stopping.is_set)

    def export_items(self, spider: str, form: ExportFormat, wanted: ItemFilter) -> AsyncGenerator[bytes, None]:
        """Yield the items of a spider as a file, in chunks."""
        return self._exports.export(self._state.settings.file, spider, form, wanted, mask=self._mask())

    async def check_spider(self, toml: str, *, spider: str = "") -> DraftReport:
        return await self._drafts.check(toml, spider)

    async def try_spider(self, toml: str, url: str = "", *, spider: str = "") -> Mapping[str, Any]:
        return await self._drafts.attempt(toml, url, spider)

    async def save_spider(self, toml: str, *, spider: str = "", version: str = "") -> SavedSpider:
        return await self._drafts.save(toml, spider, version)

    async def spider_source(self, name: str) -> SpiderSource:
        return await asyncio.to_thread(self._drafts.source, name)

    async def mend_spider(self, name: str) -> MendingReport:
        return await self._mending.search(name)

    async def apply_rules(self, name: str, number: str) -> SavedSpider:
        return await self._mending.apply(name, number)

    def next_slots(self, spider: str, count: int, *, paused_until: datetime | None) -> list[datetime]:
        """Return the next times at which a spider is due. paused_until: the end of its pause, at which a missed slot is caught up."""
        now = utc_now()
        return next_times(self._state.store, self._state.settings, spider, count, now=max(now, paused_until or now))

    async def session_state(self, spider: str) -> SessionState:
        """Return of which hosts the session of a spider has cookies, without their values."""
        async with self._place():
            return await session_requests.session_state(self._command, self._state.settings, spider)

    async def clear_cookies(self, spider: str) -> str:
        """Remove the cookies, the token and the web storage of a spider, and say what was removed. Raises UsageError while it runs."""
        async with self._place():
            return await session_requests.clear_cookies(self._command, self._state.settings, spider)

    def _check_digest(self, name: str) -> None:
        if name not in self._state.settings.digests:
            raise UsageError(f"no digest named {name!r}", where="settings.toml: digests")

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Wait for a place for a child process. Raises UsageError if too many requests wait already."""
        if self._requests >= AT_ONCE + WAITING:
            raise UsageError("too many requests that need a process of their own are in progress", fix="try again in a minute")
        self._requests += 1
        try:
            async with self._places:
                yield
        finally:
            self._requests -= 1

    @staticmethod
    async def _command(*arguments: str) -> tuple[int, list[str]]:
        """Run a command of this program; return its exit code and its lines. Raises PipelineError after a time limit."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pipeline", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(COMMAND_LIMIT_S):
                output = await _all_of(process.stdout)
                code = await process.wait()
        except TimeoutError as error:
            raise PipelineError(f"`pipeline {arguments[0]}` has not ended within {COMMAND_LIMIT_S:.0f} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return code, [escape_line(line) for line in output.decode("utf-8", "replace").splitlines()]


async def _all_of(stream: asyncio.StreamReader) -> bytes:
    """Return what a process writes until it closes the stream, at most MOST_BYTES. One read would return what its first flush wrote."""
    found = bytearray()
    while chunk := await stream.read(MOST_BYTES - len(found)):
        found += chunk
    return bytes(found)


def _mails_in(folder: Path, *, has_news: bool, asked: str = "") -> list[PreviewedMail]:
    return [replace(_mail_of(path, has_news=has_news), asked=asked) for path in sorted(folder.glob("*.txt"))]


def _mail_of(path: Path, *, has_news: bool) -> PreviewedMail:
    mail = path.with_suffix(".eml")
    found = PreviewedMail(path.stem, _text_of(path), _text_of(path.with_suffix(".html")), has_news=has_news)
    if not mail.exists():
        return found
    head = head_of(mail)
    return replace(found, subject=head.subject, recipients=", ".join(filter(None, (head.to, head.cc))),
                   attachments=tuple((file.name, file.size_bytes) for file in attachments_of(mail)))


def _text_of(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return file.read(MOST_BYTES).decode("utf-8", "replace")
