"""Writes an audit entry for each action that a caller performs or is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

from aiohttp import web

from pipeline.errors import PipelineError
from pipeline.heartbeat.http.access.caller import Caller
from pipeline.store import Store
from pipeline.store.access import audit_log
from pipeline.store.access.audit_log import AuditEntry
from pipeline.text import escape_line

_log = logging.getLogger("pipeline.audit")
_LONGEST = 200


@dataclass(frozen=True)
class Audited:
    """What a handler says about its action. target, outcome: "" for what follows from the path of the form and from the response."""

    target: str = ""
    outcome: str = ""


AUDITED: web.RequestKey[Audited] = web.RequestKey("audited", Audited)
"""Set by a handler whose path or response does not say what it has done."""


class Audit:
    """The audit log of the requests of one server. mask: returns a text with the secrets of the settings masked."""

    def __init__(self, store: Store, clock: Callable[[], datetime], mask: Callable[[str], str]) -> None:
        self._store = store
        self._clock = clock
        self._mask = mask

    async def write(self, caller: Caller, action: str, target: str, outcome: str) -> None:
        """Log an action and store it. If the store cannot be written, the line in the service's log remains."""
        shown, ended = (self._mask(escape_line(text))[:_LONGEST] for text in (target, outcome))
        _log.info("%s (%s): %s %s: %s", caller.who, caller.origin, action, shown, ended)
        entry = AuditEntry(self._clock(), caller.who, caller.origin, action, shown, ended)
        try:
            await asyncio.to_thread(audit_log.write, self._store, entry)
        except PipelineError as error:
            _log.warning("the audit entry could not be stored: %s", error)


def action_and_target(path: str) -> tuple[str, str]:
    """Return the action and its target from the path of a form, such as ("pause", "spider books") from "/spiders/books/pause"."""
    kind, *names, action = [unquote(part) for part in path.strip("/").split("/")] if path.count("/") > 1 else ["", path.strip("/")]
    return action, " ".join(filter(None, (kind.removesuffix("s"), *names)))
