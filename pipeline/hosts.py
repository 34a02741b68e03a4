"""Hosts of URLs in one normal form for comparison (URL Standard, 3 and 4.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import ada_url

PORTS = {"http": 80, "https": 443}
"""The default port of each scheme that is fetched."""

_ORIGIN = re.compile(r"(?:(https?):)?//(?:[^/?#\\]*@)?(\[[^\]/?#\\@]*\]|[^/?#\\@:\[\]]*)(?::(\d{0,5}))?(?![^/?#])", re.IGNORECASE)


def normal_host(host: str) -> str:
    """Normalise a host without port; "" for one that is not valid in a URL.

    Lower case, A-labels for an international name, no dot at the end, an IPv4 address in four decimal numbers, an IPv6
    address compressed and without brackets.
    """
    return _normal_host(host)


def host_of(url: str) -> str:
    """The host of an http(s) URL, or of one without a scheme, normalised; "" if there is none."""
    return host_and_port(url)[0]


def host_and_port(url: str) -> tuple[str, int]:
    """The host and the port of a URL, by default the port of its scheme; ("", 0) without a valid host.

    User info is left out. An authority with a backslash has no host: clients disagree on where it ends.
    """
    return _host_and_port("/".join(url.split("/", 3)[:3]))


def place_of(url: str) -> str:
    """The host of a URL, with its port if that is not the scheme's default, as in a spider's `hosts`."""
    host, port = host_and_port(url)
    if not host:
        return ""
    name = f"[{host}]" if ":" in host else host
    return name if port == PORTS.get(url.partition(":")[0].lower()) else f"{name}:{port}"


class HostSet:
    """A set of hosts and ports; it tells whether a URL leads to one of them.

    places: http(s) URLs, or hosts with or without a port. An entry without a port, or
    with the default port of its scheme, stands for ports 80 and 443 of the host: http and https are not distinguished.
    """

    def __init__(self, places: Iterable[str] = ()) -> None:
        self._pairs: set[tuple[str, int]] = set()
        for place in places:
            self.add(place)

    def add(self, place: str) -> None:
        self._pairs |= _ports_of(place)

    def __contains__(self, url: str) -> bool:
        return host_and_port(url) in self._pairs


def _ports_of(place: str) -> set[tuple[str, int]]:
    url = "://" in place
    host, port = host_and_port(place if url else f"//{place}")
    if not host:
        return set()
    ports = PORTS.values() if not port or (url and port in PORTS.values()) else (port,)
    return {(host, each) for each in ports}


@lru_cache(maxsize=10_000)
def _host_and_port(origin: str) -> tuple[str, int]:
    match = _ORIGIN.match(origin)
    host = _normal_host(match[2]) if match else ""
    if match is None or not host:
        return "", 0
    port = int(match[3]) if match[3] else PORTS.get((match[1] or "").lower(), 0)
    return (host, port) if port < 65_536 else ("", 0)


@lru_cache(maxsize=10_000)
def _normal_host(host: str) -> str:
    bare = f"[{host}]" if ":" in host and not host.startswith("[") else host
    if not bare or re.search(r"[/?#\\@\s]", bare):
        return ""
    try:
        found = ada_url.URL(f"http://{bare}/").hostname
    except ValueError:
        return ""
    return str(found).strip("[]").rstrip(".")
