"""Searches for a spider's new rules and writes them, on request of the pages and the API."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from pipeline.errors import SettingsError, UsageError
from pipeline.heartbeat.http.operations.mending import MendingReport, proposal_id, proposal_of
from pipeline.heartbeat.http.operations.spider_drafts import NotWritableError, SavedSpider
from pipeline.service.drafts import FROM_URL, OTHER_NODES
from pipeline.service.mending import CHANGED, SEARCH_LIMIT_S, rules_of, write
from pipeline.service.reload import Reloader
from pipeline.service.state import ServiceState
from pipeline.settings import SpiderTable
from pipeline.settings.files import file_with
from pipeline.settings.masking import Mask
from pipeline.store.crawl import mendings
from pipeline.store.crawl.mendings import MendingState, StoredMending
from pipeline.workers import page_task

_MOST_KEPT = 50
_MOST_BYTES = 4 * 2**20


class _Found(NamedTuple):
    """A search. searched: the table of the spider at that time. stored: the row of the search if the service made it after a run."""

    report: Mapping[str, Any]
    searched: SpiderTable
    stored: StoredMending | None = None


class RequestedMending:
    """See ServiceActions. mask: returns a Mask of the current settings. place: waits for a place for a child process."""

    def __init__(self, state: ServiceState, reloader: Reloader, mask: Callable[[], Mask], place: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._state = state
        self._reloader = reloader
        self._mask = mask
        self._place = place
        self._found: OrderedDict[str, _Found] = OrderedDict()
        self._applying = asyncio.Lock()

    async def search(self, name: str) -> MendingReport:
        """Look for the stored items of a spider on its pages now, as `pipeline mend` does."""
        table = self._table(name)
        async with self._place():
            report = await page_task.perform(self._state.settings, "mend", name, {"urls": []}, limit_s=SEARCH_LIMIT_S,
                                             is_stopped=self._state.stopping.is_set, max_bytes=_MOST_BYTES)
        shown = proposal_of(report, self._mask())
        if shown.id:
            self._found[f"{name} {shown.id}"] = _Found(report, table)
            while len(self._found) > _MOST_KEPT:
                self._found.popitem(last=False)
        return shown

    async def apply(self, name: str, number: str) -> SavedSpider:
        """Write proposed rules to the settings file, and reload. number: the id of the report in which a person has seen them. Raises UsageError."""
        table = self._table(name)
        file = str(file_with(self._state.settings.file, "spiders", name))
        if self._reloader.url is not None:
            raise NotWritableError(FROM_URL, file)
        async with self._applying:
            found = self._found.get(f"{name} {number}") or await self._stored(name, number, table)
            if found is None:
                raise UsageError("these rules are not proposed any more", where=f"spiders.{name}", fix="look for new rules again")
            copy = await self._written(name, found)
            self._found.pop(f"{name} {number}", None)
            reloaded = await self._reloader.reload()
        return SavedSpider(name, file, reloaded.changed, reloaded.waiting, tuple(map(self._mask(), reloaded.problems)),
                           (OTHER_NODES,) if self._state.store.shared else (), copy)

    async def _stored(self, name: str, number: str, table: SpiderTable) -> _Found | None:
        """Return the search that the service has made after a run, if the spider's table is still the one for which it was made."""
        stored = await asyncio.to_thread(mendings.of_spider, self._state.store, name)
        if stored is None or stored.state is not MendingState.PROPOSED or proposal_id(stored.report) != number:
            return None
        if stored.report.get("rules") != rules_of(table):
            raise UsageError(CHANGED, where=f"spiders.{name}", fix="look for new rules again")
        return _Found(stored.report, table, stored)

    async def _written(self, name: str, found: _Found) -> str:
        """Write the rules; return the path of the copy of the file. The state of a stored search says at any moment what has happened."""
        store, stored = self._state.store, found.stored
        if stored is not None and not await asyncio.to_thread(mendings.set_state, store, stored, MendingState.APPLYING, after=MendingState.PROPOSED):
            raise UsageError("somebody else has just applied these rules, or another search has ended", where=f"spiders.{name}")
        copy = None
        try:
            copy = await asyncio.to_thread(write, self._state.settings.file, name, found.report["changes"], found.searched)
        except SettingsError as error:
            if isinstance(error.__cause__, OSError):
                raise NotWritableError(self._mask()("; ".join(error.lines())), str(file_with(self._state.settings.file, "spiders", name))) from error
            raise
        finally:
            if stored is not None:
                result = MendingState.APPLIED if copy is not None else MendingState.PROPOSED
                await asyncio.to_thread(mendings.set_state, store, stored, result, after=MendingState.APPLYING)
        if copy is None:
            raise UsageError(CHANGED, where=f"spiders.{name}", fix="look for new rules again")
        return str(copy)

    def _table(self, name: str) -> SpiderTable:
        table = self._state.settings.spiders.get(name)
        if table is None:
            raise UsageError(f"no spider named {name!r}", where="settings.toml: spiders")
        if not table.is_built_in:
            raise UsageError("the spider is written in Python and has no rules to mend", where=f"spiders.{name}")
        return table
