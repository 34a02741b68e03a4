"""Quiet hours of a spider: spans such as "22:00-06:00", in the zone of the instants asked about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

_LONGEST = timedelta(days=30)


def quiet_until(spans: Sequence[str], now: datetime) -> datetime | None:
    """When the quiet hours end that `now` is within; None when it is not."""
    ends = [end for span in spans for begin, end in _around(span, now) if begin <= now < end]
    return max(ends, default=None)


def quiet_in_s(spans: Sequence[str], now: datetime) -> float | None:
    """Seconds until the next quiet hours begin; None without any."""
    begins = [begin for span in spans for begin, _ in _around(span, now) if begin > now]
    return min(((begin.astimezone(UTC) - now.astimezone(UTC)).total_seconds() for begin in begins), default=None)


def quiet_between(spans: Sequence[str], start: datetime, end: datetime) -> timedelta:
    """How much of the time from start to end was quiet; of the first month, if it is longer."""
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
    """Clocks of one zone that are set in between would make it an hour more or less."""
    return max(timedelta(), end.astimezone(UTC) - start.astimezone(UTC))


def _around(span: str, now: datetime) -> list[tuple[datetime, datetime]]:
    """The span as it lies around now: yesterday's, today's and tomorrow's."""
    first, last = (time.fromisoformat(text) for text in span.split("-"))
    found = []
    for offset in (-1, 0, 1):
        day = now.date() + timedelta(days=offset)
        end_day = day if last > first else day + timedelta(days=1)
        found.append((datetime.combine(day, first, now.tzinfo), datetime.combine(end_day, last, now.tzinfo)))
    return found
