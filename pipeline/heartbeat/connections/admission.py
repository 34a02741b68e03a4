"""Admission control: decides which connections are admitted, queued or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.connections.connection_counts import ConnectionCounts, origin_of
from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.connections.open_files import affordable


class PendingConnection(Protocol):
    """A connection that waits in the queue.

    admit() is called when the connection is admitted, refuse() when the connection will not be admitted.
    """

    origin: str

    def admit(self) -> None: ...

    def refuse(self) -> None: ...


class AdmissionControl:
    """Counts connections to decide whether a new connection is admitted, queued or refused.

    The connections of each origin are counted; an origin is a group of clients that share a limit (see `origin_of`). close_idle:
    function that closes an idle connection to make room for a new connection, and returns whether a connection was closed.
    """

    def __init__(self, limits: ServerLimits, access: AccessPolicy) -> None:
        self._access = access
        most = affordable(limits.connections)
        self._admitted = ConnectionCounts(most, per_address=limits.per_address)
        self._queued = ConnectionCounts(affordable(2 * limits.connections) - most)
        self._queues: dict[str, dict[PendingConnection, None]] = {}
        self._closed = False
        self._none_idle = False  # whether the last search found no idle connection; the next sweep allows another search
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
        """Return the origin of a client at this address; None if the client may not connect."""
        return origin_of(peer, self._access.is_local) if self._access.may_connect(peer) else None

    def has_room(self, origin: str) -> bool:
        return not self._closed and self._admitted.has_room(origin)

    def refusal_reason(self, origin: str) -> str:
        return "stopping" if self._closed else self._admitted.limit_reached(origin)

    def add(self, origin: str) -> None:
        """Record that a connection of this origin was admitted."""
        self._admitted.add(origin)

    def remove(self, origin: str) -> None:
        """Record that a connection of this origin has ended, and admit queued connections if possible."""
        self._admitted.remove(origin)
        self._admit_pending()

    def can_queue(self, origin: str) -> bool:
        return not self._closed and self._queued.has_room(origin)

    def enqueue(self, connection: PendingConnection) -> bool:
        """Queue a connection, and close an idle connection to make room. Return False if the queue is full."""
        if not self.can_queue(connection.origin):
            return False
        self._queued.add(connection.origin)
        self._queues.setdefault(connection.origin, {})[connection] = None
        self._none_idle = self._none_idle or not self.close_idle()
        return True

    def dequeue(self, connection: PendingConnection) -> None:
        """Remove a connection from the queue; do nothing if the connection is not queued."""
        queue = self._queues.get(connection.origin, {})
        if connection in queue:
            del queue[connection]
            self._queued.remove(connection.origin)
            if not queue:
                del self._queues[connection.origin]

    def sweep(self) -> None:
        """Close idle connections to make room for queued connections."""
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
