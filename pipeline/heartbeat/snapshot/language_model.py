"""The language model in the status snapshot: tokens and cost of the day, and the last failure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from pipeline.heartbeat.snapshot.schema import LanguageModelStatus
from pipeline.settings import Settings
from pipeline.store.ai import requests as stored
from pipeline.text import iso, quoted

_LATELY = timedelta(days=1)


def language_model_status(connection: Connection, settings: Settings, now: datetime, mask: Callable[[str], str]) -> LanguageModelStatus | None:
    """Return the state of the language model; None if the settings have none."""
    table = settings.ai
    if table is None:
        return None
    used = stored.usage(connection, stored.day_begins(now, settings.zone), stored.day_ends(now, settings.zone))
    failure = stored.last_failure(connection, now - _LATELY)
    return {
        "model": quoted(mask(table.model)), "host": table.host, "input_tokens": used.input_tokens, "output_tokens": used.output_tokens,
        "limit_tokens": table.max_tokens_per_day, "cost": round(table.cost(used.input_tokens, used.output_tokens), 6), "currency": table.currency,
        "requests": {state.value: used.by_state.get(state.value, 0) for state in stored.RequestState},
        "failing": failure is not None and not failure.succeeded_after, "last_error": quoted(mask(failure.error)) if failure is not None else "",
        "last_error_at": iso(failure.at, settings.zone) if failure is not None else None,
        "last_error_digest": failure.digest if failure is not None else "",
    }
