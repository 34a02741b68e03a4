"""How a session got in last, which cookies of its jar carry that, and when they end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import Cookie
from pathlib import Path

from pipeline.errors import SessionError
from pipeline.model import LoginCookie
from pipeline.session.cookies.jar import LATEST_S, Jar, is_http_only
from pipeline.session.private_file import write_private
from pipeline.session.shown import clean

_Identity = tuple[str, str, str]
"""Domain, path and name: what makes two cookies one."""


@dataclass(frozen=True)
class LastLogin:
    """How a session got in last: when, whether by cookies brought in, and which cookies that brought."""

    at_s: float
    brought_in: bool
    cookies: frozenset[_Identity]


def identity(cookie: Cookie) -> _Identity:
    return cookie.domain, cookie.path, cookie.name


def fresh(before: Iterable[Cookie], after: Iterable[Cookie]) -> list[Cookie]:
    """The cookies of `after` that are new, or have another value or end, since `before`."""
    known = {(identity(cookie), cookie.value, cookie.expires) for cookie in before}
    return [cookie for cookie in after if (identity(cookie), cookie.value, cookie.expires) not in known]


def remember(file: Path, cookies: Iterable[Cookie], *, brought_in: bool, now_s: float) -> None:
    """Write down the last login; no values. Raises SessionError."""
    found = {"at": now_s, "brought_in": brought_in, "cookies": sorted(identity(cookie) for cookie in cookies)}
    write_private(file, json.dumps(found).encode())


def last(file: Path) -> LastLogin | None:
    """The last one written down. None where there is none, or nothing to be made of it: all it costs is a warning."""
    try:
        found = json.loads(file.read_text("utf-8"))
        return LastLogin(float(found["at"]), bool(found["brought_in"]),
                     frozenset((str(domain), str(path), str(name)) for domain, path, name in found["cookies"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    except OSError as error:
        raise SessionError(f"cannot be read: {error.strerror}", where=str(file), fix="check its owner and mode") from error


def ending(jar: Jar, login: LastLogin, *, hosts: frozenset[str], names: tuple[str, ...] = ()) -> list[LoginCookie]:
    """The cookies of that login that end some day, as the jar has them now.

    names: what the settings say they are called. Else those that pages' scripts cannot read, where there are any: a
    login's cookies are HttpOnly on all but careless sites, those that count visitors never are. hosts: the spider's own.
    """
    mine = [cookie for cookie in jar if cookie.expires is not None and _is_of(cookie.domain, hosts)]
    if names:
        chosen = [cookie for cookie in mine if cookie.name in names]
    else:
        came = [cookie for cookie in mine if identity(cookie) in login.cookies]
        chosen = [cookie for cookie in came if is_http_only(cookie)] or came
    login_at = datetime.fromtimestamp(login.at_s, UTC)
    return [LoginCookie(clean(cookie.name, 80), clean(cookie.domain.removeprefix(".").removesuffix(".local"), 100), login_at,
                        login.brought_in, datetime.fromtimestamp(min(cookie.expires or 0, LATEST_S), UTC))
            for cookie in chosen]


def _is_of(domain: str, hosts: frozenset[str]) -> bool:
    """Whether a cookie of `domain` is sent to one of `hosts` (RFC 6265, 5.1.3)."""
    bare = domain.removeprefix(".").removesuffix(".local")
    return any(host == bare or (domain.startswith(".") and host.endswith(f".{bare}")) for host in hosts)
