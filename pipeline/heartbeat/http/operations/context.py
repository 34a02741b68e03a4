"""What operations of the pages and the API need: store, settings, clock, and whom to wake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from pipeline.heartbeat.http.operations.service_actions import ServiceActions
from pipeline.model import Run
from pipeline.settings import Settings
from pipeline.settings.masking import Mask
from pipeline.store import Store


class OperationsContext:
    """What the operations of one server need: the store, the current settings, and what is called after them.

    settings: returns the current settings, which change when the settings file is reloaded. clock: returns the current time. on_run: called
    after a run was requested. on_plan: called after a spider was paused or resumed. on_mail: called after a person requested another
    delivery of a message. on_stop: called in a thread with the runs that a person has asked to stop.
    """

    service: ServiceActions | None = None
    """What needs the running service; None if this process has no such parts."""

    def __init__(self, store: Store, settings: Callable[[], Settings], clock: Callable[[], datetime], *,
                 on_run: Callable[[], None] = lambda: None, on_plan: Callable[[], None] = lambda: None,
                 on_mail: Callable[[], None] = lambda: None, on_stop: Callable[[Sequence[Run]], None] = lambda found: None) -> None:
        self.store = store
        self._settings = settings
        self.clock = clock
        self.on_run = on_run
        self.on_plan = on_plan
        self.on_mail = on_mail
        self.on_stop = on_stop
        self._mask: tuple[Settings, Mask] | None = None

    @property
    def settings(self) -> Settings:
        return self._settings()

    @property
    def mask(self) -> Mask:
        settings = self._settings()
        if self._mask is None or self._mask[0] is not settings:
            self._mask = (settings, Mask.of(settings))
        return self._mask[1]

    def masked(self, text: str) -> str:
        """Return the text with the secrets of the current settings masked."""
        return self.mask(text)
