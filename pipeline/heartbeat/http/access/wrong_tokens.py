"""Limits how many different wrong tokens each address may send."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable
from math import ceil

from pipeline.heartbeat.http.access.rate_limit import RateLimit

AT_ONCE = 9
"""How many different wrong tokens an address may send at once."""
_PER_S = AT_ONCE / 3 / 60
"""After that one every 20 seconds, and all again after three minutes."""
_MOST_REMEMBERED = 4096


class WrongTokens:
    """Counts different wrong tokens: a script that sends one outdated token again and again is not taken for somebody who guesses.

    clock: a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waits: dict[str, float] = {}
        self._limit = RateLimit(lambda: _PER_S, clock, burst=AT_ONCE)
        self._seen: dict[tuple[str, bytes], None] = {}

    def wait_s(self, address: str) -> int:
        """Return for how many seconds no token of this address is examined; 0 if it may send one."""
        return max(0, ceil(self._waits.get(_network_of(address), 0.0) - self._clock()))

    def count(self, address: str, token: str) -> bool:
        """Count a wrong token. Return whether it is the first time that this address sends it."""
        network = _network_of(address)
        key = (network, hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())
        if key in self._seen:
            return False
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.pop(next(iter(self._seen)))
        self._seen[key] = None
        allowance = self._limit.take(network)
        if allowance.left == 0:
            if len(self._waits) >= _MOST_REMEMBERED:
                self._waits.pop(next(iter(self._waits)))
            self._waits[network] = self._clock() + 1 / _PER_S
        return True


def _network_of(address: str) -> str:
    """Return the address, or the /64 of an IPv6 address, which one client can use completely."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
