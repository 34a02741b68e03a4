"""Quiet hours: their spans, also over midnight and clock changes, and what they mean for lateness."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.settings import load, quiet_between, quiet_in_s, quiet_until
from pipeline.store import open_store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_quiet_hours_may_span_midnight() -> None:
    zone = ZoneInfo("Europe/Berlin")
    spans = ("22:00-06:00", "12:30-13:00")

    def at(hour: int, minute: int) -> datetime:
        return datetime(2026, 3, 10, hour, minute, tzinfo=zone)
    assert quiet_until(spans, at(23, 0)) == at(6, 0) + timedelta(days=1)
    assert quiet_until(spans, at(5, 59)) == at(6, 0)
    assert quiet_until(spans, at(12, 45)) == at(13, 0)
    assert quiet_until(spans, at(6, 0)) is None
    assert quiet_in_s(spans, at(12, 0)) == 1800
    assert quiet_in_s((), at(12, 0)) is None
    assert quiet_between(spans, at(21, 0), at(12, 45) + timedelta(days=1)) == timedelta(hours=8, minutes=15)
    assert quiet_between(spans, at(23, 0), at(23, 30)) == timedelta(minutes=30)
    assert quiet_between(spans, at(7, 0), at(8, 0)) == quiet_between((), at(7, 0), at(23, 0)) == timedelta()
    june = datetime(2026, 6, 1, 1, 0, tzinfo=zone)
    assert quiet_between(("00:00-12:00", "12:00-00:00"), june, june + timedelta(days=99)) == timedelta(days=30)
    night = datetime(2026, 3, 28, 23, 0, tzinfo=zone)  # clocks go forward in it
    assert quiet_between(spans, night, night + timedelta(hours=10)) == timedelta(hours=6)


def test_a_spider_in_its_quiet_hours_is_not_late(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('[spiders.s]\nstart = "http://a.example/"\nschedule = "every 1h"\n'
                                            'quiet = ["22:00-06:00"]\n')
    settings, store = load(tmp_path / "settings.toml"), open_store(tmp_path / "var")

    def due_after(name: str, after: datetime) -> datetime:
        return evening if after < evening else after + timedelta(hours=1)

    def late(now: datetime) -> bool:
        found = build_snapshot(store, settings, DueTimes({}, NOW, now, due_after), version="1")
        return bool(found["spiders"]["s"]["late"])
    evening = NOW.replace(hour=21, minute=50)
    hours = timedelta(hours=1)
    # DueTime at 21:50, half an hour of grace: ten minutes before the quiet hours, twenty after them.
    assert [late(evening + after * hours) for after in (0.1, 2, 8, 8.4, 8.6, 24, 40)] == [False] * 4 + [True] * 3
    store.close()
