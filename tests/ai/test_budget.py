"""Tests that the tokens of a day are never exceeded.

By several processes, after kills, and at the beginning of a day.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from pipeline.ai.budget import Budget
from pipeline.ai.errors import ModelError, Reason
from pipeline.settings import Settings
from pipeline.store import Store, open_store_of
from pipeline.store.ai.requests import day_begins, day_ends, usage
from pipeline.store.database.schema import ai_requests
from tests.servers.language_model import Answer, AskedModel, LanguageModelServer

LIMIT = 1_600
NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
ASKING = Path(__file__).with_name("asking_processes.py")


def test_processes_together_never_exceed_the_limit_and_what_a_killed_one_reserved_keeps_counting(
        settings_from: Callable[[str], Settings]) -> None:
    hanging = threading.Event()
    lock = threading.Lock()
    used: list[int] = []

    def script(asked: AskedModel) -> Answer:
        with lock:
            first = not used
            with store.read() as connection:
                used.append(usage(connection).tokens)
        if first:
            hanging.set()
            return Answer(hang=-1)
        return Answer('{"title": "x"}', usage=(100, 20))

    with LanguageModelServer(script) as server:
        settings = settings_from(server.settings(f"max_tokens_per_day = {LIMIT}\nmax_output_tokens = 64"))
        store = open_store_of(settings)
        with subprocess.Popen([sys.executable, str(ASKING), settings.file, "3"], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."},
                              cwd=ASKING.parents[2]) as asking:
            assert hanging.wait(20)
            assert asking.stdout is not None
            first, second = (asking.stdout.readline().split() for _ in range(2))
            children = {int(pid) for pid in Path(f"/proc/{asking.pid}/task/{asking.pid}/children").read_text().split()}
            hung, = children - {int(first[0]), int(second[0])}
            os.kill(hung, signal.SIGKILL)
            assert asking.wait(20) == 0
    assert (first[1], second[1]) == ("over_budget", "over_budget")
    assert max(used) <= LIMIT
    with store.read() as connection:
        rows = connection.execute(select(ai_requests)).all()
        total = usage(connection)
    store.close()
    assert sum(row.state == "reserved" for row in rows) == 1, "that of the process that was killed"
    assert LIMIT - 600 < total.tokens <= LIMIT
    assert total.by_state["done"] > 5, "a request that ended counts with what it has used, not with what was reserved"


@pytest.mark.parametrize(("zone", "now", "begins"), [
    ("UTC", datetime(2026, 11, 22, 0, 0, tzinfo=UTC), datetime(2026, 11, 22, 0, 0, tzinfo=UTC)),
    ("Asia/Shanghai", datetime(2026, 11, 22, 15, 59, tzinfo=UTC), datetime(2026, 11, 21, 16, 0, tzinfo=UTC)),
    ("Asia/Shanghai", datetime(2026, 11, 22, 16, 0, tzinfo=UTC), datetime(2026, 11, 22, 16, 0, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 23, 0, tzinfo=UTC), datetime(2026, 11, 1, 4, 0, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 29, 20, 0, tzinfo=UTC), datetime(2026, 3, 28, 23, 0, tzinfo=UTC))])
def test_a_day_begins_at_midnight_in_the_zone_of_the_pipeline(zone: str, now: datetime, begins: datetime) -> None:
    assert day_begins(now, ZoneInfo(zone)) == begins


def test_the_next_day_has_all_of_its_tokens_and_a_refusal_says_the_figures(store: Store) -> None:
    budget = Budget(store, limit=1000, zone=ZoneInfo("UTC"), digest="morning", model="m")
    budget.reserve("test", 600, 300, now=NOW)
    with pytest.raises(ModelError, match="the limit of 1,000 tokens a day for the language model is reached: 900 are used") as raised:
        budget.reserve("test", 50, 51, now=NOW + timedelta(hours=15))
    assert raised.value.reason is Reason.OVER_BUDGET
    budget.reserve("test", 50, 50, now=NOW + timedelta(hours=15))
    budget.reserve("test", 600, 400, now=NOW + timedelta(hours=16))
    with store.read() as connection:
        assert (usage(connection).tokens, usage(connection, NOW + timedelta(hours=16)).tokens) == (2000, 1000)


def test_what_a_wrong_clock_has_dated_later_does_not_use_up_the_days_before(store: Store) -> None:
    budget = Budget(store, limit=1000, zone=ZoneInfo("Asia/Shanghai"), digest="morning", model="m")
    budget.reserve("test", 600, 400, now=NOW + timedelta(days=4000))
    budget.reserve("test", 600, 400, now=NOW)
    with pytest.raises(ModelError, match="1,000 are used"):
        budget.reserve("test", 1, 0, now=NOW)
    with pytest.raises(ModelError, match="1,000 are used"):
        budget.reserve("test", 1, 0, now=NOW + timedelta(days=4000))


@pytest.mark.parametrize(("zone", "now", "ends"), [
    ("Asia/Shanghai", datetime(2026, 11, 22, 15, 59, tzinfo=UTC), datetime(2026, 11, 22, 16, 0, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 5, 30, tzinfo=UTC), datetime(2026, 11, 2, 5, 0, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 28, 23, 0, tzinfo=UTC), datetime(2026, 3, 29, 22, 0, tzinfo=UTC))])
def test_a_day_ends_where_the_next_one_begins(zone: str, now: datetime, ends: datetime) -> None:
    assert day_ends(now, ZoneInfo(zone)) == day_begins(ends, ZoneInfo(zone)) == ends
