"""Tests of hosts that are paused because of a long Retry-After."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.store import Store
from pipeline.store.runs import host_pauses

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def remember(store: Store, host: str, until: datetime, now: datetime = NOW) -> datetime:
    return host_pauses.pause_host(store, host, until=until, spider="s", now=now)


def test_the_latest_pause_of_a_host_applies_until_it_ends(store: Store) -> None:
    remember(store, "a.example:443", NOW + 2 * HOUR)
    assert remember(store, "a.example:443", NOW + HOUR) == NOW + 2 * HOUR
    remember(store, "b.example:80", NOW + HOUR)
    assert host_pauses.paused_hosts(store, now=NOW) == {"a.example:443": NOW + 2 * HOUR, "b.example:80": NOW + HOUR}
    assert host_pauses.paused_hosts(store, now=NOW + HOUR) == {"a.example:443": NOW + 2 * HOUR}
    assert host_pauses.paused_hosts(store, now=NOW + 2 * HOUR) == {}


def test_no_host_is_paused_for_longer_than_a_week(store: Store) -> None:
    assert remember(store, "a.example:443", NOW + timedelta(days=9000)) == NOW + host_pauses.LONGEST


def test_a_pause_from_before_the_clock_was_set_back_is_ignored(store: Store) -> None:
    future = NOW + timedelta(days=3650)
    remember(store, "a.example:443", future + HOUR, now=future)
    assert host_pauses.paused_hosts(store, now=NOW) == {}
    remember(store, "a.example:443", NOW + HOUR)
    assert host_pauses.paused_hosts(store, now=NOW) == {"a.example:443": NOW + HOUR}
