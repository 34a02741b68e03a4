"""A stored cookie, and the conversion between the text of a cookie and the bytes in a header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.session.cookies.matching import canonical_host, is_address

MAX_PAIR_BYTES = 4096
"""The maximum size in bytes of a cookie's name and value together (RFC 6265bis, 5.7, step 4)."""

CookieKey = tuple[str, str, str]
"""The domain, path and name that identify a cookie (RFC 6265bis, 5.7).

The domain has a leading dot if the cookie is also sent to subdomains.
"""


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie with the fields of RFC 6265bis, 5.7.

    name: "" for a nameless cookie; value: decoded by `text_of`, which keeps every byte; domain: in lower case, without a
    leading dot; expires_s: seconds since 1970, None for a session cookie; same_site: "Strict", "Lax", "None", or "" if not
    set.
    """

    name: str
    value: str = field(repr=False)
    domain: str
    path: str = "/"
    host_only: bool = True
    secure: bool = False
    http_only: bool = False
    same_site: str = ""
    expires_s: int | None = None

    @property
    def shown_domain(self) -> str:
        """The domain as in a Netscape file: with a leading dot if the cookie is also sent to subdomains."""
        return self.domain if self.host_only else f".{self.domain}"

    @property
    def key(self) -> CookieKey:
        return self.shown_domain, self.path, self.name

    def has_expired(self, now_s: float) -> bool:
        return self.expires_s is not None and self.expires_s <= now_s

    def octets(self) -> bytes:
        """Return the bytes of the cookie in a Cookie header (RFC 6265bis, 5.8.3)."""
        return octets_of(f"{self.name}={self.value}" if self.name else self.value)


def text_of(octets: bytes) -> str:
    """Decode bytes as UTF-8.

    An invalid byte becomes a lone surrogate (PEP 383), from which `octets_of` restores the byte.
    """
    return octets.decode("utf-8", "surrogateescape")


def octets_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def is_too_large(cookie: Cookie) -> bool:
    return len(octets_of(cookie.name)) + len(octets_of(cookie.value)) > MAX_PAIR_BYTES


def make_cookie(*, domain: str, name: str, value: str, path: str = "/", secure: bool = False,
                expires_s: int | None = None, http_only: bool = False, same_site: str = "") -> Cookie:
    """Return a cookie that comes from an import or from the settings and not from a response.

    domain: the host name, with a leading dot if the cookie is also sent to subdomains. Raises ValueError for an invalid host
    name.
    """
    host = canonical_host(domain.removeprefix("."))
    return Cookie(name=name, value=value, domain=host, path=path or "/", secure=secure, expires_s=expires_s,
                  host_only=not domain.startswith(".") or is_address(host), http_only=http_only, same_site=same_site)


def own_cookies(cookies: Any) -> dict[str, str]:
    """Return the own cookies of a request by name. Scrapy accepts a dict, or a list of dicts with `name` and `value`."""
    if isinstance(cookies, dict):
        return {str(name): str(value) for name, value in cookies.items()}
    return {str(entry["name"]): str(entry["value"]) for entry in cookies or ()}


def with_own(header: bytes, own: Mapping[str, str]) -> bytes:
    """Add the request's own cookies to a Cookie header, and return the new header.

    own: the request's own cookies, by name. Such a cookie replaces all cookies of the same name in the header.
    """
    names = {octets_of(name) for name in own}
    kept = [pair for pair in header.split(b"; ") if pair and pair.partition(b"=")[0] not in names]
    return b"; ".join([*kept, *(octets_of(f"{name}={value}") for name, value in own.items())])
