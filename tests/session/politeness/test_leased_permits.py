"""What a process does with the permits that it has leased.

Who gets an idle one, and which it returns to other processes.
"""

from __future__ import annotations

import pytest

from pipeline.session.politeness.leased_permits import (
    IDLE_S,
    IDLE_SHARED_S,
    ROTATE_S,
    STARVING_S,
    LeasedPermits,
    Waiter,
)
from pipeline.store.runs.host_limits import PERMIT_S, HostUse, Renewed, Wish

MINE = frozenset({0, 1})


def two_permits() -> LeasedPermits:
    permits = LeasedPermits("h", 4)
    permits.leased(MINE, 0.0)
    return permits


def test_idle_permits_serve_requests_in_their_order_and_downloads_leave_permit_0() -> None:
    permits = two_permits()
    assert (permits.take(1, 0), permits.take(0, 0), permits.take(0, 0)) == (1, 0, None)
    page, download, cancelled, last = (Waiter(lowest, 0.0) for lowest in (0, 1, 0, 0))
    permits.waiters.extend([download, cancelled, page, last])
    cancelled.permit.cancel()
    assert permits.put_back(0, 1) is False
    assert page.permit.result(0) == 0
    assert (download.permit.done(), last.permit.done()) == (False, False)
    assert permits.put_back(1, 1) is False
    assert download.permit.result(0) == 1
    assert list(permits.waiters) == [last]


def test_an_expired_permit_starts_no_request_until_it_is_renewed() -> None:
    permits = two_permits()
    assert permits.take(0, PERMIT_S) is None
    assert permits.renewed(Renewed(frozenset({1})), PERMIT_S) == [1]  # idle for long; permit 0 was leased to another process
    assert permits.put_back(0, PERMIT_S) is False
    assert not permits


@pytest.mark.parametrize(("count", "others", "waiting", "at", "returned"), [
    (4, 1, False, 0.5, []),
    (4, 1, False, IDLE_SHARED_S, [0, 1]),
    (4, 0, False, IDLE_SHARED_S, []),
    (4, 0, False, IDLE_S, [0, 1]),
    (4, 1, True, 0.05, []),  # its share, and just used
    (4, 1, True, 0.5, [0, 1]),
    (4, 3, True, 0.05, [0])])  # more than its share
def test_a_process_returns_idle_permits_and_those_that_others_wait_for(count: int, others: int, waiting: bool, at: float,
                                                                       returned: list[int]) -> None:
    permits = two_permits()
    permits.count = count
    assert permits.renewed(Renewed(MINE, waiting, others), at) == returned


def test_a_permit_in_use_is_returned_when_its_request_ends() -> None:
    permits = two_permits()
    assert permits.take(0, 0) == 0
    assert permits.renewed(Renewed(MINE, waiting=True, others=3), 0.05) == [1]
    assert permits.put_back(0, 0.6) is False  # the only one is its share
    assert permits.take(0, 0.7) == 0
    assert permits.put_back(0, ROTATE_S) is True


def test_a_permit_beyond_the_share_is_returned_at_once_if_other_processes_use_the_host() -> None:
    permits = two_permits()
    assert (permits.take(0, 0), permits.take(0, 0)) == (0, 1)
    permits.renewed(Renewed(MINE, waiting=False, others=3), 0.1)
    permits.waiters.append(Waiter(0, 0.1))
    assert permits.put_back(1, 0.2) is False  # another request uses it
    assert permits.put_back(1, 0.3) is True
    assert permits.put_back(0, 0.3) is False


def test_requests_starve_if_none_of_their_kind_is_sent_for_a_while() -> None:
    permits = two_permits()
    assert {permits.take(0, 0), permits.take(0, 0)} == MINE
    permits.waiters.append(Waiter(0, 0.0))
    assert permits.wish(0.5) == Wish("h", 4, 1)
    assert permits.wish(STARVING_S) == Wish("h", 4, 1, starving=True)
    assert permits.looked(HostUse({0: "me", 1: "me", 2: "a", 3: "a"}, []), "me", STARVING_S, lacks=True) is True
    assert permits.looked(HostUse({0: "me", 1: "me", 2: "a", 3: "a"}, ["me"]), "me", STARVING_S + 0.1, lacks=True) is None
    assert permits.put_back(0, 1.5) is False
    permits.waiters.append(Waiter(0, 0.0))
    assert permits.wish(2.0) == Wish("h", 4, 1)  # one was sent at 1.5
    assert permits.looked(HostUse(), "me", 2.0, lacks=False) is False
