"""Which clients may connect, and which need the token to read the status."""

from __future__ import annotations

import functools
import ipaddress
from dataclasses import dataclass

from pipeline.heartbeat.token import Token

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class AccessPolicy:
    """Decides by a client's address; "" is the address of a client of the Unix socket.

    networks: those that may connect; empty: all. open_status: other machines read status and metrics without a token.
    """

    token: Token | None = None
    networks: tuple[Network, ...] = ()
    open_status: bool = False

    def may_connect(self, peer: str) -> bool:
        """This machine and the Unix socket always may."""
        if not self.networks:
            return True
        address = _address(peer)
        return address is None or address.is_loopback or any(address in network for network in self.networks)

    def may_read_status(self, peer: str) -> bool:
        """Whether a client at this address may read the status without a token."""
        return self.open_status or self.is_local(peer)

    def is_local(self, peer: str) -> bool:
        """Whether the client runs on this machine: it came over loopback or the Unix socket."""
        address = _address(peer)
        return address is None or address.is_loopback

    def accepts_token(self, given: str) -> bool:
        return self.token is not None and self.token.matches(given)


def parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


@functools.lru_cache(maxsize=4096)
def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for the Unix socket. An IPv4 client of an IPv6 socket has its IPv4 address."""
    if not peer:
        return None
    found = ipaddress.ip_address(peer.partition("%")[0])
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found
