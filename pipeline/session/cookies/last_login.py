"""Records the last login of a session: its time, its cookies, and when they expire."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.model import LoginCookie
from pipeline.session.cookies.cookie import Cookie, CookieKey
from pipeline.session.cookies.jar import Jar
from pipeline.session.cookies.matching import domain_matches
from pipeline.store.session_files import SessionFile
from pipeline.text import clean_line

_SHORTEST_SECRET = 16
"""The length of 64 bits in hexadecimal, the least for the id of a session."""


@dataclass(frozen=True)
class LastLogin:
    """The last login of a session.

    at_s: the time of the login, in seconds since 1970; brought_in: whether the login consists of imported cookies; cookies: the
    keys of the cookies that were set by the login or imported.
    """

    at_s: float
    brought_in: bool
    cookies: frozenset[CookieKey]


def secrets_of(cookies: Iterable[Cookie]) -> list[str]:
    """Return the values that may identify a session. A shorter one, such as "yes" or "en", is a setting of the site."""
    return [cookie.value for cookie in cookies if len(cookie.value) >= _SHORTEST_SECRET]


def fresh(before: Iterable[Cookie], after: Iterable[Cookie]) -> list[Cookie]:
    """Return the cookies in `after` that are not in `before` with the same value and expiry time."""
    known = {(cookie.key, cookie.value, cookie.expires_s) for cookie in before}
    return [cookie for cookie in after if (cookie.key, cookie.value, cookie.expires_s) not in known]


def remember(file: SessionFile, cookies: Iterable[Cookie], *, brought_in: bool, now_s: float) -> None:
    """Record the last login, without the values of its cookies. Raises SessionError or StoreError if the file cannot be written."""
    found = {"at": now_s, "brought_in": brought_in, "cookies": sorted(cookie.key for cookie in cookies)}
    file.replace(json.dumps(found).encode())


def last(file: SessionFile) -> LastLogin | None:
    """Return the recorded login; None if no login is recorded or the file is damaged.

    Without a record, no warning is sent before the login expires. Raises SessionError or StoreError if the file cannot be read.
    """
    try:
        found = json.loads(file.read() or b"")
        return LastLogin(float(found["at"]), bool(found["brought_in"]),
                         frozenset((str(domain), str(path), str(name)) for domain, path, name in found["cookies"]))
    except (ValueError, KeyError, TypeError):
        return None


def ending(jar: Jar, login: LastLogin, *, hosts: frozenset[str], names: tuple[str, ...] = ()) -> list[LoginCookie]:
    """Return the login's cookies that have an expiry time, with their current values in the jar.

    hosts: the spider's own hosts; cookies for other hosts are left out. names: the names of the login cookies in the settings. If
    there are no names, only HttpOnly cookies are returned, if the login set any: on nearly all sites, login cookies are HttpOnly,
    and the cookies of visitor statistics never are.
    """
    mine = [cookie for cookie in jar.alive() if cookie.expires_s is not None and _is_of(cookie, hosts)]
    if names:
        chosen = [cookie for cookie in mine if cookie.name in names]
    else:
        came = [cookie for cookie in mine if cookie.key in login.cookies]
        chosen = [cookie for cookie in came if cookie.http_only] or came
    login_at = datetime.fromtimestamp(login.at_s, UTC)
    return [LoginCookie(clean_line(cookie.name, 80), clean_line(cookie.domain, 100), login_at, login.brought_in,
                        datetime.fromtimestamp(cookie.expires_s or 0, UTC)) for cookie in chosen]


def _is_of(cookie: Cookie, hosts: frozenset[str]) -> bool:
    """Return whether a cookie is sent to any of `hosts` (RFC 6265, 5.1.3)."""
    return any(host == cookie.domain or (not cookie.host_only and domain_matches(host, cookie.domain)) for host in hosts)

