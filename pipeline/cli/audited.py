"""Writes an audit entry for what a person does with a command."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.store import Store


def note_action(store: Store, action: str, target: str, outcome: str = "done") -> None:
    """Write an audit entry under the name of the Unix user."""
    from pipeline.store.access import audit_log
    audit_log.write(store, audit_log.AuditEntry(datetime.now(UTC), _user(), "command line", action, target, outcome))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in /etc/passwd, as in some containers
        return "unknown user"
