"""A stored cookie, and the codec between its text and the octets on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.session.cookies.matching import canonical_host, is_address

MAX_PAIR_BYTES = 4096
"""Of a cookie's name and value together (RFC 6265bis, 5.7, step 4)."""

Place = tuple[str, str, str]
"""What makes two cookies one: domain (a leading dot says that subdomains count), path and name (RFC 6265bis, 5.7)."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie as RFC 6265bis, 5.7 stores it.

    name: "" for a nameless cookie. value: text by `text_of`, so that every octet comes back. domain: in lower case
    without a leading dot. expires_s: since 1970, None for a session cookie. same_site: Strict, Lax, None, or "".
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
        """As a Netscape file has it: with a leading dot where subdomains count."""
        return self.domain if self.host_only else f".{self.domain}"

    @property
    def place(self) -> Place:
        return self.shown_domain, self.path, self.name

    def has_expired(self, now_s: float) -> bool:
        return self.expires_s is not None and self.expires_s <= now_s

    def octets(self) -> bytes:
        """As the Cookie header has it (RFC 6265bis, 5.8.3)."""
        return octets_of(f"{self.name}={self.value}" if self.name else self.value)


def text_of(octets: bytes) -> str:
    """UTF-8 where it is; any other octet becomes a lone surrogate (PEP 383), from which `octets_of` makes it again."""
    return octets.decode("utf-8", "surrogateescape")


def octets_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def is_too_large(cookie: Cookie) -> bool:
    return len(octets_of(cookie.name)) + len(octets_of(cookie.value)) > MAX_PAIR_BYTES


def make_cookie(*, domain: str, name: str, value: str, path: str = "/", secure: bool = False,
                expires_s: int | None = None, http_only: bool = False, same_site: str = "") -> Cookie:
    """A cookie from elsewhere than an answer. domain: with a leading dot for subdomains too, without for that host alone.

    Raises ValueError for a domain that is no host name.
    """
    host = canonical_host(domain.removeprefix("."))
    return Cookie(name=name, value=value, domain=host, path=path or "/", secure=secure, expires_s=expires_s,
                  host_only=not domain.startswith(".") or is_address(host), http_only=http_only, same_site=same_site)


def with_own(header: bytes, own: Mapping[str, str]) -> bytes:
    """A Cookie header with a request's own cookies, which replace those of the same name."""
    names = {octets_of(name) for name in own}
    kept = [pair for pair in header.split(b"; ") if pair and pair.partition(b"=")[0] not in names]
    return b"; ".join([*kept, *(octets_of(f"{name}={value}") for name, value in own.items())])
