"""Operations on spiders: run, pause and resume."""

from __future__ import annotations

from datetime import datetime

from pipeline.errors import UsageError
from pipeline.model import Run
from pipeline.settings import Settings, nearest
from pipeline.store import Store
from pipeline.store.runs import paused_spiders, runs
from pipeline.store.runs.paused_spiders import Pause

LONGEST_REASON = 300


def check_known(settings: Settings, name: str) -> None:
    """Raise UsageError for a spider that is not in the settings."""
    if name not in settings.spiders:
        raise UsageError(f"no spider named {name!r}{nearest(name, settings.spiders)}", where="settings.toml: spiders")


def run_now(store: Store, settings: Settings, name: str, *, now: datetime) -> Run:
    """Request a run of a spider; return the waiting run, or a skipped run with the reason in `error`.

    Raises UsageError if the spider is unknown, or if another process requested a run at the same moment.
    """
    check_known(settings, name)
    run = runs.claim_slot(store, name, f"manual {now.isoformat()} {store.owner}", due_at=now, reason="manual", now=now, overlap=settings.spiders[name].overlap)
    if run is None:
        raise UsageError("another process requested a run of this spider at the same moment", where=name, fix="try again")
    return run


def is_known(store: Store, settings: Settings, name: str) -> bool:
    """Return whether a spider is in the settings, or was once and has stored runs."""
    return name in settings.spiders or bool(runs.history(store, name, limit=1))


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
