"""Protects against SSRF (server-side request forgery).

Refuses private addresses that the settings do not allow.

A page from the internet must not be able to make this program send requests to private addresses: services on this machine, hosts
in its network, or the metadata address of a cloud provider. Only private addresses in the settings, such as in a start URL, are
allowed.
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

_MAX_CHECKED = 10_000
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_ISATAP = 0x00005EFE
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(map(ipaddress.IPv6Network, (
    "2001::/23",  # Teredo, benchmarking, ORCHID and other protocols
    "2001:db8::/32", "3fff::/20")))  # documentation
_NOT_PUBLIC_4 = tuple(map(ipaddress.IPv4Network, (
    "192.0.0.0/24", "192.88.99.0/24")))  # protocol assignments, former 6to4 relays


class SsrfGuard:
    """Refuses URLs and IP addresses that are private, unless the settings allow them.

    places: the URLs and hosts that may have a private address; a host without a port is allowed on the ports 80 and 443. public_only:
    whether no place may, whatever `allow` is called with.
    """

    def __init__(self, places: Iterable[str] = (), *, public_only: bool = False) -> None:
        self._public_only = public_only
        self._places: set[tuple[str, int]] = set()
        self._checked: set[tuple[str, str]] = set()  # the scheme and host of each URL that passed the check
        for place in places:
            self.allow(place)

    def allow(self, place: str) -> None:
        """Allow a URL or a host to have a private address, unless only public ones are fetched."""
        if self._public_only:
            return
        host, port = host_and_port(place if "://" in place else f"//{place}")
        if host:
            self._places |= {(host, each) for each in ([port] if port else PORTS.values())}

    def check_address(self, host: str, port: int, address: str) -> None:
        """Raise FetchError if the address of a host is private and not allowed."""
        if (normal_host(host), port) not in self._places and not is_public(address):
            where = clean_line(host, 100)
            raise FetchError(f"the host has the private address {address}; private addresses are not fetched", where=f"{where}:{port}",
                             fix="only public addresses are fetched, because of public_only = true" if self._public_only else f"if this is intended, add \"{where}:{port}\" to this spider's `hosts` setting")

    def check_url(self, url: str) -> None:
        """Check the scheme of a URL, and whether its host is a private IP address or localhost, before resolving the host.

        Raises FetchError if the URL must not be fetched.
        """
        parts = urlsplit(url)
        if (parts.scheme, parts.netloc) in self._checked:
            return
        if parts.scheme not in PORTS:
            raise FetchError(f"the URL scheme {clean_line(parts.scheme, 20)} is not supported",
                             where=clean_line(url, 100), fix="only http and https URLs are fetched")
        host = host_of(url)
        if not host:
            raise FetchError("the host of the URL is not valid", where=clean_line(url, 100))
        if literal := _literal(host):
            self.check_address(host, parts.port or PORTS[parts.scheme], literal)
        if len(self._checked) < _MAX_CHECKED:
            self._checked.add((parts.scheme, parts.netloc))


def is_public(address: str) -> bool:
    """Return whether an IP address is public.

    An IPv6 address that contains an IPv4 address is public if the IPv4 address is. These addresses are not public: loopback,
    link-local, site-local, private, shared, documentation, benchmarking, reserved and multicast addresses; IPv6 addresses for
    tunnels; IPv6 addresses outside the global unicast range (IANA: 2000::/3).
    """
    found: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = _embedded_ipv4(found)
        if inner is None:
            return found in _GLOBAL_UNICAST and not any(found in network for network in _NOT_PUBLIC_6)
        found = inner
    return found.is_global and not found.is_multicast and not any(found in network for network in _NOT_PUBLIC_4)


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address contains; None if there is none.

    Mapped (RFC 4291), 6to4 (RFC 3056), NAT64 (RFC 6052) and ISATAP (RFC 5214) addresses contain an IPv4 address.
    """
    inner = address.ipv4_mapped or address.sixtofour
    low = int(address) & 0xFFFFFFFF
    if inner is None and (address in _NAT64 or (int(address) >> 32 & 0xFDFFFFFF) == _ISATAP):
        inner = ipaddress.IPv4Address(low)
    return inner


def _literal(host: str) -> str:
    """If a host is written as an IP address, return this address in the usual notation; "" if the host is a name.

    All notations that resolvers accept are recognized, such as 127.1, 0x7f000001 and 2130706433. "localhost" counts as 127.0.0.1.
    """
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
