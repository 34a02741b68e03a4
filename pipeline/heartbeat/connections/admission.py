"""Admission control: which connections are admitted, and which wait for a free one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.connections.connection_counts import ConnectionCounts, origin_of
from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.connections.open_files import affordable


class PendingConnection(Protocol):
    """A connection that waits to be admitted. admit: it is admitted now; refuse: it will not be."""

    origin: str

    def admit(self) -> None: ...

    def refuse(self) -> None: ...


class AdmissionControl:
    """Counts the admitted and the waiting connections of each origin.

    close_idle: closes one idle connection to make room; returns whether there was one.
    """

    def __init__(self, limits: ServerLimits, access: AccessPolicy) -> None:
        self._access = access
        most = affordable(limits.connections)
        self._admitted = ConnectionCounts(most, per_address=limits.per_address)
        self._queued = ConnectionCounts(affordable(2 * limits.connections) - most)
        self._queues: dict[str, dict[PendingConnection, None]] = {}
        self._closed = False
        self._none_idle = False  # not worth looking again before the next sweep
        self.close_idle: Callable[[], bool] = lambda: False

    def __len__(self) -> int:
        return len(self._admitted)

    @property
    def most(self) -> int:
        return self._admitted.most

    def close(self) -> None:
        """Admit no more connections."""
        self._closed = True

    def pending(self) -> list[PendingConnection]:
        return [connection for queue in self._queues.values() for connection in queue]

    def origin_of(self, peer: str) -> str | None:
        """The origin a client at this address is counted with; None for one that may not connect."""
        return origin_of(peer, self._access.is_local) if self._access.may_connect(peer) else None

    def has_room(self, origin: str) -> bool:
        return not self._closed and self._admitted.has_room(origin)

    def refusal_reason(self, origin: str) -> str:
        return "stopping" if self._closed else self._admitted.limit_reached(origin)

    def add(self, origin: str) -> None:
        """Count one more admitted connection."""
        self._admitted.add(origin)

    def remove(self, origin: str) -> None:
        """An admitted connection ended: the next of its queue is admitted."""
        self._admitted.remove(origin)
        self._admit_pending()

    def can_queue(self, origin: str) -> bool:
        return not self._closed and self._queued.has_room(origin)

    def enqueue(self, connection: PendingConnection) -> bool:
        """Let a connection wait for a free one. False when too many wait already."""
        if not self.can_queue(connection.origin):
            return False
        self._queued.add(connection.origin)
        self._queues.setdefault(connection.origin, {})[connection] = None
        self._none_idle = self._none_idle or not self.close_idle()
        return True

    def dequeue(self, connection: PendingConnection) -> None:
        """Take a connection out of its queue, if it is in one."""
        queue = self._queues.get(connection.origin, {})
        if connection in queue:
            del queue[connection]
            self._queued.remove(connection.origin)
            if not queue:
                del self._queues[connection.origin]

    def sweep(self) -> None:
        """Close connections that have become idle as long as others wait."""
        self._none_idle = False
        while self._queues and self.close_idle():
            pass

    def _admit_pending(self) -> None:
        for origin in tuple(self._queues):
            while (queue := self._queues.get(origin)) and self.has_room(origin):
                first = next(iter(queue))
                self.dequeue(first)
                self.add(origin)
                first.admit()
