"""Reads the data for the pages that need the token, and performs the actions of their buttons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.errors import UsageError
from pipeline.heartbeat.http.operations.mending import proposed_rules
from pipeline.heartbeat.http.operations.runs import log_tail
from pipeline.heartbeat.http.operations.service_actions import ServiceActions
from pipeline.heartbeat.http.stored_files import OfferedFile, stored_file
from pipeline.model import Change, Run
from pipeline.settings import Settings
from pipeline.settings.in_effect import Value, values_in_effect
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.crawl.rule_counts import RuleRow, rows_of_pass
from pipeline.store.health import recent_rows
from pipeline.store.runs import paused_spiders, runs

HISTORY = 50


@dataclass(frozen=True)
class SpiderPage:
    name: str
    history: list[Run]
    changes: list[Change]
    downloads: list[recent_rows.DownloadRow]
    rules: list[RuleRow]
    log: str
    new_rules: list[str]
    """The rules that are proposed for the spider, as lines; [] if there are none."""
    new_rules_note: str


class AdminActions:
    """Reads data and performs actions for the pages that need the token.

    settings: function that returns the current settings, which change when the settings file is reloaded. clock: function
    that returns the current time. on_run: called after a run was requested. on_plan: called after a spider was paused or
    resumed. on_mail: called after a person requested another delivery of a message. on_stop: called in a thread with the runs that a
    person has asked to stop.
    """

    service: ServiceActions | None = None
    """What needs the running service; None if this process has no such parts."""

    def __init__(self, store: Store, settings: Callable[[], Settings], clock: Callable[[], datetime], *,
                 on_run: Callable[[], None] = lambda: None, on_plan: Callable[[], None] = lambda: None,
                 on_mail: Callable[[], None] = lambda: None, on_stop: Callable[[Sequence[Run]], None] = lambda found: None) -> None:
        self.store = self._store = store
        self._settings = settings
        self.clock = self._clock = clock
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

    # Reading

    def spider(self, name: str) -> SpiderPage | None:
        """Return the content of a spider's page; None if neither settings nor store contain the spider."""
        history = runs.history(self._store, name, limit=HISTORY)
        if name not in self._settings().spiders and not history:
            return None
        began = next((run for run in history if run.started_at is not None), None)
        return SpiderPage(name, history, recent_rows.changes_of_spider(self._store, name),
                          recent_rows.downloads_of(self._store, name),
                          rows_of_pass(self._store, name, began.pass_id) if began else [], log_tail(self._store, self.mask, began.id) if began else "",
                          *proposed_rules(self._store, self.mask, name, history))


    def stored_file(self, key: str) -> OfferedFile | None:
        """Return a stored file that the pages offer; None if there is no such file. Raises StoreError."""
        return stored_file(self._store, key)

    def settings_in_effect(self) -> list[Value]:
        """Return the keys of the settings files with their values and files, and the defaults. Raises SettingsError."""
        return values_in_effect(self._settings())

    # Acting

    def run_now(self, name: str) -> Run:
        """Request a run of a spider; return the waiting run, or a skipped run with the reason in `error`.

        Raises UsageError if the spider is unknown, or if another process requested a run at the same moment.
        """
        self._check_known(name)
        now = self._clock()
        run = runs.claim_slot(self._store, name, f"manual {now.isoformat()} {self._store.owner}", due_at=now,
                              reason="manual", now=now, overlap=self._settings().spiders[name].overlap)
        if run is None:
            raise UsageError("another process requested a run of this spider at the same moment", where=name, fix="try again")
        return run

    def pause(self, name: str) -> None:
        """Pause a spider. Raises UsageError for a spider that is not in the settings."""
        self._check_known(name)
        paused_spiders.pause(self._store, name, now=self._clock())

    def resume(self, name: str) -> None:
        """Resume a paused spider. Raises UsageError for a spider that is not in the settings."""
        self._check_known(name)
        paused_spiders.resume(self._store, name)

    def _check_known(self, name: str) -> None:
        if name not in self._settings().spiders:
            raise UsageError(f"no spider named {name!r}", where="settings.toml: spiders")


