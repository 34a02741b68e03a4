"""Finds the client behind trusted reverse proxies (X-Forwarded-For and X-Forwarded-Proto)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from multidict import CIMultiDictProxy

_FOR = "X-Forwarded-For"
_SIGNS = (_FOR, "Forwarded", "X-Real-IP")


@dataclass(frozen=True)
class Client:
    """Where a request comes from. address: its IP address; "" for the Unix socket. https: whether the client uses TLS up to a trusted proxy.

    forwarded: whether a trusted proxy has forwarded the request. hidden: whether a proxy that is not trusted seems to have forwarded it, so
    the address is that of the proxy, and the client may be on another machine.
    """

    address: str
    https: bool = False
    forwarded: bool = False
    hidden: bool = False


def client_of(peer: str, headers: CIMultiDictProxy[str], is_proxy: Callable[[str], bool]) -> Client:
    """Return where a request comes from.

    Each proxy appends the address of its own client to X-Forwarded-For. So the list is read from its end: the first address that is not a
    trusted proxy is the client's, and what is before it was written by the client. Raises ValueError if a trusted proxy did not write an IP address.
    peer: the address of the connection. is_proxy: whether an address is that of a trusted proxy.
    """
    hops = [hop.strip() for value in headers.getall(_FOR, []) for hop in value.split(",")]
    if not is_proxy(peer) or not hops:
        return Client(peer, hidden=any(name in headers for name in _SIGNS))
    address = peer
    for hop in reversed(hops):
        address = _address_of(hop)
        if not is_proxy(address):
            break
    scheme = headers.getall("X-Forwarded-Proto", [""])[-1].rpartition(",")[2].strip().lower()
    return Client(address, https=scheme == "https", forwarded=True)


def _address_of(hop: str) -> str:
    """Return the IP address in an entry of X-Forwarded-For, which some proxies write with the port. Raises ValueError."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    return str(ipaddress.ip_address(hop))
