"""Schedules in settings.toml: cron as in crontab(5), "every 30m", "daily at 07:00".

A schedule is a text, or a table. In a table, the key `when` contains the text, and other keys contain options: the time zone,
the jitter, days to skip, the first and the last day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import Duration, Table, ZoneName, duration_s
from pipeline.settings.fields.schedule_hint import suggestions

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS = (("minute", 0, 59, ()), ("hour", 0, 23, ()), ("day of month", 1, 31, ()), ("month", 1, 12, MONTHS),
           ("day of week", 0, 7, WEEKDAYS))
_NICKNAMES = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
              "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_AT = re.compile(r"([\w,\s-]+?)\s+at\s+(.+)")
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_TEN_YEARS_S = 3653 * 86400
EXAMPLES = '"0 7 * * *", "every 30m" or "daily at 07:00"'


@dataclass(frozen=True)
class Cron:
    """The values that the five fields of crontab(5) allow; Sunday is 0.

    either_day: whether both day fields are restricted. A day then needs to match only one of the two fields.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @property
    def fixed_hour(self) -> bool:
        """Whether slots follow the wall clock at clock changes.

        If the cron expression allows every hour, its slots follow elapsed time instead.
        """
        return len(self.hours) < 24

    def has_day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.either_day else in_month and in_week


@dataclass(frozen=True)
class Every:
    """A schedule that is due at a fixed interval. seconds: the interval."""

    seconds: float


When = Every | tuple[Cron, ...]
"""When a schedule is due: at an interval, or whenever one of its cron expressions is due.

"daily at 07:00 and 19:30", for example, has two cron expressions.
"""


def parse_when(text: str) -> When:
    """Parse the text of a schedule. Raises ValueError with a message that says what is wrong."""
    words = " ".join(text.lower().split())
    if words.startswith("every "):
        return Every(_every_s(words.removeprefix("every ")))
    if match := _AT.fullmatch(words):
        return tuple(_at_times(match[1], match[2]))
    return (parse_cron(_NICKNAMES.get(words, words)),)


def nearest_schedule(text: str) -> str | None:
    """Return the schedule that a text which is not a schedule probably means, such as "@hourly" for "hourly"; None if unknown."""
    return next((meant for meant in suggestions(text) if _is_schedule(meant)), None)


def _is_schedule(text: str) -> bool:
    try:
        parse_when(text)
    except ValueError:
        return False
    return True


def _every_s(text: str) -> float:
    try:
        seconds = duration_s(text)
    except PydanticCustomError as error:
        raise ValueError(error.message()) from error
    assert isinstance(seconds, (int, float))
    if not 1 <= seconds <= _TEN_YEARS_S:
        raise ValueError(f"the interval {text!r} is not between one second and ten years")
    return float(seconds)


def _at_times(days: str, times: str) -> Iterator[Cron]:
    """Yield one Cron for each time of day in `times`.

    days: "daily", "weekdays", "weekends" or names of days.
    """
    named = {"daily": "*", "weekdays": "mon-fri", "weekends": "sat,sun"}.get(days)
    weekdays = named or re.sub(r"\s*(?:,|\band\b)\s*", ",", days)
    for text in re.split(r"\s*(?:,|\band\b)\s*", times):
        match = _TIME.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is not a time of day such as 07:00")
        yield parse_cron(f"{int(match[2])} {int(match[1])} * * {weekdays}")


def parse_cron(schedule: str) -> Cron:
    """Parse the five fields of crontab(5). Raises ValueError with a message that names the invalid field."""
    fields = schedule.lower().split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{schedule!r} is not a schedule: a cron expression has 5 fields, this text has {len(fields)}")
    minutes, hours, days, months, weekdays = (
        _allowed(text, *field) for text, field in zip(fields, _FIELDS, strict=True))
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    if not either and all(min(days) > _LONGEST_MONTHS[month - 1] for month in months):
        raise ValueError(f"no day matches {schedule!r}: the day does not exist in these months")
    return Cron(tuple(sorted(minutes)), tuple(sorted(hours)), days, months, frozenset(day % 7 for day in weekdays), either)


def _allowed(text: str, label: str, low: int, high: int, names: tuple[str, ...]) -> frozenset[int]:
    if text == "*":
        return frozenset(range(low, high + 1))
    values: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?", part)
        if not match or (match[1] == "*" and match[2]):
            raise ValueError(f"{text!r} is not a valid {label}")
        first, last, step = match.groups()
        if first == "*":
            start, end = low, high
        else:
            start = _value(first, names, low, high, label)
            end = _value(last, names, low, high, label) if last else (high if step else start)
        if label == "day of week" and start > end:
            end += 7  # sat-mon: the range continues in the next week
        if start > end or (step is not None and int(step) == 0):
            raise ValueError(f"no {label} matches {text!r}: the range ends before it begins, or the step is 0")
        values.update(range(start, end + 1, int(step or 1)))
    return frozenset(values)


def _value(text: str, names: tuple[str, ...], low: int, high: int, label: str) -> int:
    if text in names:
        return names.index(text) + low
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise ValueError(f"the {label} {text!r} is not between {low} and {high}")
    return int(text)


_DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_YEARLY = re.compile(r"(\d\d)-(\d\d)")


