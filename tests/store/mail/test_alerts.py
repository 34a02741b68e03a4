"""The alerts of a store: a problem that is over may come back, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.model import DraftMessage
from pipeline.store import Store
from pipeline.store.mail.alerts import AlertCondition, AlertKind, alert_history, enqueue_alert

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_a_second_alert_of_one_kind_is_recorded_once_the_first_is_over(store: Store) -> None:
    for number in range(3):
        now = NOW + timedelta(hours=number)
        problem = AlertCondition("books", AlertKind.FAILING, now)
        draft = DraftMessage(f"<{number}@example.com>", "failing", "p@example.com", ("me@example.com",), f"messages/{number}.eml", 60)
        assert enqueue_alert(store, [problem], [], [draft], now=now)
        assert enqueue_alert(store, [problem], [], [draft], now=now) == []  # it is open already
        (alert,) = alert_history(store).open
        draft = DraftMessage(f"<{number}-over@example.com>", "over", "p@example.com", ("me@example.com",), f"messages/{number}o.eml", 60)
        assert enqueue_alert(store, [], [alert], [draft], now=now)
        assert not alert_history(store).open
