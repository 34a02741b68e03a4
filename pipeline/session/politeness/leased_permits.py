"""The permits of one host that a process has leased from the database, and who waits for one."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

from pipeline.session.politeness.futures import set_result
from pipeline.store.runs import host_limits as table

IDLE_S = 3.0
"""A permit that was not used for this long is given back."""
IDLE_SHARED_S = 1.0
"""The same, if other processes use the host."""
IDLE_WANTED_S = 0.1
"""The same, if other processes wait for a permit."""
ROTATE_S = 3.0
"""If other processes wait, each keeps a permit for about this long."""
EARLY_S = 1.0
"""A leased permit is used until this time before it expires."""
LOOK_S = 0.03
"""How often the process that waits first for a permit looks for one; the next waits twice as long, and so on."""
LOOK_AGAIN_S = 0.25
"""How often a process that has its share of the permits looks for more."""
STARVING_S = 1.0
"""Requests starve if they wait and none was sent for this long. Then other processes return a permit even if it is part of their share."""
WAIT_AGAIN_S = 0.5
"""How often a process records that it waits."""


@dataclass
class _Permit:
    """A leased permit. until: when this process stops using it. since: when it was leased. idle: since when it is unused, or None."""

    until: float
    since: float
    idle: float | None


@dataclass
class Waiter:
    """A request that waits for a permit since a time. lowest: the lowest permit that it may use."""

    lowest: int
    since: float
    permit: Future[int] = field(default_factory=Future)


class LeasedPermits:
    """The permits of one host. Not thread-safe. Times are values of one clock, in seconds.

    count: the number of permits that the host has for this process: the smallest if its spiders differ. look_at: when to ask the
    database for further permits.
    """

    def __init__(self, host: str, count: int) -> None:
        self.host = host
        self.waiters: deque[Waiter] = deque()
        self.look_at = 0.0
        self.count = count
        self._permits: dict[int, _Permit] = {}
        self._others = 0
        self._contended = False
        self._served: dict[int, float] = {}
        """When a request last got a permit, by the lowest permit that it could use."""
        self._wait_at: float | None = None

    def __bool__(self) -> bool:
        """Whether any permit is leased or any request waits."""
        return bool(self._permits or self.waiters)

    def take(self, lowest: int, now: float) -> int | None:
        """Return an idle permit with the lowest number, and mark it as used; None if there is none."""
        for number in sorted(self._permits) if len(self._permits) > 1 else self._permits:
            permit = self._permits[number]
            if number >= lowest and permit.idle is not None and permit.until > now:
                permit.idle = None
                self._served[lowest] = now
                return number
        return None

    def serve(self, now: float) -> None:
        """Give idle permits to the requests that wait, in their order."""
        for waiter in list(self.waiters):
            number = self.take(waiter.lowest, now)
            if number is None:
                if waiter.lowest == 0:
                    return
                continue
            self.waiters.remove(waiter)
            if not set_result(waiter.permit, number):
                self._permits[number].idle = now

    def put_back(self, number: int, now: float) -> bool:
        """Note that a request no longer uses a permit. Return whether the permit must be returned to the database at once."""
        permit = self._permits.get(number)
        if permit is None:  # it expired and was leased to another process
            return False
        permit.idle = now
        if self._is_others(permit, now):
            del self._permits[number]
            return True
        self.serve(now)
        if permit.idle is not None and self._others and len(self._permits) > self._share:  # other processes may need it for a burst
            del self._permits[number]
            return True
        return False

    def wish(self, now: float) -> table.Wish | None:
        """Return what to ask of the database for the requests that wait; None if there is nothing to ask."""
        wanted = min(len(self.waiters), self.count - len(self._permits))
        if wanted <= 0:
            return None
        starving = any(now - max(waiter.since, self._served.get(waiter.lowest, 0.0)) >= STARVING_S for waiter in self.waiters)
        return table.Wish(self.host, self.count, wanted, min(waiter.lowest for waiter in self.waiters), starving)

    def leased(self, numbers: Iterable[int], at: float) -> None:
        """Add permits that were leased at a time."""
        for number in numbers:
            self._permits[number] = _Permit(at + table.PERMIT_S - EARLY_S, at, at)

    def looked(self, use: table.HostUse, owner: str, now: float, *, lacks: bool) -> bool | None:
        """Note who uses the host. Return whether to record that this process waits (True) or waits no longer (False); None for neither.

        owner: the name of this process in `use`. lacks: whether this process has less than its share of the permits.
        """
        others = {*use.permits.values(), *use.waiting} - {owner}
        self._others, self._contended = len(others), any(each != owner for each in use.waiting)
        place = use.waiting.index(owner) if owner in use.waiting else len(use.waiting)
        self.look_at = now + (LOOK_S * (1 + place) if lacks else LOOK_AGAIN_S)
        if lacks and (self._wait_at is None or now >= self._wait_at):
            self._wait_at = now + WAIT_AGAIN_S
            return True
        if not lacks and self._wait_at is not None:
            self._wait_at = None
            return False
        return None

    def unknown(self, numbers: Collection[int]) -> set[int]:
        """Return those of the permits that this process has, by the database, but does not know of: the answer to a query was lost."""
        return set(numbers) - self._permits.keys()

    def renewed(self, found: table.Renewed, at: float) -> list[int]:
        """Note which permits were renewed at a time. Return those that must be returned to the database."""
        self._others, self._contended = found.others, found.waiting
        returned = []
        for number, permit in list(self._permits.items()):
            if number in found.numbers:
                permit.until = at + table.PERMIT_S - EARLY_S
            else:
                del self._permits[number]
                continue
            idle_s = IDLE_WANTED_S if self._contended else IDLE_SHARED_S if self._others else IDLE_S
            if permit.idle is not None and (at - permit.idle >= idle_s or self._is_others(permit, at)):
                del self._permits[number]
                returned.append(number)
        return returned

    def _is_others(self, permit: _Permit, now: float) -> bool:
        """Return whether other processes wait, and this process has had this permit for long or has more than its share."""
        if not self._contended:
            return False
        return now - permit.since >= ROTATE_S or len(self._permits) > self._share

    @property
    def _share(self) -> int:
        return max(1, self.count // (self._others + 1))
