"""When runs may start: after the quiet hours of their spiders, and after the pauses of their hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from pipeline.model import Run
from pipeline.settings import Settings, quiet_until
from pipeline.store import Store
from pipeline.store.runs import host_pauses
from pipeline.store.runs.runs import CLOCK_SET_BACK


def held_spiders(store: Store, settings: Settings, now: datetime, names: Iterable[str] | None = None) -> dict[str, datetime]:
    """Return the spiders whose runs must not start now, and when each of them may start. Raises StoreError.

    names: only these spiders; None means all spiders of the settings.
    """
    paused = host_pauses.paused_hosts(store, now=now)
    here = now.astimezone(settings.zone)
    held = {}
    for name in settings.spiders if names is None else settings.spiders.keys() & set(names):
        spider = settings.spiders[name]
        until = quiet_until(spider.quiet, here) or host_pauses.paused_until(spider, paused)
        if until is not None:
            held[name] = until
    return held


def starts_at(run: Run, held: Mapping[str, datetime], now: datetime) -> datetime | None:
    """Return when a waiting run may start; None if it may start now. held: the result of held_spiders()."""
    later = [held[run.spider]] if run.spider in held else []
    if run.not_before is not None and run.created_at <= now + CLOCK_SET_BACK:
        later.append(run.not_before)
    at = max(later, default=now)
    return at if at > now else None
