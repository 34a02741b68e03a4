"""What schedules say of other tables: spiders that run after others, and calendars by name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from pipeline.errors import Problem
from pipeline.settings.fields.scalars import nearest
from pipeline.settings.fields.schedule import parse_days


def chain_problems(spiders: dict[str, Any]) -> Iterator[Problem]:
    """Works on the raw tables. Spiders that nobody knows, and circles, in which each would wait for itself."""
    before = {name: _texts(spider.get("after")) for name, spider in spiders.items() if isinstance(spider, dict)}
    for name, others in before.items():
        for other in others:
            if other not in spiders:
                yield Problem(f"spiders.{name}.after", f"no spider named {other!r}{nearest(other, spiders)}; "
                              f"known: {', '.join(spiders)}")
        if circle := _circle(name, before):
            yield Problem(f"spiders.{name}.after", f"runs after itself: {' after '.join(circle)}")


def _circle(name: str, before: dict[str, list[str]]) -> list[str]:
    """The way from `name` back to itself, if there is one."""
    ways, seen = [[name]], set[str]()
    while ways:
        way = ways.pop()
        for other in before.get(way[-1], ()):
            if other == name:
                return [*way, name]
            if other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return []


def calendar_problems(key: str, schedule: object, calendars: dict[str, Any]) -> Iterator[Problem]:
    """Entries of `skip` that are neither days nor the name of a calendar."""
    for table in schedule if isinstance(schedule, list) else [schedule]:
        for entry in _texts(table.get("skip")) if isinstance(table, dict) else ():
            if entry not in calendars:
                yield from _day_problems(f"{key}.skip", entry, f"; or name one of [calendars]: {', '.join(calendars)}"
                                         if calendars else "")


def day_problems(key: str, days: object) -> Iterator[Problem]:
    for entry in _texts(days):
        yield from _day_problems(key, entry, "")


def _day_problems(key: str, entry: str, hint: str) -> Iterator[Problem]:
    try:
        parse_days([entry])
    except ValueError as error:
        yield Problem(key, f"{error}{hint}")


def _texts(value: object) -> list[str]:
    """Dates may stand bare in TOML."""
    entries = value if isinstance(value, list) else [value]
    return [str(entry) for entry in entries if isinstance(entry, str) or type(entry) is date]
