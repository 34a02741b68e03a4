"""Tests of the requests to the language model.

Reservations of several at once, sums, the last failure, and old ones.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.store import Store
from pipeline.store.ai import requests
from tests.store.conftest import failures_of_four_at_once

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def _reserve(store: Store, tokens: int, *, at: datetime = NOW, limit: int = 1000) -> int | None:
    return requests.reserve(store, digest="morning", purpose="summary", model="m\0", input_tokens=tokens, output_tokens=0, limit=limit,
                            since=at - timedelta(hours=8), until=at + timedelta(hours=16), now=at)[0]


def test_reservations_of_several_at_once_never_exceed_the_limit(store: Store) -> None:
    def reserve_all() -> None:
        while (request_id := _reserve(store, 90)) is not None:
            if request_id % 2:
                requests.settle(store, request_id, input_tokens=40, output_tokens=10, now=NOW)

    assert failures_of_four_at_once(reserve_all) == []
    with store.read() as connection:
        found = requests.usage(connection, NOW)
    assert 1000 - 90 < found.tokens <= 1000
    assert found.requests == sum(found.by_state.values()) > 11


def test_the_last_failure_says_whether_a_later_request_was_answered(store: Store) -> None:
    with store.read() as connection:
        assert requests.last_failure(connection, NOW - timedelta(days=1)) is None
        assert requests.usage(connection) == requests.Usage()
    first = _reserve(store, 1)
    assert first is not None
    requests.settle(store, first, input_tokens=0, output_tokens=0, error="no\0" + "x" * 600, now=NOW)
    requests.add_failure(store, digest="evening", purpose="filter", model="m", error="over", now=NOW)
    with store.read() as connection:
        assert requests.last_failure(connection, NOW - timedelta(days=1)) == requests.LastFailure("evening", NOW, "over", succeeded_after=False)
        assert requests.last_failure(connection, NOW + timedelta(seconds=1)) is None
    last = _reserve(store, 5)
    assert last is not None
    requests.settle(store, last, input_tokens=5, output_tokens=6, now=NOW)
    with store.read() as connection:
        failure = requests.last_failure(connection, NOW - timedelta(days=1))
        assert failure is not None
        assert failure.succeeded_after
        assert requests.usage(connection) == requests.Usage(5, 6, {"done": 1, "failed": 2})


def test_requests_older_than_a_year_are_deleted(store: Store) -> None:
    for days in (400, 366, 364):
        _reserve(store, 1, at=NOW - timedelta(days=days))
    assert requests.delete_old(store, now=NOW) == 2
    assert requests.delete_old(store, now=NOW) == 0
