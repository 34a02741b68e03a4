"""Matches cookies to hosts and paths (RFC 6265, 5.1.2 to 5.1.4), and detects public suffixes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.hosts import normal_host

_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")


@dataclass(frozen=True, slots=True)
class Origin:
    """The parts of a URL that matter for cookies: host, path, and whether the scheme is https."""

    host: str
    path: str
    secure: bool

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the host, path and scheme of a URL as an Origin. Raises ValueError for an invalid URL."""
        parts = urlsplit(url)
        return cls(canonical_host(parts.hostname or ""), parts.path or "/", parts.scheme == "https")


def canonical_host(host: str) -> str:
    """Return a host name in lower case and ASCII (RFC 6265, 5.1.2). Raises ValueError for an invalid name.

    A dot at the end is kept, because browsers also treat "example.com." as a different host with its own cookies.
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
    """Return whether a cookie for `domain` is sent to `host` (RFC 6265, 5.1.3)."""
    return host == domain or (host.endswith(f".{domain}") and not is_address(host))


def path_matches(request_path: str, cookie_path: str) -> bool:
    """Return whether a cookie with the path `cookie_path` is sent to `request_path` (RFC 6265, 5.1.4)."""
    return request_path == cookie_path or (
        request_path.startswith(cookie_path)
        and (cookie_path.endswith("/") or request_path[len(cookie_path)] == "/"))


def default_path(request_path: str) -> str:
    """Return the path that a cookie set without a Path attribute gets (RFC 6265, 5.1.4)."""
    return request_path[:request_path.rfind("/")] or "/" if request_path.startswith("/") else "/"


def is_public_suffix(domain: str) -> bool:
    """Return whether unrelated owners can register names below `domain`.

    Examples are com, co.uk and github.io. A top-level domain that is not in the list of public suffixes also counts as one.
    """
    from pipeline.session.cookies.suffixes import PUBLIC_SUFFIXES  # noqa: PLC0415  few runs need the slow import
    return PUBLIC_SUFFIXES.is_public(domain.rstrip("."))
