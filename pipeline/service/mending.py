"""Search for new rules after a suspect pass, and store the proposal.

Alerts, pages and the status show it.

One child process searches at a time. The search is stored before it begins, so that it is repeated if the service dies meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from pipeline import logs
from pipeline.errors import LeaseLostError, PipelineError, SettingsError
from pipeline.model import Json, Outcome, Run
from pipeline.registry import DEFAULT_SPIDER
from pipeline.service.state import ServiceState, utc_now
from pipeline.settings import SpiderTable, load
from pipeline.settings.edit import SpiderEdit
from pipeline.store.crawl import mendings
from pipeline.store.crawl.mendings import MendingState, StoredMending
from pipeline.store.runs import paused_spiders
from pipeline.workers import page_task

SEARCH_LIMIT_S = 90.0
"""How long one search may take. The alert about the suspect pass waits for it."""
TURN_LIMIT_S = 20.0
"""How long a suspect pass waits for the search after another one, before the alert is sent without a proposal."""

CHANGED = "the settings file was changed meanwhile"
"""Why new rules are not written, if a person has edited the spider's table since the search began."""

logger = logging.getLogger("pipeline.service")


class RuleMender:
    """Starts the searches, and writes new rules to the settings file if the spider's setting `mend` is "auto".

    reload: called after the settings file was changed. held: returns the spiders that must wait for the end of quiet hours or of a
    host's pause; their searches, and those of paused spiders, wait too. may_search: whether this service searches; if not, it only
    stores that a search is wanted, and the leader searches.
    """

    def __init__(self, state: ServiceState, reload: Callable[[], Awaitable[object]], held: Callable[[], Awaitable[set[str]]],
                 may_search: Callable[[], bool] = lambda: True) -> None:
        self._state = state
        self._reload = reload
        self._held = held
        self._may_search = may_search
        self._turn = asyncio.Lock()

    async def after_run(self, run: Run) -> None:
        """Search for new rules if a run has ended as suspect, and return when the search has ended, or will not end soon.

        Searches for other spiders are left to `again`.
        """
        if not self._is_wanted(run):
            return
        try:
            if not await self._request(run) or not self._may_search():
                return
            await asyncio.wait_for(self._turn.acquire(), TURN_LIMIT_S)
        except TimeoutError:
            return  # `again` takes this search up
        except PipelineError as error:
            logger.error("the search for new rules of %s could not be stored: %s", run.spider, error)  # noqa: TRY400
            return
        try:
            await self._search_next(run.spider)
        finally:
            self._turn.release()

    async def _request(self, run: Run) -> bool:
        rules = rules_of(self._state.settings.spiders[run.spider])
        return await asyncio.to_thread(mendings.request, self._state.store, run, now=utc_now(), rules=rules)

    def _is_wanted(self, run: Run) -> bool:
        table = self._state.settings.spiders.get(run.spider)
        return run.suspect and run.outcome is Outcome.SUCCEEDED and table is not None and table.mend != "off" and (
            table.spider == DEFAULT_SPIDER or (table.spider == "watch" and table.watch.part is not None))

    async def again(self) -> None:
        """Perform the searches that wait. The service calls this method at intervals.

        Between two searches, those of runs that have just ended get their turn.
        """
        if self._turn.locked():
            return
        while True:
            async with self._turn:
                if not await self._search_next():
                    return

    async def at_start(self) -> None:
        """Find out whether rules that were being written when the service ended are in the settings file.

        Then ask for a search for each spider whose last pass is suspect and was made while no service was running.
        """
        try:
            for mending in await self._state.ask(mendings.interrupted):
                is_there = await asyncio.to_thread(self._is_in_settings, mending)
                await asyncio.to_thread(mendings.set_state, self._state.store, mending,
                                        MendingState.APPLIED if is_there else MendingState.PROPOSED, after=MendingState.APPLYING)
            for run in await self._state.ask(mendings.last_suspect_runs):
                if self._is_wanted(run):
                    await self._request(run)
        except PipelineError as error:
            logger.error("the proposals of new rules cannot be read: %s", error)  # noqa: TRY400

    def _is_in_settings(self, mending: StoredMending) -> bool:
        try:
            return not SpiderEdit(self._state.settings.file, mending.spider, mending.report["changes"]).diff()
        except SettingsError:
            return False

    async def _search_next(self, spider: str | None = None) -> bool:
        """Perform one search that waits, only that of `spider` if it is not None. Return False if there is none, or after an error of the store."""
        store = self._state.store
        if self._state.stopping.is_set():
            return False
        try:
            skip = await self._held() | await asyncio.to_thread(paused_spiders.paused_spiders, store, now=utc_now())
            mending = await asyncio.to_thread(mendings.take, store, owner=store.owner, now=utc_now(), spider=spider, skip=skip)
            if mending is None:
                return False
            with logs.about(run=mending.run_id, spider=mending.spider):  # it may be another run than that after which this method was called
                await self._search(mending)
        except PipelineError as error:
            logger.error("new rules could not be searched: %s", error)  # noqa: TRY400
            return False
        return True

    async def _search(self, mending: StoredMending) -> None:
        state, name = self._state, mending.spider
        table = state.settings.spiders.get(name)
        report: dict[str, Json]
        if table is None:
            result, report = MendingState.FAILED, {"reason": "the spider is no longer in the settings"}
        else:
            try:
                report = await page_task.perform(state.settings, "mend", name, {"urls": []}, limit_s=SEARCH_LIMIT_S,
                                                 is_stopped=state.stopping.is_set)
                result = MendingState.PROPOSED if report["changes"] else MendingState.NOTHING
            except PipelineError as error:
                result, report = MendingState.FAILED, {"reason": str(error)}
        if table is not None:
            report["rules"] = rules_of(table)
        if result is MendingState.PROPOSED and table is not None and table.mend == "auto" and not report["is_sure"]:
            report["not_applied"] = report["why_not_sure"]
        if state.stopping.is_set() and result is MendingState.FAILED:
            return  # the lease ends with this process, and the next start of the service searches again
        try:
            await asyncio.to_thread(mendings.finish, state.store, mending, result, report, owner=state.store.owner)
        except LeaseLostError:
            return
        logger.warning("%s run %d: %s", name, mending.run_id, line_of(result, report, name))
        if result is MendingState.PROPOSED and table is not None and table.mend == "auto" and "not_applied" not in report:
            await self._apply(mending, report, table)

    async def _apply(self, mending: StoredMending, report: dict[str, Json], searched: SpiderTable) -> None:
        """Write the new rules to the settings file, unless the table of the spider is not the one for which they were searched any more."""
        store = self._state.store
        if not await asyncio.to_thread(mendings.set_state, store, mending, MendingState.APPLYING, after=MendingState.PROPOSED):
            return
        try:
            copy = await asyncio.to_thread(write, self._state.settings.file, mending.spider, report["changes"], searched)
        except SettingsError as error:
            logger.error("the new rules of %s could not be written to the settings file: %s", mending.spider, error)  # noqa: TRY400
            await asyncio.to_thread(mendings.set_state, store, mending, MendingState.PROPOSED, after=MendingState.APPLYING)
            return
        if copy is None:
            report = {**report, "not_applied": CHANGED}
            await asyncio.to_thread(mendings.set_state, store, mending, MendingState.PROPOSED, after=MendingState.APPLYING, report=report)
            logger.warning("%s run %d: %s", mending.spider, mending.run_id, line_of(MendingState.PROPOSED, report, mending.spider))
            return
        await asyncio.to_thread(mendings.set_state, store, mending, MendingState.APPLIED, after=MendingState.APPLYING)
        logger.warning("the new rules of %s were written to the settings file (mend = \"auto\": %s); the file as it was is %s",
                       mending.spider, report["agreement_line"], copy)
        await self._reload()


def write(file: str | Path, spider: str, changes: dict[str, Json], searched: SpiderTable) -> Path | None:
    """Write changes to a settings file; return the path of the copy, or None if the spider's table differs from the searched one."""
    edit = SpiderEdit(file, spider, changes)  # read first: apply() refuses if the file changes after this line
    found = load(file).spiders.get(spider)
    return edit.apply() if found == searched else None


def rules_of(table: SpiderTable) -> str:
    """Return a text that differs if the settings of a spider differ."""
    return hashlib.sha256(table.model_dump_json(exclude_unset=True, fallback=repr).encode()).hexdigest()[:16]


def line_of(state: MendingState, report: dict[str, Json], name: str) -> str:
    """Return the result of a search as a sentence."""
    if state is MendingState.PROPOSED:
        why = f"; they were not written, although mend = \"auto\": {report['not_applied']}" if report.get("not_applied") else ""
        return f"new rules are proposed ({report['agreement_line']}); `pipeline mend {name}` shows them, and --apply writes them{why}"
    if state is MendingState.APPLIED:
        return f"new rules were applied ({report['agreement_line']})"
    return f"no new rules are proposed: {report.get('reason', '')}"
