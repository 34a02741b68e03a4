"""Reload the settings on SIGHUP, all or none; a change that requires a restart is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pipeline.errors import SettingsError
from pipeline.service.state import ServiceState
from pipeline.settings import Settings, load
from pipeline.settings.restart import refuse_what_takes_a_restart

logger = logging.getLogger("pipeline.service")


class Reloader:
    """Reloads the settings.

    on_reload: called with the new settings before any part of the service uses them.
    """

    def __init__(self, state: ServiceState, on_reload: Callable[[Settings], None]) -> None:
        self._state = state
        self._on_reload = on_reload
        self._lock = asyncio.Lock()

    async def reload(self) -> None:
        """Replace all settings, or log why they were not replaced."""
        async with self._lock:
            try:
                fresh = await asyncio.to_thread(load, self._state.settings.file)
                refuse_what_takes_a_restart(self._state.settings, fresh)
            except SettingsError as error:
                logger.error("the settings were not reloaded, because the file has problems:\n%s", error)  # noqa: TRY400
                return
            self._on_reload(fresh)
            self._state.settings = fresh
        logger.info("the settings were reloaded from %s", fresh.file)
        self._state.wake()
