"""Describes schedules in words for `pipeline next`: "at 07:00 on Monday to Friday, in Asia/Tokyo"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import product

from pipeline.settings import Cron, Every, ScheduleTable, parse_when

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")
_TIMES_NAMED = 6
"""Maximum number of times of day that are listed one by one. More times are summarized by their minutes and hours."""


def in_words(table: ScheduleTable) -> str:
    """Return a schedule in words, including its options."""
    parts = [_when(table.when)]
    if table.timezone is not None:
        parts.append(f"in {table.timezone}")
    if table.jitter:
        parts.append(f"delayed by up to {duration(table.jitter)}")
    if table.from_ is not None:
        parts.append(f"from {table.from_}")
    if table.until is not None:
        parts.append(f"until {table.until}")
    if table.skip:
        parts.append(f"not on {_joined(table.skip, 'or')}")
    return ", ".join(parts)


def after_in_words(others: Sequence[str]) -> str:
    return f"after each pass of {_joined(others, 'or')} that succeeded"


def duration(seconds: float) -> str:
    """Return a duration in words, in its largest whole unit: "90 minutes", "2 hours", "1 day"."""
    for unit, size in (("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            return _counted(round(seconds / size), unit)
    return _counted(seconds, "second")


def _counted(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'' if number == 1 else 's'}"


def _when(text: str) -> str:
    when = parse_when(text)
    if isinstance(when, Every):
        return f"every {duration(when.seconds)}".replace("every 1 ", "every ")
    times = sorted({time for cron in when for time in product(cron.hours, cron.minutes)}) if len(when) > 1 else []
    hours = f"at {_joined([_clock(*time) for time in times])}" if times else _hours(when[0])
    days = _days(when[0])
    return f"{hours} {days}" if days else hours


def _hours(cron: Cron) -> str:
    minutes, hours = cron.minutes, cron.hours
    if not cron.fixed_hour:
        return _minutes_of_every_hour(minutes)
    if len(minutes) * len(hours) <= _TIMES_NAMED:
        return f"at {_joined([_clock(*time) for time in product(hours, minutes)])}"
    if len(minutes) == 1 and (step := _step(hours, 24)):
        return f"every {step} hours from {_clock(hours[0], minutes[0])}"
    return f"{_minutes_of_every_hour(minutes)}, in the hours {_ranges(hours, str)}"


def _minutes_of_every_hour(minutes: Sequence[int]) -> str:
    if len(minutes) == 60:
        return "every minute"
    if len(minutes) == 1:
        return "every hour" if minutes[0] == 0 else f"every hour at {_counted(minutes[0], 'minute')} past"
    if minutes[0] == 0 and (step := _step(minutes, 60)):
        return f"every {step} minutes"
    return f"every hour at {_ranges(minutes, str)} minutes past"


def _step(values: Sequence[int], whole: int) -> int:
    """Return the step between the values if the step is constant, otherwise 0.

    whole: the length of the cycle, 60 minutes or 24 hours. The step is constant only if the step from the last value to
    the first value of the next cycle is the same too.
    """
    step = whole // len(values)
    return step if len(values) > 1 and list(values) == list(range(values[0], whole, step)) and step * len(values) == whole else 0


def _days(cron: Cron) -> str:
    in_month = "" if len(cron.days) == 31 else f"on day {_ranges(sorted(cron.days), str)} of the month"
    in_week = "" if len(cron.weekdays) == 7 else f"on {_weekdays(cron.weekdays)}"
    months = "" if len(cron.months) == 12 else f"in {_ranges(sorted(cron.months), lambda month: MONTHS[month - 1])}"
    if cron.either_day and not (in_month and in_week):
        in_month = in_week = ""  # one of the two fields matches every day
    days = f" {'or' if cron.either_day else 'that is also'} ".join(part for part in (in_month, in_week) if part)
    found = f"{days} {months}".strip()
    return found or ("every day" if cron.fixed_hour else "")


def _weekdays(days: Collection[int]) -> str:
    monday_first = sorted(days, key=lambda day: (day - 1) % 7)
    return _ranges([(day - 1) % 7 for day in monday_first], lambda day: WEEKDAYS[(day + 1) % 7])


def _clock(hour: int, minute: int) -> str:
    return f"{hour:02}:{minute:02}"


def _ranges(values: Sequence[int], name: Callable[[int], str]) -> str:
    """Return ascending values in words; three or more consecutive values become a range."""
    parts: list[str] = []
    rest = list(values)
    while rest:
        length = 1
        while length < len(rest) and rest[length] == rest[0] + length:
            length += 1
        taken = length if length > 2 else 1
        parts.append(f"{name(rest[0])} to {name(rest[taken - 1])}" if taken > 1 else name(rest[0]))
        del rest[:taken]
    return _joined(parts)


def _joined(parts: Sequence[str], word: str = "and") -> str:
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}" if len(parts) > 1 else parts[0]
