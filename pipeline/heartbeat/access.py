"""Who may connect, who may ask, and the token that opens the pages."""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

from pipeline.atomic_write import create_file
from pipeline.errors import HeartbeatError

TOKEN_FILE = "heartbeat-token"  # noqa: S105  the name of the file, not a secret
_BYTES = 32


class Token:
    """The secret that opens pages and actions. What a browser keeps is derived from it, never the token itself."""

    def __init__(self, value: str) -> None:
        self._value = value
        self.cookie_name = f"pipeline-{self._derived('name')[:8]}"
        """Of this service only: cookies are shared by all ports of a host (RFC 6265 section 8.5)."""
        self.cookie = self._derived("cookie")
        self.proof = self._derived("form")
        """What a form sends back, so that no other page can post it."""
        self.feed = self._derived("feed")
        """In the address of a feed: opens feeds and nothing else."""

    def __repr__(self) -> str:
        return "Token(****)"

    def reveal(self) -> str:
        return self._value

    def opens(self, word: str) -> bool:
        return _same(word, self._value)

    def is_cookie(self, value: str) -> bool:
        return _same(value, self.cookie)

    def proves(self, value: str) -> bool:
        return _same(value, self.proof)

    def reads_feeds(self, value: str) -> bool:
        return _same(value, self.feed)

    def _derived(self, purpose: str) -> str:
        return hmac.new(self._value.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    """other: ours, and ASCII; one: anything at all, lone surrogates included."""
    return one.isascii() and hmac.compare_digest(one.encode(), other.encode())


def kept_token(data_dir: Path) -> Token:
    """The token of this data_dir, made at first use and readable by its owner only. Raises HeartbeatError."""
    path = data_dir / TOKEN_FILE
    try:
        try:
            return Token(_read(path))
        except FileNotFoundError:
            create_file(path, f"{secrets.token_urlsafe(_BYTES)}\n".encode())
            return Token(_read(path))
    except OSError as error:
        raise HeartbeatError(f"the token cannot be kept: {error.strerror}", where=str(path),
                             fix="check that data_dir is writable") from error


def _read(path: Path) -> str:
    value = path.read_text("utf-8").strip()
    if len(value) < _BYTES:
        raise HeartbeatError("is too short to be a token", where=str(path), fix="remove it; a new one is made")
    return value


@dataclass(frozen=True)
class Access:
    """networks: those that may connect, none: all. open_status: strangers need no token for status and metrics."""

    token: Token | None = None
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    open_status: bool = False

    def admits(self, peer: str) -> bool:
        """Whether a client at this address may connect. This machine, and a Unix socket (""), always may."""
        if not self.networks:
            return True
        address = _address(peer)
        return address is None or address.is_loopback or any(address in network for network in self.networks)

    def trusts(self, peer: str) -> bool:
        """Whether a client at this address may ask for the status without a token."""
        return self.open_status or self.is_local(peer)

    def is_local(self, peer: str) -> bool:
        """Whether this is the machine itself, by loopback or by a Unix socket ("")."""
        address = _address(peer)
        return address is None or address.is_loopback

    def opens(self, word: str) -> bool:
        return self.token is not None and self.token.opens(word)


def networks(texts: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


@functools.lru_cache(maxsize=4096)
def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for a Unix socket. An IPv4 client of an IPv6 socket counts as what it is."""
    if not peer:
        return None
    found = ipaddress.ip_address(peer.partition("%")[0])
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found
