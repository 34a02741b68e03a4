"""A process ends before another node may take its run, and only then."""

from __future__ import annotations

import contextlib
import threading

import pytest

from pipeline.errors import StoreError
from pipeline.workers.lease_fence import LIMIT_S, LeaseFence


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def fail(fence: LeaseFence) -> None:
    with contextlib.suppress(StoreError), fence.renewal():
        raise StoreError("the database does not respond")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_lease_is_lost_if_no_renewal_has_succeeded_for_too_long(clock: Clock) -> None:
    fence = LeaseFence(now_s=clock)
    with fence.renewal():
        pass
    for _ in range(int(LIMIT_S) - 1):
        clock.now_s += 1
        fail(fence)
        assert not fence.is_lost()
    clock.now_s += 1
    assert fence.is_lost()


def test_a_renewal_that_hangs_counts_as_a_failed_one(clock: Clock) -> None:
    fence = LeaseFence(now_s=clock)
    with fence.renewal():
        clock.now_s += LIMIT_S - 0.1
        assert not fence.is_lost()
        clock.now_s += 0.1
        assert fence.is_lost()


def test_a_renewal_counts_from_its_beginning_since_the_lease_does(clock: Clock) -> None:
    fence = LeaseFence(now_s=clock)
    with fence.renewal():
        clock.now_s += 10
    clock.now_s += LIMIT_S - 10 - 2
    fail(fence)
    clock.now_s += 2
    assert fence.is_lost()


def test_a_process_that_was_suspended_tries_to_renew_first(clock: Clock) -> None:
    fence = LeaseFence(now_s=clock)
    with fence.renewal():
        pass
    clock.now_s += 3600
    assert not fence.is_lost()
    with fence.renewal():
        clock.now_s += 1
        assert not fence.is_lost()
    assert not fence.is_lost()


def test_the_watching_thread_reports_the_loss_once(clock: Clock) -> None:
    lost, ended = threading.Event(), threading.Event()
    fence = LeaseFence(lost.set, now_s=clock)
    fail(fence)
    clock.now_s += LIMIT_S
    fence.watch(ended)
    assert lost.wait(10)
    ended.set()
