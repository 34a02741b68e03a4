"""Writes an audit entry for what a person does with a command."""

from __future__ import annotations

import os
import pwd
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.store import Store


def note_action(store: Store, action: str, target: str, outcome: str = "done") -> None:
    """Write an audit entry under the name of the Unix user."""
    from pipeline.store.access import audit_log
    audit_log.write(store, audit_log.AuditEntry(datetime.now(UTC), user_name(), "command line", action, target, outcome))


def user_name() -> str:
    """Return the name of the Unix user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user without an entry in /etc/passwd, as in some containers
        return f"user {os.getuid()}"
