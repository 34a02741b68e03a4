"""Tests of when a pause or a mute ends, as people write it."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from pipeline.settings.fields.ends import parse_end

ZONE = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 30, 14, 30, tzinfo=ZONE)


@pytest.mark.parametrize(("text", "end"), [
    ("2h", "2026-11-30T16:30+01:00"),
    ("7d", "2026-12-07T14:30+01:00"),
    ("1h30m", "2026-11-30T16:00+01:00"),
    ("2026-12-06", "2026-12-06T00:00+01:00"),
    ("2026-12-06 09:00", "2026-12-06T09:00+01:00"),
    ("2026-12-06T09:00:30Z", "2026-12-06T09:00:30+00:00"),
    ("2027-07-01", "2027-07-01T00:00+02:00"),
    (" 18:00 ", "2026-11-30T18:00+01:00"),
    ("9:00", "2026-12-01T09:00+01:00"),
    ("14:30", "2026-12-01T14:30+01:00"),
])
def test_an_end_is_a_duration_a_day_or_a_time(text: str, end: str) -> None:
    assert parse_end(text, now=NOW, zone=ZONE) == datetime.fromisoformat(end)


@pytest.mark.parametrize(("text", "why"), [
    ("", "neither a duration"), ("tomorrow", "neither a duration"), ("25:00", "neither a duration"), ("2 weeks", "neither a duration"),
    ("2026-11-30", "in the past"), ("2026-11-30 14:30", "in the past"), ("0s", "in the past"), ("0001-01-01", "in the past"),
    ("9999-12-31", "ten years"), ("99999999999999d", "ten years"), ("10000d", "ten years")])
def test_any_other_text_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_end(text, now=NOW, zone=ZONE)
