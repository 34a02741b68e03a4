"""Which connections have a place, and which wait a moment for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipeline.heartbeat.access import Access
from pipeline.heartbeat.connections.connection_counts import ConnectionCounts, origin_of
from pipeline.heartbeat.connections.limits import Limits, affordable


class Waiting(Protocol):
    """A connection without a place. admit: it has one now; refuse: it will have none."""

    origin: str

    def admit(self) -> None: ...

    def refuse(self) -> None: ...


class Admission:
    """Counts connections by origin. make_room: closes one that says nothing, and tells whether there was one."""

    def __init__(self, limits: Limits, access: Access) -> None:
        self._access = access
        most = affordable(limits.connections)
        self._places = ConnectionCounts(most, per_address=limits.per_address)
        self._waits = ConnectionCounts(affordable(2 * limits.connections) - most)
        self._waiting: dict[str, dict[Waiting, None]] = {}
        self._closed = False
        self._all_speak = False  # no use to look for a silent one again before the next sweep
        self.make_room: Callable[[], bool] = lambda: False

    def __len__(self) -> int:
        return len(self._places)

    @property
    def most(self) -> int:
        return self._places.most

    def close(self) -> None:
        """Nobody is admitted any more."""
        self._closed = True

    def waiting(self) -> list[Waiting]:
        return [connection for group in self._waiting.values() for connection in group]

    def origin_of(self, peer: str) -> str | None:
        """What it is counted with; None for one that may not connect."""
        return origin_of(peer, self._access.is_local) if self._access.admits(peer) else None

    def has_room(self, origin: str) -> bool:
        return not self._closed and self._places.has_room(origin)

    def why_not(self, origin: str) -> str:
        return "stopping" if self._closed else self._places.full_for(origin)

    def placed(self, origin: str) -> None:
        self._places.add(origin)

    def left(self, origin: str) -> None:
        self._places.remove(origin)
        self._seat()

    def could_wait(self, origin: str) -> bool:
        return not self._closed and self._waits.has_room(origin)

    def waits(self, connection: Waiting) -> bool:
        """Have it wait: all may be full of those who have just left. False where too many wait."""
        if not self.could_wait(connection.origin):
            return False
        self._waits.add(connection.origin)
        self._waiting.setdefault(connection.origin, {})[connection] = None
        self._all_speak = self._all_speak or not self.make_room()
        return True

    def gave_up(self, connection: Waiting) -> None:
        """It waits no more, if it did."""
        group = self._waiting.get(connection.origin, {})
        if connection in group:
            del group[connection]
            self._waits.remove(connection.origin)
            if not group:
                del self._waiting[connection.origin]

    def make_room_for_waiting(self) -> None:
        """Now and then: who was not silent for long enough may be now."""
        self._all_speak = False
        while self._waiting and self.make_room():
            pass

    def _seat(self) -> None:
        for origin in tuple(self._waiting):
            while (group := self._waiting.get(origin)) and self.has_room(origin):
                first = next(iter(group))
                self.gave_up(first)
                self.placed(origin)
                first.admit()
