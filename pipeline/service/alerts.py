"""Send alerts: mails and texts for channels about problems of spiders and digests.

One alert reports all problems that began or ended since the last mail.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Collection
from datetime import timedelta

from pipeline.errors import PipelineError
from pipeline.heartbeat.snapshot.spider_status import due_for_success
from pipeline.mail import alerts
from pipeline.service.state import ServiceState, utc_now
from pipeline.service.status import StatusSource
from pipeline.store.crawl import mendings
from pipeline.store.files.run_logs import run_log
from pipeline.store.mail.alerts import AlertCondition, AlertKind, alert_history, failures_and_success

CATCH_UP = timedelta(minutes=10)
"""For this long after the service has started, no new alert about a late spider is sent, because missed slots are being caught up."""
SEARCH = timedelta(minutes=3)
"""On a shared store, how long the alert that a run of another node is suspect waits for the search for new rules."""

logger = logging.getLogger("pipeline.service")


class AlertSender:
    """Puts alerts into the outbox.

    on_message: called after a message was put into the outbox. finishing: returns the ids of runs after which a search for new rules
    may not have ended; an alert that they are suspect waits.
    """

    def __init__(self, state: ServiceState, status: StatusSource, on_message: Callable[[], None], finishing: Callable[[], Collection[int]]) -> None:
        self._state = state
        self._status = status
        self._log_of = functools.partial(run_log, state.store)
        self._on_message = on_message
        self._finishing = finishing

    async def send(self) -> None:
        """Put an alert into the outbox if a problem began or ended.

        The setting `alerts.every` is the minimum time between two alerts. The service calls this method after each run, and also at
        intervals, because a spider that never runs becomes late, too.
        """
        state = self._state
        table = state.settings.alerts
        if not table.to and not table.notify:
            return
        try:
            late, finishing = await self._late(), frozenset(self._finishing())
            if state.store.shared:
                finishing |= await state.ask(mendings.requested_since, utc_now() - SEARCH)
            message = await asyncio.to_thread(alerts.check, state.store, state.settings, late=late, now=utc_now(),
                                              log_of=self._log_of, waiting=finishing) if late is not None else None
        except (PipelineError, OSError) as error:
            logger.error("the alerts could not be checked: %s", error)  # noqa: TRY400
            return
        if message is not None:
            told = [*table.to, *(secret.reference for secret in table.notify)]
            logger.warning("an alert to %s was put into the outbox as message %d", ", ".join(told), message)
            self._on_message()

    async def _late(self) -> list[AlertCondition] | None:
        """Return the spiders that the heartbeat reports as late; None if the store could not be read.

        Spiders whose last run failed are left out, because an alert about the failure reports them.
        """
        state = self._state
        found = await self._status.status()
        if not found["store"]["readable"]:
            return None
        known = {alert.spider for alert in (await state.ask(alert_history)).open if alert.kind is AlertKind.LATE}
        catching_up = utc_now() - state.started_at < CATCH_UP
        troubles = []
        for name, spider in found["spiders"].items():
            if spider["late"] and not spider["failures_in_a_row"] and (name in known or not catching_up):
                _, success = await state.ask(failures_and_success, name)
                due = due_for_success(name, success, state.started_at, None, self._status.due_after)
                troubles.append(AlertCondition(name, AlertKind.LATE, due or utc_now(), last_success=success))
        return troubles
