"""Matches cookies to hosts and paths (RFC 6265, 5.1.2 to 5.1.4), and detects public suffixes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.hosts import normal_host

_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")


@dataclass(frozen=True, slots=True)
class Origin:
    """The parts of a response's URL that matter for cookies."""

    host: str
    path: str
    secure: bool

    @classmethod
    def of(cls, url: str) -> Origin:
        """Raises ValueError for an invalid URL."""
        parts = urlsplit(url)
        return cls(canonical_host(parts.hostname or ""), parts.path or "/", parts.scheme == "https")


def canonical_host(host: str) -> str:
    """The host in lower case and ASCII (RFC 6265, 5.1.2). Raises ValueError for an invalid host.

    A dot at the end stays: for browsers, too, a host with it has its own cookies.
    """
    if host.isascii():
        return host.lower()
    found = normal_host(host)
    if not found:
        raise ValueError("no host name")
    return found


def is_address(host: str) -> bool:
    return ":" in host or _IPV4.fullmatch(host) is not None


def domain_matches(host: str, domain: str) -> bool:
    """RFC 6265, 5.1.3."""
    return host == domain or (host.endswith(f".{domain}") and not is_address(host))


def path_matches(request_path: str, cookie_path: str) -> bool:
    """RFC 6265, 5.1.4."""
    return request_path == cookie_path or (
        request_path.startswith(cookie_path)
        and (cookie_path.endswith("/") or request_path[len(cookie_path)] == "/"))


def default_path(request_path: str) -> str:
    """RFC 6265, 5.1.4."""
    return request_path[:request_path.rfind("/")] or "/" if request_path.startswith("/") else "/"


def is_public_suffix(domain: str) -> bool:
    """Whether unrelated owners have names below `domain`: com, co.uk, github.io, and every unlisted top-level domain."""
    from pipeline.session.cookies.suffixes import PUBLIC_SUFFIXES  # noqa: PLC0415  few runs need it
    return PUBLIC_SUFFIXES.is_public(domain.rstrip("."))
