"""How many connections each origin may have, so that no client can use up those of all others."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable

UNIX = "unix"
LOCAL = "local"
UNIX_CONNECTIONS = 64
"""Over the Unix socket, in addition to all others: only its owner can open it."""
_RESERVED = 8
"""One connection in so many is reserved for this machine."""
_SHARE = 4
"""One address of another machine gets one connection in so many."""


def origin_of(peer: str, is_local: Callable[[str], bool]) -> str:
    """What a client is counted with: the Unix socket, this machine, an IPv4 address, or a /64 of IPv6 (RFC 6177)."""
    if not peer:
        return UNIX
    if is_local(peer):
        return LOCAL
    address = ipaddress.ip_address(peer.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else str(address)


class ConnectionCounts:
    """Counts the connections of each origin against their limits.

    most: connections in all, without those of the Unix socket. per_address: of one address of another machine;
    None: a quarter."""

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
        """The limit that an origin has reached, as text."""
        if origin not in (UNIX, LOCAL) and self._of[origin] >= self._per_address:
            return f"the limit of {self._per_address} connections per address is reached"
        return f"the limit of {self.most} connections is reached"
