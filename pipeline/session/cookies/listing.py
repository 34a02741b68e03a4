"""Describes the cookies of a jar for `pipeline cookies show`, with masked values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.session.cookies.jar import Jar
from pipeline.text import clean_line


@dataclass(frozen=True)
class CookieLine:
    """A cookie as `pipeline cookies show` prints it. expires: None for a session cookie."""

    domain: str
    path: str
    name: str
    value: str
    expires: datetime | None
    expired: bool
    flags: tuple[str, ...]


def describe(jar: Jar, now: datetime) -> list[CookieLine]:
    """Return all cookies of the jar, sorted by domain, path and name, with masked values."""
    lines = []
    for cookie in sorted(jar, key=lambda cookie: cookie.key):
        flags = [name for name, there in (("secure", cookie.secure), ("httponly", cookie.http_only),
                                          ("host-only", cookie.host_only), ("session", cookie.expires_s is None)) if there]
        flags += [f"samesite={cookie.same_site.lower()}"] if cookie.same_site else []
        expires = None if cookie.expires_s is None else datetime.fromtimestamp(cookie.expires_s, UTC)
        size = len(cookie.value)
        lines.append(CookieLine(
            domain=clean_line(cookie.shown_domain, 200), path=clean_line(cookie.path, 200), name=clean_line(cookie.name, 80),
            value=f"••• ({size} character{'' if size == 1 else 's'})",
            expires=expires, expired=expires is not None and expires <= now, flags=tuple(flags)))
    return lines
