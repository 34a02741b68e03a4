"""Which hosts may be reached: every public one, and of the private ones those that the settings name.

A page of the wide net must not make us fetch what only this machine can reach (server-side request forgery): its
own services, its neighbours, the metadata address of a cloud. Settings may, and so may the spider's own start.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from pipeline.errors import FetchError
from pipeline.hosts import PORTS, host_and_port, host_of, normal_host
from pipeline.text import clean_line

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MOST_FINE = 10_000
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_ISATAP = 0x00005EFE
_GIVEN_OUT = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(map(ipaddress.IPv6Network, (
    "2001::/23",  # Teredo, benchmarking, ORCHID and other protocols' own
    "2001:db8::/32", "3fff::/20")))  # documentation
_NOT_PUBLIC_4 = tuple(map(ipaddress.IPv4Network, (
    "192.0.0.0/24", "192.88.99.0/24")))  # protocols' own, former relays of 6to4


class SsrfGuard:
    """places: URLs, and hosts with or without a port (without: 80 and 443), that may be private."""

    def __init__(self, places: Iterable[str] = ()) -> None:
        self._places: set[tuple[str, int]] = set()
        self._fine: set[tuple[str, str]] = set()  # scheme and host of URLs that were checked before
        for place in places:
            self.allow(place)

    def allow(self, place: str) -> None:
        """Let a place be private."""
        host, port = host_and_port(place if "://" in place else f"//{place}")
        if host:
            self._places |= {(host, each) for each in ([port] if port else PORTS.values())}

    def check_address(self, host: str, port: int, address: str) -> None:
        """`host` leads to `address`. Raises FetchError when it is private and the place is not allowed."""
        if (normal_host(host), port) not in self._places and not is_public(address):
            where = clean_line(host, 100)
            raise FetchError(f"leads to {'the private address' if where == address else 'a private address,'} "
                             f"{address}, which is not fetched", where=f"{where}:{port}",
                             fix=f"if it is meant, add \"{where}:{port}\" to this spider's hosts")

    def check_url(self, url: str) -> None:
        """What can be said before a name is resolved: addresses as such, and localhost. Raises FetchError."""
        parts = urlsplit(url)
        if (parts.scheme, parts.netloc) in self._fine:
            return
        if parts.scheme not in PORTS:
            raise FetchError(f"leads to an address that is not fetched: {clean_line(parts.scheme, 20)}:",
                             where=clean_line(url, 100), fix="only http and https URLs are")
        host = host_of(url)
        if not host:
            raise FetchError("leads to an address that is not fetched: its host is not valid", where=clean_line(url, 100))
        if literal := _literal(host):
            self.check_address(host, parts.port or PORTS[parts.scheme], literal)
        if len(self._fine) < _MOST_FINE:
            self._fine.add((parts.scheme, parts.netloc))


def is_public(address: str) -> bool:
    """Whether an address is of the wide net. An IPv6 address that carries an IPv4 one is what that is.

    Not loopback, link-local, site-local, private, shared, documentation, benchmarking, reserved or multicast; of IPv6 no
    more than what is given out for the wide net (IANA: 2000::/3), and there neither tunnels nor what is of no use.
    """
    found: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = _carried(found)
        if inner is None:
            return found in _GIVEN_OUT and not any(found in network for network in _NOT_PUBLIC_6)
        found = inner
    return found.is_global and not found.is_multicast and not any(found in network for network in _NOT_PUBLIC_4)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one come to: mapped (RFC 4291), 6to4 (RFC 3056), NAT64 (RFC 6052), and ISATAP
    (RFC 5214); None where it carries none."""
    inner = address.ipv4_mapped or address.sixtofour
    low = int(address) & 0xFFFFFFFF
    if inner is None and (address in _NAT64 or (int(address) >> 32 & 0xFDFFFFFF) == _ISATAP):
        inner = ipaddress.IPv4Address(low)
    return inner


def _literal(host: str) -> str:
    """The address a host name is, in all spellings that resolvers know (127.1, 0x7f000001, 2130706433); "" for none."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, 6.3
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    if not re.fullmatch(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}", host):
        return ""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return ""
