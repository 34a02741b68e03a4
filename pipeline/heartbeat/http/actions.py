"""Reads the data for the pages that need the token, and performs the actions of their buttons."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email import message_from_binary_file, policy
from email.message import EmailMessage
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline import proposal
from pipeline.errors import UsageError
from pipeline.heartbeat.http.operations.runs import log_tail
from pipeline.heartbeat.http.operations.service_actions import ServiceActions
from pipeline.heartbeat.http.stored_files import OfferedFile, stored_file
from pipeline.model import Change, Message, MessageState, Outcome, RecipientResult, Run
from pipeline.settings import Settings
from pipeline.settings.in_effect import Value, values_in_effect
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.crawl import mendings
from pipeline.store.crawl.mendings import MendingState
from pipeline.store.crawl.rule_counts import RuleRow, rows_of_pass
from pipeline.store.health import recent_rows
from pipeline.store.mail import outbox, refused_addresses
from pipeline.store.runs import paused_spiders, runs
from pipeline.text import escape_line

BODY_BYTES = 4 * 2**20
"""Maximum number of bytes shown of a message's body."""
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


@dataclass(frozen=True)
class MessagePage:
    """The content of the page of one message.

    deliveries: the time, the attempt number and the error of each delivery attempt.
    """

    message: Message
    recipients: list[RecipientResult]
    deliveries: list[tuple[datetime, int, str]]


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
                          *self._mending(name, history))

    def _mending(self, name: str, history: list[Run]) -> tuple[list[str], str]:
        """Return the lines of the new rules for a spider, and a sentence about them; ([], "") if its last success is not suspect."""
        last = next((run for run in history if run.outcome is Outcome.SUCCEEDED), None)
        found = mendings.of_spider(self._store, name) if last is not None and last.suspect else None
        if found is None or last is None or found.pass_id != last.pass_id or found.state is MendingState.WAITING:
            return [], ""
        rules = [self.mask(line) for line in proposal.lines(found.report)]
        if not rules:
            return [], self.mask(escape_line(f"No new rules were found: {found.report.get('reason', '')}"))
        done = "These rules were written to the settings file" if found.state is MendingState.APPLIED else \
            f"`pipeline mend {name} --apply` writes these rules to the settings file"
        return rules, f"{done} ({found.report['agreement_line']})."

    def waiting(self) -> list[recent_rows.MessageRow]:
        return recent_rows.messages_in(self._store, (MessageState.WAITING, MessageState.PARKED))

    def sent(self) -> list[recent_rows.MessageRow]:
        return recent_rows.messages_in(self._store, (MessageState.SENT,))

    def refused(self) -> list[refused_addresses.RefusedAddress]:
        return refused_addresses.refused_addresses(self._store)[1]

    def message(self, number: int) -> MessagePage | None:
        found = outbox.get(self._store, number)
        return None if found is None else MessagePage(*found)

    def body(self, number: int) -> tuple[str, str] | None:
        """Return the body of a message as it was sent, and its media type: text/html or text/plain.

        Secrets in the body are masked. Returns None if there is no message with this number, or if its file was deleted.
        """
        found = outbox.get(self._store, number)
        if found is None:
            return None
        key = found[0].file_key
        html = str(PurePosixPath(key).with_suffix(".html"))
        with suppress(FileNotFoundError), self._store.files.quick.local(html).open("rb") as file:
            return self.mask(file.read(BODY_BYTES).decode("utf-8", "replace")), "text/html"
        try:
            shown = _body_of(self._store.files.quick.local(key)) if key else None
        except FileNotFoundError:
            shown = None
        return (self.mask(shown[0]), shown[1]) if shown is not None else None

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

    def retry(self, number: int) -> None:
        """Request another delivery of a message. Raises UsageError if the message is not waiting or parked."""
        if not outbox.retry(self._store, number, now=self._clock()):
            raise UsageError(f"message {number} cannot be retried: the message was sent or dropped, or does not exist", where="outbox")

    def mark_seen(self, number: int) -> None:
        """Mark the addresses for which a message was refused as seen. Raises UsageError if there are none."""
        if not refused_addresses.mark_seen(self._store, now=self._clock(), message_id=number):
            raise UsageError(f"no address was refused for message {number}, or somebody has marked it as seen", where="outbox")

    def _check_known(self, name: str) -> None:
        if name not in self._settings().spiders:
            raise UsageError(f"no spider named {name!r}", where="settings.toml: spiders")


def _text_of(text: Mapping[str, Any]) -> str:
    """Return the text of a message for a notification channel, as a channel without limits shows it."""
    return "\n".join(filter(None, (text["subject"], *text["lines"], text["more"][-1], text["link"])))


def _body_of(path: Path) -> tuple[str, str] | None:
    """Return the body of a message file and its media type; None if the file is too large or has no text.

    A large message file need not be parsed, because the HTML of such a message is also stored in a separate file.
    """
    if path.stat().st_size > 8 * BODY_BYTES:
        return None
    if path.suffix == ".json":
        return _text_of(json.loads(path.read_bytes())), "text/plain"
    with path.open("rb") as file:
        message = message_from_binary_file(file, policy=policy.default)
    assert isinstance(message, EmailMessage)
    part = message.get_body(("html", "plain"))
    return (part.get_content()[:BODY_BYTES], part.get_content_type()) if part is not None else None
