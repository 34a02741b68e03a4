"""Which spiders must wait because of quiet hours, or because a host is paused."""

from __future__ import annotations

from datetime import datetime

from pipeline.settings import Settings, quiet_until
from pipeline.store import Store
from pipeline.store.runs import host_pauses


def held_spiders(store: Store, settings: Settings, now: datetime) -> dict[str, datetime]:
    """Return the spiders whose runs must not start now, and when each of them may start. Raises StoreError."""
    paused = host_pauses.paused_hosts(store, now=now)
    here = now.astimezone(settings.zone)
    held = {}
    for name, spider in settings.spiders.items():
        until = quiet_until(spider.quiet, here) or host_pauses.paused_until(spider, paused)
        if until is not None:
            held[name] = until
    return held
