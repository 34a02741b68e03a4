"""Limits the connections of each client address, so that no client can use up all connections."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable

UNIX = "unix"
LOCAL = "local"
UNIX_CONNECTIONS = 64
"""Maximum number of connections over the Unix socket. These connections do not count towards the limit of TCP
connections, because only the owner of the socket can open them."""
_RESERVED = 8
"""One in _RESERVED connections is reserved for clients on this machine."""
_SHARE = 4
"""By default, clients from one address of another machine may use one in _SHARE connections."""


def origin_of(peer: str, is_local: Callable[[str], bool]) -> str:
    """Return the origin of a client: the group of clients whose connections are counted together.

    An origin is the Unix socket, this machine, an IPv4 address, or a /64 network of IPv6 (RFC 6177).
    """
    if not peer:
        return UNIX
    if is_local(peer):
        return LOCAL
    address = ipaddress.ip_address(peer.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else str(address)


class ConnectionCounts:
    """Counts the connections of each origin and compares the counts with the limits.

    most: maximum number of connections, not counting the Unix socket. per_address: maximum number of connections from
    one address of another machine; None means a quarter of `most`.
    """

    def __init__(self, most: int, *, per_address: int | None = None) -> None:
        self.most = most
        self._per_address = per_address if per_address is not None else max(1, most // _SHARE)
        self._remote_most = most - most // _RESERVED
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._of.total()

    def has_room(self, origin: str) -> bool:
        if origin == UNIX:
            return self._of[UNIX] < min(self.most, UNIX_CONNECTIONS)
        others = self._of.total() - self._of[UNIX]
        if origin == LOCAL:
            return others < self.most
        return others < self.most and others - self._of[LOCAL] < self._remote_most and self._of[origin] < self._per_address

    def add(self, origin: str) -> None:
        self._of[origin] += 1

    def remove(self, origin: str) -> None:
        self._of[origin] -= 1
        if self._of[origin] <= 0:
            del self._of[origin]

    def limit_reached(self, origin: str) -> str:
        """Return a text that describes the limit that this origin has reached."""
        if origin not in (UNIX, LOCAL) and self._of[origin] >= self._per_address:
            return f"the limit of {self._per_address} connections per address is reached"
        return f"the limit of {self.most} connections is reached"
