"""Ends the process of a run whose lease can no longer be renewed, before another node takes the run."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

from pipeline.store.runs.leases import TTL

FENCED = 75
"""The exit code of a process that has ended because it could not renew the lease of its run (EX_TEMPFAIL in sysexits.h)."""
UNSTORED = 74
"""The exit code of a process that could not store its result, because the database failed (EX_IOERR in sysexits.h)."""
LIMIT_S = TTL.total_seconds() - 3
"""How long after the last renewal the process ends. Three seconds later, the lease expires."""
CHECK_EVERY_S = 0.25
LEAST_ATTEMPT_S = 2.0
"""A process that was suspended first tries to renew the lease for this long: its parent may have renewed the lease meanwhile."""

logger = logging.getLogger(__name__)


class LeaseFence:
    """Watches the renewals of a lease.

    A process that is cut off from the database cannot learn that another node has taken its run. Therefore it must stop on its own before
    the lease expires: otherwise two runs of one spider would send requests at the same time.
    on_loss: called in the thread of the fence when the process must end; by default, the process exits at once with the code FENCED.
    """

    def __init__(self, on_loss: Callable[[], object] = lambda: os._exit(FENCED), now_s: Callable[[], float] = time.monotonic) -> None:
        self._on_loss = on_loss
        self._now_s = now_s
        self._renewed_s = now_s()
        self._failing_since_s: float | None = None

    @contextlib.contextmanager
    def renewal(self) -> Iterator[None]:
        """Surround one attempt to renew the lease. The attempt has succeeded unless it raises an exception."""
        began_s = self._now_s()
        if self._failing_since_s is None:
            self._failing_since_s = began_s
        yield
        self._renewed_s, self._failing_since_s = began_s, None

    def watch(self, ended: threading.Event) -> None:
        """Watch the renewals in a thread until `ended` is set."""
        threading.Thread(target=self._watch, args=(ended,), name="lease", daemon=True).start()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(CHECK_EVERY_S):
            if self.is_lost():
                logger.error("the lease of the run could not be renewed for %.0f s: this process ends, because another node may take the run", LIMIT_S)
                self._on_loss()
                return

    def is_lost(self) -> bool:
        """Return whether the process must end."""
        since_s, now_s = self._failing_since_s, self._now_s()
        return since_s is not None and now_s - since_s >= LEAST_ATTEMPT_S and now_s - self._renewed_s >= LIMIT_S
