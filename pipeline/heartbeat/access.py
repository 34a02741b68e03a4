"""Decides which clients may connect, and which clients need the token to read the status."""

from __future__ import annotations

import functools
import ipaddress
from dataclasses import dataclass

from pipeline.heartbeat.token import Token

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class AccessPolicy:
    """Decides from a client's IP address what the client may do.

    peer: in all methods, the client's IP address; "" means that the client uses the Unix socket. token: the access
    token; None means that no token is accepted. networks: the networks whose clients may connect; empty means that
    clients of any network may connect. open_status: whether clients on other machines may read the status and the
    metrics without a token. proxies: the networks of reverse proxies whose X-Forwarded-For is believed. public_url: the URL under which
    browsers reach the pages through a proxy; "" if there is none.
    """

    token: Token | None = None
    networks: tuple[Network, ...] = ()
    open_status: bool = False
    proxies: tuple[Network, ...] = ()
    public_url: str = ""

    def may_connect(self, peer: str) -> bool:
        """Return whether a client may connect. Clients on this machine may always connect."""
        if not self.networks:
            return True
        address = _address(peer)
        return address is None or address.is_loopback or any(address in network for network in self.networks)

    def may_read_status(self, peer: str) -> bool:
        """Return whether a client at this address may read the status without a token."""
        return self.open_status or self.is_local(peer)

    def is_local(self, peer: str) -> bool:
        """Return whether a client runs on this machine, that is, uses a loopback address or the Unix socket."""
        address = _address(peer)
        return address is None or address.is_loopback

    def is_proxy(self, peer: str) -> bool:
        """Return whether this is the address of a trusted reverse proxy."""
        address = _address(peer)
        return address is not None and any(address in network for network in self.proxies)

    def accepts_token(self, given: str) -> bool:
        return self.token is not None and self.token.matches(given)


def parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


@functools.lru_cache(maxsize=4096)
def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse a client's address; return None for a client of the Unix socket.

    An IPv4 address that is mapped into IPv6 is returned as IPv4.
    """
    if not peer:
        return None
    found = ipaddress.ip_address(peer.partition("%")[0])
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found
