"""Operations on spiders: pause and resume."""

from __future__ import annotations

from datetime import datetime

from pipeline.errors import UsageError
from pipeline.settings import Settings, nearest
from pipeline.store import Store
from pipeline.store.runs import paused_spiders
from pipeline.store.runs.paused_spiders import Pause

LONGEST_REASON = 300


def check_known(settings: Settings, name: str) -> None:
    """Raise UsageError for a spider that is not in the settings."""
    if name not in settings.spiders:
        raise UsageError(f"no spider named {name!r}{nearest(name, settings.spiders)}", where="settings.toml: spiders")


def pause(store: Store, settings: Settings, name: str, *, until: datetime | None, reason: str, now: datetime) -> Pause:
    """Pause a spider. until: when the pause ends by itself; None means when the spider is resumed. Raises UsageError."""
    check_known(settings, name)
    if until is not None and until <= now:
        raise UsageError("the pause would end in the past", where="until", fix="give a time that is yet to come")
    paused_spiders.pause(store, name, now=now, until=until, reason=" ".join(reason.split())[:LONGEST_REASON])
    return current_pause(store, name, now=now) or Pause(now, until, reason)


def current_pause(store: Store, name: str, *, now: datetime) -> Pause | None:
    """Return the pause of a spider; None if it is not paused."""
    with store.read() as connection:
        return paused_spiders.pauses(connection, now=now).get(name)


def resume(store: Store, name: str) -> bool:
    """End the pause of a spider, also of one that is no longer in the settings. Return whether it was paused."""
    return paused_spiders.resume(store, name)
