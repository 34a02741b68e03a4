"""Quiet hours such as "22:00-06:00": when they begin and end, in the time zone of a given instant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

_LONGEST = timedelta(days=30)


def quiet_until(spans: Sequence[str], now: datetime) -> datetime | None:
    """Return the end of the quiet hours if `now` is within them, otherwise None."""
    ends = [end for span in spans for begin, end in _around(span, now) if begin <= now < end]
    return max(ends, default=None)


def quiet_in_s(spans: Sequence[str], now: datetime) -> float | None:
    """Return the seconds until the next quiet hours begin; None if there are no quiet hours."""
    begins = [begin for span in spans for begin, _ in _around(span, now) if begin > now]
    return min(((begin.astimezone(UTC) - now.astimezone(UTC)).total_seconds() for begin in begins), default=None)


def quiet_between(spans: Sequence[str], start: datetime, end: datetime) -> timedelta:
    """Return how much of the time from `start` to `end` is within quiet hours.

    Only the first month after `start` is considered.
    """
    quiet = timedelta()
    at, end = start, min(end, start + _LONGEST)
    while spans and at < end:
        until = quiet_until(spans, at)
        if until is not None:
            quiet += _elapsed(at, min(until, end))
            at = until
        else:
            at = (at.astimezone(UTC) + timedelta(seconds=quiet_in_s(spans, at) or 60.0)).astimezone(start.tzinfo)
    return quiet


def _elapsed(start: datetime, end: datetime) -> timedelta:
    """Return the elapsed time between two instants.

    Subtracting the local times would give a result that is an hour off if a clock change lies between them.
    """
    return max(timedelta(), end.astimezone(UTC) - start.astimezone(UTC))


def _around(span: str, now: datetime) -> list[tuple[datetime, datetime]]:
    """Return the begin and the end of the quiet hours on three days.

    These are the day before `now`, the day of `now`, and the day after.
    """
    first, last = (time.fromisoformat(text) for text in span.split("-"))
    found = []
    for offset in (-1, 0, 1):
        day = now.date() + timedelta(days=offset)
        end_day = day if last > first else day + timedelta(days=1)
        found.append((datetime.combine(day, first, now.tzinfo), datetime.combine(end_day, last, now.tzinfo)))
    return found
