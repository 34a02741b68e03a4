"""Tests of loop lag and clock jumps in the status."""

from __future__ import annotations

import time
from datetime import timedelta

from pipeline.heartbeat.client import HeartbeatClient
from pipeline.heartbeat.snapshot.loop_health import LoopHealth, with_service_health
from tests.heartbeat.conftest import NOW, empty


def beaten(*beats):
    """Vitals after beats at (monotonic, wall) seconds, asked for every second."""
    vitals = LoopHealth()
    for monotonic_s, wall_s in beats:
        vitals.record(monotonic_s, NOW + timedelta(seconds=wall_s), expected_s=1.0)
    return vitals


def test_a_steady_loop_and_clock_are_no_reason():
    found = with_service_health(empty(), beaten((0, 0), (1, 1), (2.1, 2.1)).status(2.1))
    assert (found["health"], found["reasons"]) == ("ok", [])


def test_a_blocked_loop_is_a_reason_for_a_minute():
    vitals = beaten((0, 0), (9, 9), (10, 10))
    assert with_service_health(empty(), vitals.status(10))["reasons"] == ["service: the event loop was blocked for 8 s"]
    vitals.record(70, NOW + timedelta(seconds=70), expected_s=60)
    assert vitals.status(70)["lag_s"] == 0


def test_a_clock_that_jumped_is_a_reason_for_ten_minutes():
    vitals = beaten((0, 0), (1, 3601))
    found = with_service_health(empty(), vitals.status(2))
    assert (found["health"], found["reasons"]) == ("degraded", ["service: the system clock jumped forward by 1 h"])
    assert with_service_health(empty(), beaten((0, 0), (1, -99)).status(1))["reasons"] == [
        "service: the system clock jumped back by 1 min"]
    assert vitals.status(700)["clock_jump_s"] == 0


def test_loop_health_never_improves_the_health():
    found = with_service_health(empty() | {"health": "failing", "reasons": ["x"]}, {"lag_s": 9.0, "clock_jump_s": 0.0})
    assert (found["health"], len(found["reasons"])) == ("failing", 2)


def test_the_server_measures_its_own_loop_lag(run, heartbeat):
    async def hold_up():
        time.sleep(1.5)

    run(hold_up())
    deadline = time.monotonic() + 10
    while '"lag_s":0.0,' in HeartbeatClient(*heartbeat.address).ask("status"):
        assert time.monotonic() < deadline
