"""Checks, tries and saves the tables of spiders that are written on the pages or through the API."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, SettingsError, SpiderError, UsageError
from pipeline.heartbeat.http.operations.spider_drafts import (
    DraftProblem,
    DraftReport,
    InvalidDraftError,
    NotWritableError,
    SavedSpider,
    SpiderSource,
    problems_of,
)
from pipeline.service.reload import Reloader
from pipeline.service.state import ServiceState
from pipeline.settings import Settings, SpiderTable, load
from pipeline.settings.drafts import DRAFT_BYTES
from pipeline.settings.edit import replace_text, write_part
from pipeline.settings.files import file_with
from pipeline.settings.key_lines import line_of
from pipeline.settings.masking import Mask
from pipeline.store import open_store_of
from pipeline.text import shown_url
from pipeline.workers import page_task
from pipeline.workers.forkserver import warm_up

CHECK_LIMIT_S = 40.0
TRY_LIMIT_S = 60.0
MOST_ITEMS = 50
"""Maximum number of items that the result of a try has."""
MOST_BYTES = 4 * 2**20
"""Maximum size of the result of a try."""
_MEMORY_BYTES = 2 * 10**9
_PAGE_BYTES = 32 * 10**6
_CHECKER = "pipeline.cli.settings_check.draft"
_PLAIN_SECRET = re.compile(r"://[^\s/\"'@]*:[^\s/\"'@]*@")
"""Matches a URL with a password."""
FROM_URL = "the settings of this service come from a URL, so a file on its machine would be overwritten or be missing on other machines"

OTHER_NODES = DraftProblem("", "only this node has the file; other nodes with this database need a copy of it", warning=True)


class SpiderDrafts:
    """See ServiceActions. mask: returns a Mask of the current settings. place: waits for a place for a child process."""

    def __init__(self, state: ServiceState, reloader: Reloader, mask: Callable[[], Mask], place: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._state = state
        self._reloader = reloader
        self._mask = mask
        self._place = place
        self._saving = asyncio.Lock()

    async def check(self, toml: str, spider: str) -> DraftReport:
        """Check a draft in a process of its own. spider: whose file is edited; "" for a new spider."""
        self._check_known(spider)
        async with self._place():
            found = await self._checked(toml, spider)
        return DraftReport(found["name"], found["file"], problems_of(found["problems"]), found["is_taken"])

    async def attempt(self, toml: str, url: str, spider: str) -> Mapping[str, Any]:
        """Fetch a page with the session of a draft, and report what its rules find, as `pipeline try` does.

        url: "" for the first one in `start`. Nothing is kept: the cookies are in a temporary folder. "warnings" has what the check warned
        of. Raises InvalidDraftError.
        """
        report = await self._valid(toml, spider)
        settings = await self._loaded(report, toml)
        table = settings.spiders[report.name]
        async with self._place():
            with tempfile.TemporaryDirectory(prefix="pipeline-draft-") as folder:
                trial = _alone(settings, report.name, table, folder)
                await asyncio.to_thread(create_tables, trial)
                page = url or table.start[0].url
                found = await page_task.perform(trial, "try_rules", report.name, {"url": page, "most": MOST_ITEMS}, limit_s=TRY_LIMIT_S,
                                                where=shown_url(page), is_stopped=self._state.stopping.is_set, max_bytes=MOST_BYTES)
                return {**await asyncio.to_thread(lambda: _masked(found, Mask.of(trial))), "warnings": report.problems}

    async def save(self, toml: str, spider: str, version: str) -> SavedSpider:
        """Write a draft to its file and reload the settings.

        spider, version: whose file is edited, and the hash of the file that was edited. Raises InvalidDraftError, NotWritableError, or
        UsageError if somebody else was faster.
        """
        report = await self._valid(toml, spider)
        if self._reloader.url is not None:
            raise NotWritableError(FROM_URL, report.file)
        async with self._saving:
            file, copy = await asyncio.to_thread(self._written, report, toml, spider, version)
            reloaded = await self._reloader.reload()
        warnings = (*report.problems, *([OTHER_NODES] if self._state.store.shared else []))
        return SavedSpider(report.name, file, reloaded.changed, reloaded.waiting, tuple(map(self._mask(), reloaded.problems)), warnings, copy)

    def _written(self, report: DraftReport, toml: str, spider: str, version: str) -> tuple[str, str]:
        main = Path(self._state.settings.file)
        try:
            if not spider:
                return str(write_part(main, report.name, toml, fix="choose another name")), ""
            return self._replaced(main, toml, spider, version)
        except SettingsError as error:
            raise _of_settings(error, report) from error
        except UsageError as error:
            if isinstance(error.__cause__, OSError):
                raise NotWritableError(error.what, report.file) from error
            raise

    def _replaced(self, main: Path, toml: str, spider: str, version: str) -> tuple[str, str]:
        source, octets = self._read(spider)
        if source.text is None:
            raise UsageError(source.why_not, where=source.file)
        if source.version != version:
            raise UsageError("the file was changed in the meantime, and was left as it is", where=source.file,
                             fix="open the page again, and make your change to the new text")
        path = file_with(main, "spiders", spider)
        return str(path), str(replace_text(main, path, octets, toml))

    def source(self, name: str) -> SpiderSource:
        """Return where the table of a spider is, with the text of its file if the file can be edited on the pages. Raises UsageError."""
        self._check_known(name)
        return self._read(name)[0]

    def _read(self, name: str) -> tuple[SpiderSource, bytes]:
        main = Path(self._state.settings.file)
        path = file_with(main, "spiders", name)
        shown = path.name if path == main else f"{path.parent.name}/{path.name}"
        try:
            octets = path.read_bytes()
            text = octets.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            return SpiderSource(shown, None, why_not=f"the file cannot be read: {error}"), b""
        line, why_not = line_of(text, f"spiders.{name}"), ""
        if self._reloader.url is not None:
            why_not = FROM_URL
        elif path == main:
            why_not = f"the table is in {shown}, beside other settings, and is edited there"
        elif len(octets) > DRAFT_BYTES:
            why_not = f"the file has more than {DRAFT_BYTES:,} bytes, and is edited on the machine of the service"
        elif self._mask()(text) != text or _PLAIN_SECRET.search(text):
            why_not = "the file contains a secret in plain text, which this page does not show"
        if why_not:
            return SpiderSource(shown, line, why_not=why_not), octets
        return SpiderSource(shown, line, text, hashlib.sha256(octets).hexdigest()[:32]), octets

    async def _valid(self, toml: str, spider: str) -> DraftReport:
        report = await self.check(toml, spider)
        if not report.is_valid:
            raise InvalidDraftError(report)
        return report

    async def _loaded(self, report: DraftReport, toml: str) -> Settings:
        try:
            return await asyncio.to_thread(load, self._state.settings.file, drafts={Path(report.file): toml})
        except SettingsError as error:  # a file has changed since the check
            raise _of_settings(error, report) from error

    def _check_known(self, spider: str) -> None:
        if spider and spider not in self._state.settings.spiders:
            raise UsageError(f"no spider named {spider!r}", where="settings.toml: spiders")

    async def check_file(self, toml: str) -> list[str]:
        """Return the problems of the settings with a further file of settings.d, of any tables."""
        async with self._place():
            lines: list[str] = (await self._checked(toml, None))["lines"]
        return list(map(self._mask(), lines))

    async def _checked(self, toml: str, spider: str | None) -> dict[str, Any]:
        """Run the checker. It ends with an error only if the text is too much for its limits."""
        await asyncio.to_thread(warm_up)  # a node without a worker has not started the forkserver
        try:
            return await page_task.examine_text(self._state.settings, _CHECKER, self._state.settings.file, toml, spider,
                                                limit_s=CHECK_LIMIT_S, memory_limit_bytes=_MEMORY_BYTES)
        except SpiderError as error:
            raise PipelineError("the text cannot be checked: it needs too much time or memory", where="toml", fix="make its rules simpler") from error


def _alone(settings: Settings, name: str, table: SpiderTable, folder: str) -> Settings:
    """Return settings with one spider, whose limits a draft cannot raise, and with a temporary data_dir."""
    limited = table.model_copy(update={"memory_limit": min(table.memory_limit, _MEMORY_BYTES), "max_page_size": min(table.max_page_size, _PAGE_BYTES),
                                       "timeout": min(table.timeout, TRY_LIMIT_S)})
    place = settings.pipeline.model_copy(update={"data_dir": folder, "database": None, "storage": None})
    values = {each: getattr(settings, each) for each in Settings.model_fields}
    return Settings.model_construct(**values | {"pipeline": place, "spiders": {name: limited}, "digests": {}})


def _masked(value: Any, mask: Mask) -> Any:
    """Return JSON data with the secrets of the draft masked, which are not those of the service's settings."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask(name): _masked(each, mask) for name, each in value.items()}
    return [_masked(each, mask) for each in value] if isinstance(value, list) else value


def _of_settings(error: SettingsError, report: DraftReport) -> InvalidDraftError:
    return InvalidDraftError(DraftReport(report.name, report.file, tuple(DraftProblem(problem.key, problem.text) for problem in error.problems)))


def create_tables(settings: Settings) -> None:
    """Create the tables of a temporary store, which a child process never does."""
    open_store_of(settings).close()
    warm_up()
