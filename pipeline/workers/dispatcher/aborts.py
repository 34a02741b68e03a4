"""Tell the processes that perform runs at once that a person has asked to stop them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipeline.model import Run
from pipeline.store import Store
from pipeline.store.runs import jobs

logger = logging.getLogger(__name__)


def abort_jobs(store: Store, stopped: Sequence[Run]) -> None:
    """Abort the jobs of runs in progress. Without this, the process of a run finds the request within seconds.

    stopped: the runs as request_stop() has returned them. An error of procrastinate is only logged.
    """
    running = [run for run in stopped if run.running]
    with store.read() as connection:
        if not running or not jobs.has_tables(connection):
            return
    try:
        from procrastinate import App, SyncPsycopgConnector  # noqa: PLC0415  only several nodes need this package
        from procrastinate.exceptions import ProcrastinateException  # noqa: PLC0415
    except ImportError:
        return
    from pipeline.store.database.postgresql import driver_arguments  # noqa: PLC0415
    try:
        with App(connector=SyncPsycopgConnector(kwargs=driver_arguments(store.engine), min_size=1, max_size=1, timeout=10.0)).open() as app:
            for run in running:
                for job in app.job_manager.list_jobs(queueing_lock=jobs.run_lock(run.id), status="doing"):
                    if job.id is not None:
                        app.job_manager.cancel_job_by_id(job.id, abort=True)
    except ProcrastinateException as error:
        logger.warning("the process of a run could not be told of the stop at once; it finds the request within seconds: %s",
                       error.__cause__ or error)
