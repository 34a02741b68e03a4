"""Parses Set-Cookie headers as browsers do (draft-ietf-httpbis-rfc6265bis, sections 5.6 and 5.7).

Dates are parsed as RFC 6265, 5.1.1 requires. An invalid attribute of a cookie is ignored; an invalid cookie is ignored, and the
other cookies of the response are accepted.
"""

from __future__ import annotations

import re
from calendar import timegm
from datetime import date
from typing import NamedTuple

from pipeline.session.cookies.cookie import MAX_PAIR_BYTES, Cookie, text_of
from pipeline.session.cookies.matching import (
    Origin,
    default_path,
    domain_matches,
    is_address,
    is_public_suffix,
)

MAX_ATTRIBUTE_BYTES = 1024
LATEST_S = 253402300799
"""The latest expiry time of a cookie: the end of the year 9999, the last year that datetime supports."""

CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BLANKS = " \t"
_DATE_TOKEN = re.compile(r"[^\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?!\d)", re.ASCII)
_DAY = re.compile(r"(\d{1,2})(?!\d)", re.ASCII)
_YEAR = re.compile(r"(\d{2,4})(?!\d)", re.ASCII)
_DIGITS = re.compile(r"-?\d+", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SAME_SITE = {"strict": "Strict", "lax": "Lax", "none": "None"}


class _Attributes(NamedTuple):
    """The attributes of a Set-Cookie header. If an attribute is repeated, the last one counts.

    A missing attribute is "", None or False.
    """

    domain: str
    path: str
    expires_s: int | None
    max_age_s: int | None
    secure: bool
    http_only: bool
    same_site: str


def parse_set_cookie(line: bytes, origin: Origin, now_s: float, served: bytes = b"") -> Cookie | None:
    """Parse one Set-Cookie header of a response; return None if browsers ignore the cookie.

    If the returned cookie has already expired, the site wants the stored cookie with the same key to be deleted. origin: the
    origin of the response; served: the value of the response's Date header, used to correct Expires if the server's clock differs
    from the clock of this machine.
    """
    text = text_of(line)
    if CONTROL.search(text):
        return None
    pair, _, rest = text.partition(";")
    name, equals, value = pair.partition("=")
    if not equals:
        name, value = "", pair
    name, value = name.strip(_BLANKS), value.strip(_BLANKS)
    if not name and (equals or not value):
        return None  # a cookie `=sid=1` would be sent like a cookie named `sid`, so it is ignored, as in RFC 6265, 5.2
    if "\t" in name or (len(line) > MAX_PAIR_BYTES and _size(name) + _size(value) > MAX_PAIR_BYTES):
        return None  # the Netscape format cannot store a tab in a name
    said = _attributes(rest, origin)
    where = _domain(said.domain, origin.host)
    if where is None or (said.secure and not origin.secure) or not _keeps_prefix(name or value, bool(name), said, where[1]):
        return None
    path = said.path if said.path else default_path(origin.path)
    return Cookie(name=name, value=value, domain=where[0], host_only=where[1], path=path, secure=said.secure,
                  http_only=said.http_only, same_site=said.same_site, expires_s=_end(said, now_s, served))


def _attributes(text: str, origin: Origin) -> _Attributes:
    domain = path = same_site = ""
    expires_s = max_age_s = None
    secure = http_only = False
    for piece in text.split(";") if text else ():
        name, _, value = piece.partition("=")
        name, value = name.strip(_BLANKS).lower(), value.strip(_BLANKS)
        if len(value) > MAX_ATTRIBUTE_BYTES // 4 and _size(value) > MAX_ATTRIBUTE_BYTES:
            continue
        if name == "path":
            path = value if value.startswith("/") and "\t" not in value else default_path(origin.path)
        elif name == "expires":
            found = parse_date(value)
            expires_s = expires_s if found is None else found
        elif name == "max-age":
            if _DIGITS.fullmatch(value):
                max_age_s = int(value)
        elif name == "domain":
            domain = value.removeprefix(".").lower() or domain
        elif name == "secure":
            secure = True
        elif name == "httponly":
            http_only = True
        elif name == "samesite":
            same_site = _SAME_SITE.get(value.lower(), "")
    return _Attributes(domain, path, expires_s, max_age_s, secure, http_only, same_site)


def _domain(named: str, host: str) -> tuple[str, bool] | None:
    """Return the domain of a cookie, and whether the cookie is host-only.

    Return None if the host must not set a cookie for the domain. named: the value of the Domain attribute; "" if the cookie has
    none.
    """
    if not named:
        return host, True
    if not named.isascii() or not domain_matches(host, named):
        return None
    if is_address(host) or is_public_suffix(named):
        return (host, True) if named == host else None
    return named, False


def _keeps_prefix(name: str, named: bool, said: _Attributes, host_only: bool) -> bool:
    """Return whether a cookie named __Host-… or __Secure-… meets the conditions of the prefix (RFC 6265bis, 4.1.3).

    Return True for a name without such a prefix. The case of the prefix does not matter.
    """
    lowered = name[:9].lower()
    if lowered.startswith("__host-"):
        return named and said.secure and host_only and said.path == "/"
    if lowered == "__secure-":
        return named and said.secure
    return True


def _end(said: _Attributes, now_s: float, served: bytes) -> int | None:
    if said.max_age_s is not None:
        return int(min(now_s + said.max_age_s, LATEST_S)) if said.max_age_s > 0 else 0
    if said.expires_s is None or said.expires_s > now_s or not served:
        return said.expires_s
    served_s = parse_date(text_of(served))
    return said.expires_s if served_s is None or said.expires_s <= served_s else int(now_s) + said.expires_s - served_s


def parse_date(text: str) -> int | None:
    """Return the time of a cookie date (RFC 6265, 5.1.1) in seconds since 1970; None if the date is invalid.

    A date before 1970 is a negative number.
    """
    time = day = month = year = None
    for token in _DATE_TOKEN.findall(text):
        if time is None and (match := _TIME.match(token)):
            time = [int(part) for part in match.groups()]
        elif day is None and (match := _DAY.match(token)):
            day = int(match[1])
        elif month is None and (lowered := token[:3].lower()) in _MONTHS:
            month = _MONTHS.index(lowered) + 1
        elif year is None and (match := _YEAR.match(token)):
            year = int(match[1])
    if time is None or day is None or month is None or year is None:
        return None
    if year < 100:
        year += 1900 if year >= 70 else 2000
    hour, minute, second = time
    if year < 1601 or hour > 23 or minute > 59 or second > 59:
        return None
    try:
        date(year, month, day)
    except ValueError:
        return None
    return min(timegm((year, month, day, hour, minute, second)), LATEST_S)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