@dataclass(frozen=True)
class Days:
    """Days on which a schedule has no slots.

    weekdays: days of the week (Sunday is 0). yearly: days of every year as (month, day). spans: ranges of dates as (first, last).
    """

    weekdays: frozenset[int] = frozenset()
    yearly: frozenset[tuple[int, int]] = frozenset()
    spans: tuple[tuple[date, date], ...] = ()

    def __contains__(self, day: date) -> bool:
        return (day.isoweekday() % 7 in self.weekdays or (day.month, day.day) in self.yearly
                or any(first <= day <= last for first, last in self.spans))

    def __bool__(self) -> bool:
        return bool(self.weekdays or self.yearly or self.spans)


def parse_days(entries: Iterable[str]) -> Days:
    """Parse the days in a `skip` setting or in a calendar. Raises ValueError for an invalid entry.

    Entries are "sun", "sat-sun", "2026-12-24", "2026-12-24..2027-01-02", or "12-25" for a day of every year.
    """
    weekdays: set[int] = set()
    yearly: set[tuple[int, int]] = set()
    spans = []
    for entry in entries:
        text = entry.strip().lower()
        first, dots, last = (part.strip() for part in text.partition(".."))
        if _DAY.fullmatch(first) and (not dots or _DAY.fullmatch(last)):
            span = (_date(first), _date(last or first))
            if span[0] > span[1]:
                raise ValueError(f"the range {entry!r} ends before it begins")
            spans.append(span)
        elif match := _YEARLY.fullmatch(text):
            _date(f"2024-{text}")  # 2024 is a leap year, so 02-29 is valid
            yearly.add((int(match[1]), int(match[2])))
        elif re.fullmatch(r"[a-z]{3}(-[a-z]{3})?", text):
            weekdays.update(day % 7 for day in _allowed(text, *_FIELDS[4]))
        else:
            raise ValueError(f"{entry!r} is not a day; write a day such as \"2026-12-24\", \"2026-12-24..2027-01-02\", \"12-25\" or \"sun\"")
    return Days(frozenset(weekdays), frozenset(yearly), tuple(spans))


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text} is not a valid date") from error


def _when(value: object) -> object:
    if not isinstance(value, str):
        raise PydanticCustomError("schedule", "{found} is not a schedule; write a schedule such as {examples}",
                                  {"found": repr(value), "examples": EXAMPLES})
    try:
        parse_when(value)
    except ValueError as error:
        if (meant := nearest_schedule(value)) is not None:
            raise PydanticCustomError("schedule", "{found} is not a schedule; did you mean {meant}?",
                                      {"found": repr(value), "meant": f'"{meant}"'}) from error
        raise PydanticCustomError("schedule", "{reason}; write a schedule such as {examples}",
                                  {"reason": str(error), "examples": EXAMPLES}) from error
    return " ".join(value.split())


def _day(value: object) -> object:
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass  # the error is raised below
    if type(value) is date:
        return value
    raise PydanticCustomError("schedule", "{found} is not a date; write a date such as 2026-12-24", {"found": repr(str(value))})


def _days(value: object) -> object:
    """Return the entries as texts.

    An unquoted date in TOML is a date object, which is converted to a text.
    """
    entries = [value] if isinstance(value, (str, date)) else value
    if not isinstance(entries, (list, tuple)):
        raise PydanticCustomError("schedule", "{found} is not a list of days", {"found": repr(value)})
    return tuple(entry.isoformat() if type(entry) is date else entry for entry in entries)


_DAY_SCHEMA = WithJsonSchema({"type": "string", "format": "date"})
Day = Annotated[date, BeforeValidator(_day), _DAY_SCHEMA]
DayTexts = Annotated[tuple[str, ...], BeforeValidator(_days)]


class ScheduleTable(Table):
    """A schedule with options. A schedule that is only a text is the value of `when`."""

    when: Annotated[str, BeforeValidator(_when)]
    """Cron, "every 30m", "daily at 07:00", "weekdays at 07:00" or "mon, thu at 07:00 and 19:00"."""
    timezone: ZoneName | None = None
    """Time zone of the schedule. The default is the time zone of the digest or of [pipeline]."""
    jitter: Duration = 0.0
    """Maximum delay of a slot. The delay of a given slot is always the same, and never extends beyond the next slot."""
    skip: DayTexts = ()
    """Days without slots: "sun", "2026-12-24", "2026-12-24..2027-01-02", "12-25", or the name of a list in [calendars]."""
    from_: Day | None = Field(None, alias="from")
    """First day of the schedule."""
    until: Day | None = None
    """Last day of the schedule."""

    @model_validator(mode="after")
    def _not_over_before_it_begins(self) -> ScheduleTable:
        if self.from_ is not None and self.until is not None and self.until < self.from_:
            raise PydanticCustomError("schedule", "the date in `until` is before the date in `from`")
        return self

    @property
    def name(self) -> str:
        """The text that distinguishes this schedule from other schedules of the same spider or digest."""
        extra = [f"{label} {value}" for label, value in (("in", self.timezone), ("from", self.from_), ("until", self.until))
                 if value is not None]
        return " ".join([self.when, *extra])

    def zone(self, default: ZoneInfo) -> ZoneInfo:
        return ZoneInfo(self.timezone) if self.timezone else default


def _schedules(value: object) -> object:
    """Accept one schedule or a list of schedules, each written as a text or a table."""
    entries = value if isinstance(value, (list, tuple)) else [value]
    return tuple({"when": entry} if not isinstance(entry, dict) else entry for entry in entries)


Schedules = Annotated[tuple[ScheduleTable, ...], BeforeValidator(_schedules)]
