"""A stored cookie, and the conversion between its text and the bytes of a header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.session.cookies.matching import canonical_host, is_address

MAX_PAIR_BYTES = 4096
"""The maximum for the name and value of a cookie together (RFC 6265bis, 5.7, step 4)."""

CookieKey = tuple[str, str, str]
"""The identity of a cookie: domain (with a leading dot if it includes subdomains), path and name (RFC 6265bis, 5.7)."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie with the fields of RFC 6265bis, 5.7.

    name: "" for a nameless cookie; value: decoded by `text_of`, which keeps every byte; domain: in lower case, without a
    leading dot; expires_s: since 1970, None for a session cookie; same_site: Strict, Lax, None, or "".
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
        """The domain as in a Netscape file: with a leading dot if it includes subdomains."""
        return self.domain if self.host_only else f".{self.domain}"

    @property
    def key(self) -> CookieKey:
        return self.shown_domain, self.path, self.name

    def has_expired(self, now_s: float) -> bool:
        return self.expires_s is not None and self.expires_s <= now_s

    def octets(self) -> bytes:
        """The cookie as in a Cookie header (RFC 6265bis, 5.8.3)."""
        return octets_of(f"{self.name}={self.value}" if self.name else self.value)


def text_of(octets: bytes) -> str:
    """Decode UTF-8. Any other byte becomes a lone surrogate (PEP 383), which `octets_of` encodes as that byte again."""
    return octets.decode("utf-8", "surrogateescape")


def octets_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def is_too_large(cookie: Cookie) -> bool:
    return len(octets_of(cookie.name)) + len(octets_of(cookie.value)) > MAX_PAIR_BYTES


def make_cookie(*, domain: str, name: str, value: str, path: str = "/", secure: bool = False,
                expires_s: int | None = None, http_only: bool = False, same_site: str = "") -> Cookie:
    """A cookie that does not come from a response. domain: with a leading dot it includes subdomains.

    Raises ValueError for an invalid host name.
    """
    host = canonical_host(domain.removeprefix("."))
    return Cookie(name=name, value=value, domain=host, path=path or "/", secure=secure, expires_s=expires_s,
                  host_only=not domain.startswith(".") or is_address(host), http_only=http_only, same_site=same_site)


def with_own(header: bytes, own: Mapping[str, str]) -> bytes:
    """Add the cookies of a request to a Cookie header. They replace those of the same name."""
    names = {octets_of(name) for name in own}
    kept = [pair for pair in header.split(b"; ") if pair and pair.partition(b"=")[0] not in names]
    return b"; ".join([*kept, *(octets_of(f"{name}={value}") for name, value in own.items())])
