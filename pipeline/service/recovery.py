"""Recovery: check the store after an unclean stop, and resume interrupted runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from datetime import timedelta

from pipeline.errors import PipelineError, StoreError
from pipeline.run_log import remove_page_files
from pipeline.service.state import ServiceState, about, utc_now
from pipeline.store import Store
from pipeline.store.files.scratch import remove_left_scratch
from pipeline.store.health.status_queries import running
from pipeline.store.runs import leases, runs

RETRY_S = 1.0
UNKNOWN_FOR = timedelta(minutes=10)
"""On a shared store, a run whose spider is not in the settings of the leader waits for this long for a node that has newer settings."""

logger = logging.getLogger("pipeline.service")


def check_store(store: Store, *, unclean: bool) -> None:
    """Check the database for damage, and delete incomplete files and browser profiles after an unclean stop. Raises StoreError.

    unclean: whether the service was not stopped cleanly last time.
    A database that several services share is checked at each start, because it is unknown whether the other services stopped
    cleanly; the check takes milliseconds.
    """
    began = utc_now()
    faults = store.check()
    if faults:
        raise StoreError(f"the database is damaged: {faults[0]}", where=store.where,
                         fix="restore a backup (`pipeline restore FILE --replace`)")
    if store.shared:  # the service does not know whether it was stopped cleanly
        with store.read() as connection:
            found = running(connection)
        remove_page_files(store.data_dir, keep=[run.id for run in found if leases.owner_is_alive(run.lease_owner, store.owner)])
        remove_left_scratch(store)
        if store.files.is_remote:  # the files in data_dir are this node's
            store.files.sweep()
    if (store.data_dir / "cache" / "browsers").exists():  # of a browser that was started here before
        from pipeline.session.browser.process.profile import FOLDER, delete_left_profiles  # noqa: PLC0415  loads everything that sessions need
        delete_left_profiles(store.data_dir / FOLDER)
    if not unclean:
        return
    swept = store.files.sweep() + remove_page_files(store.data_dir)
    logger.info("the service was not stopped cleanly last time; the database is not damaged (checked in %.1f s)%s", (utc_now() - began).total_seconds(),
                f"; {swept} incomplete files were deleted" if swept else "")


class Recovery:
    """Resumes interrupted runs.

    performing: a function that returns the ids of the runs that this service is performing. These runs are not interrupted.
    """

    def __init__(self, state: ServiceState, performing: Callable[[], Collection[int]]) -> None:
        self._state = state
        self._performing = performing

    async def at_start(self) -> None:
        """Resume all interrupted runs.

        If the store cannot be written, for example because the disk is full, retry until it can be written.
        """
        while not self._state.stopping.is_set():
            try:
                await asyncio.to_thread(self._take_up, quiet_only=False)
            except PipelineError as error:
                if not error.retry:
                    raise
                logger.error("interrupted runs could not be resumed: %s", error)  # noqa: TRY400
            else:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._state.stopping.wait(), RETRY_S)

    async def again(self) -> None:
        """Resume runs whose process no longer exists, or that were stopped for quiet hours or a paused host.

        A run that was stopped for quiet hours or a paused host starts when the quiet hours, or the pause of the host, have ended.
        """
        try:
            await asyncio.to_thread(self._take_up, quiet_only=True)
        except PipelineError as error:
            logger.error("interrupted runs could not be resumed: %s", error)  # noqa: TRY400
        self._state.wake_dispatcher()

    def _take_up(self, *, quiet_only: bool) -> None:
        """Resume runs whose process no longer exists, and runs that were stopped.

        quiet_only: if True, resume a stopped run only if it was stopped because of quiet hours or because a host was paused.
        """
        now, store = utc_now(), self._state.store
        if store.shared:
            for run in runs.end_unknown(store, self._state.settings.spiders, owner=store.owner, now=now, wait=UNKNOWN_FOR):
                logger.error("%s run %d was ended: %s", run.spider, run.id, run.error, extra=about(run))
        for run in runs.abandon_expired(store, now=now, performing=frozenset(self._performing())):
            logger.warning("%s run %d was abandoned: the process of the run no longer exists", run.spider, run.id, extra=about(run))
        how = "the quiet hours or the pause of a host have ended" if quiet_only else "the last run was stopped"
        for run in runs.resume_stopped(store, now=now, quiet_only=quiet_only):
            logger.info("%s run %d will continue an unfinished pass, because %s", run.spider, run.id, how, extra=about(run))
