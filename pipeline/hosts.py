"""Normalize the hosts of URLs, so that they can be compared (URL Standard, 3 and 4.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import ada_url

PORTS = {"http": 80, "https": 443}
"""The default port of each supported URL scheme."""

_ORIGIN = re.compile(r"(?:(https?):)?//(?:[^/?#\\]*@)?(\[[^\]/?#\\@]*\]|[^/?#\\@:\[\]]*)(?::(\d{0,5}))?(?![^/?#])", re.IGNORECASE)


def normal_host(host: str) -> str:
    """Return a host without port in normalized form, or "" if the host is not valid in a URL.

    The normalized form is lowercase, uses A-labels for international names and has no trailing dot. IPv4 addresses are dotted
    decimal; IPv6 addresses are compressed, without brackets.
    """
    return _normal_host(host)


def host_of(url: str) -> str:
    """Return the normalized host of an http(s) URL or of a URL without scheme; "" if there is no host."""
    return host_and_port(url)[0]


def host_and_port(url: str) -> tuple[str, int]:
    """Return the host and the port of a URL; ("", 0) if the URL has no valid host.

    If the URL names no port, the port is the default of the URL's scheme, or 0 for a URL without scheme. User info is ignored. A
    backslash in the authority makes the host invalid, because clients disagree on where such an authority ends.
    """
    return _host_and_port("/".join(url.split("/", 3)[:3]))


def place_of(url: str) -> str:
    """Return the host of a URL, followed by the port unless the port is the scheme's default.

    Return "" if the URL has no valid host. The entries of a spider's `hosts` setting are written in the same form.
    """
    host, port = host_and_port(url)
    if not host:
        return ""
    name = f"[{host}]" if ":" in host else host
    return name if port == PORTS.get(url.partition(":")[0].lower()) else f"{name}:{port}"


class HostSet:
    """A set of hosts and ports. `url in hosts` is True if the host and port of the URL are in the set.

    places: http(s) URLs, or hosts with or without a port. A host without a port adds both port 80 and port 443 of the host to the set,
    and so does a URL with one of these ports. The set therefore does not distinguish http from https.
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
