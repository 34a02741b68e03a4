"""The schedules of settings.toml: five cron fields as crontab(5) has them, or "every 30m"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic_core import PydanticCustomError

from pipeline.errors import Problem
from pipeline.settings.values import duration_s

_EVERY = re.compile(r"every\s+(.+)")


def every_s(schedule: str) -> float | None:
    """Seconds between the slots of "every 30m"; None when the schedule is no such thing."""
    match = _EVERY.fullmatch(schedule.strip())
    if not match:
        return None
    try:
        value = duration_s(match[1].strip())
    except PydanticCustomError:
        return None
    return float(value) if isinstance(value, (int, float)) else None


_CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_CRON_NAMES = ((), (), (), ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
               ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))


def schedule_problem(key: str, schedule: object) -> Iterator[Problem]:
    """What is wrong with a schedule, if anything; `key` is where it stands."""
    if schedule is None or not isinstance(schedule, str):
        return
    seconds = every_s(schedule)
    if seconds is not None:
        if seconds < 1:
            yield Problem(key, f"{schedule!r} is less than a second apart")
        return
    try:
        parse_cron(schedule)
    except ValueError as error:
        yield Problem(key, f"{error}; write cron such as \"0 7 * * *\", or \"every 30m\"")


def parse_cron(schedule: str) -> tuple[frozenset[int], ...]:
    """The five fields of crontab(5) as the values they allow; Sunday is 0. Raises ValueError saying which is off."""
    fields = schedule.split()
    if len(fields) != 5:
        raise ValueError(f"{schedule!r} is no schedule ({len(fields)} fields, not five)")
    parsed = []
    labels = ("minute", "hour", "day of month", "month", "day of week")
    for text, (low, high), names, label in zip(fields, _CRON_RANGES, _CRON_NAMES, labels, strict=True):
        values: set[int] = set()
        for part in text.lower().split(","):
            match = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?", part)
            if not match:
                raise ValueError(f"{label} {text!r} is not understood")
            first, last, step = match.groups()
            if first == "*":
                start, end = low, high
            else:
                start = _cron_value(first, names, low, high, label)
                end = _cron_value(last, names, low, high, label) if last else (high if step else start)
            if start > end or step == "0":
                raise ValueError(f"{label} {text!r} is empty")
            values.update(range(start, end + 1, int(step or 1)))
        parsed.append(frozenset(v % 7 for v in values) if label == "day of week" else frozenset(values))
    return tuple(parsed)


def _cron_value(text: str, names: tuple[str, ...], low: int, high: int, label: str) -> int:
    if text in names:
        return names.index(text) + low
    if not text.isdigit() or not low <= int(text) <= high:
        raise ValueError(f"{label} {text!r} is not in {low}-{high}")
    return int(text)
