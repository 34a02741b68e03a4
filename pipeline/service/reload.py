"""Reload the settings on SIGHUP, and report a settings file with errors in the status of the service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pipeline.errors import SettingsError, UsageError
from pipeline.service.settings_source import SettingsSource
from pipeline.service.state import ServiceState
from pipeline.settings import Settings
from pipeline.settings.files import version_of
from pipeline.settings.in_effect import changed_keys
from pipeline.settings.restart import ReloadReport, keep_until_restart

_MOST_NAMED = 5

logger = logging.getLogger("pipeline.service")


class Reloader:
    """Reloads the settings.

    on_reload: called with the new settings before any part of the service uses them. source: where they come from; None means the file
    of the current settings.
    """

    def __init__(self, state: ServiceState, on_reload: Callable[[Settings], None], source: SettingsSource | None = None) -> None:
        self._state = state
        self._on_reload = on_reload
        self._source = source or SettingsSource(state.settings.file)
        self._lock = asyncio.Lock()
        self._checked = version_of(state.settings.file)
        self._is_late = False
        """Whether the last reload failed because the URL of the settings could not be read."""

    @property
    def url(self) -> str | None:
        """The URL from which the settings come; None if they come from a file of this machine."""
        return self._source.url

    async def reload(self) -> ReloadReport:
        """Replace the settings, or log and report why they were not replaced.

        Changes that need a restart of the service are logged and wait for the restart; all other changes are applied.
        """
        async with self._lock:
            self._checked = version_of(self._state.settings.file)
            self._is_late = False
            try:
                fresh = await asyncio.to_thread(self._source.load)
                fresh, waiting = keep_until_restart(self._state.settings, fresh)
            except SettingsError as error:
                self._state.settings_error = f"not reloaded, because of {_named(error)}"
                logger.error("the settings were not reloaded, because the file has problems:\n%s", error)  # noqa: TRY400
                return ReloadReport(problems=tuple(error.lines()))
            except UsageError as error:
                self._is_late = True
                self._state.settings_error = "not reloaded, because the URL of the settings cannot be read"
                logger.error("the settings were not reloaded: %s", error)  # noqa: TRY400
                return ReloadReport(problems=(str(error),))
            changed = changed_keys(self._state.settings, fresh)
            self._on_reload(fresh)
            self._state.settings = fresh
            self._state.settings_error = ""
            self._state.waiting_for_restart = waiting
        logger.info("the settings were reloaded from %s", fresh.file)
        if waiting:
            logger.warning("a restart of the service is needed to apply the changes of %s", ", ".join(waiting))
        self._state.wake()
        return ReloadReport(tuple(changed), tuple(waiting))

    async def check(self) -> None:
        """If a settings file has changed, check that the service could load it.

        An error in the file is thus known before a restart. Settings from a URL are reloaded when they have changed.
        """
        if self._source.url is not None:
            await self._reload_if_fetched()
            return
        async with self._lock:
            version = version_of(self._state.settings.file)
            if version == self._checked:
                return
            self._checked = version
            try:
                keep_until_restart(self._state.settings, await asyncio.to_thread(self._source.load))
            except SettingsError as error:
                self._state.settings_error = f"has changed and cannot be used, because of {_named(error)}"
                logger.error("the settings file has errors; the service still uses the earlier settings:\n%s", error)  # noqa: TRY400
            else:
                self._state.settings_error = ""

    async def _reload_if_fetched(self) -> None:
        try:
            has_changed = await asyncio.to_thread(self._source.fetch)
        except UsageError as error:
            logger.warning("%s", error)
            return
        if has_changed or self._is_late:
            await self.reload()


def _named(error: SettingsError) -> str:
    """Return the keys with problems, without their values: the status is no place for a secret that somebody may have typed there."""
    keys = ", ".join(dict.fromkeys(problem.key or problem.file or "the file itself" for problem in error.problems[:_MOST_NAMED]))
    more = ", …" if len(error.problems) > _MOST_NAMED else ""
    return f"problems with {keys}{more}; the log and `pipeline check` describe them"
