"""The secret token that opens the pages and actions, kept in a file of data_dir."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from pipeline.atomic_write import create_file
from pipeline.errors import HeartbeatError

TOKEN_FILE = "heartbeat-token"  # noqa: S105  the name of the file, not a secret
_BYTES = 32


class Token:
    """The secret, and the values derived from it for browsers and feed readers, which never get the token itself."""

    def __init__(self, value: str) -> None:
        self._value = value
        self.cookie_name = f"pipeline-{self._derived('name')[:8]}"
        """Different for each service, since all ports of a host share cookies (RFC 6265 section 8.5)."""
        self.cookie = self._derived("cookie")
        self.csrf_token = self._derived("form")
        """A form sends it back, so that no other site can post the form."""
        self.feed_key = self._derived("feed")
        """Part of a feed's URL. It opens feeds and nothing else."""

    def __repr__(self) -> str:
        return "Token(****)"

    def reveal(self) -> str:
        return self._value

    def matches(self, given: str) -> bool:
        return _same(given, self._value)

    def matches_cookie(self, given: str) -> bool:
        return _same(given, self.cookie)

    def matches_csrf_token(self, given: str) -> bool:
        return _same(given, self.csrf_token)

    def matches_feed_key(self, given: str) -> bool:
        return _same(given, self.feed_key)

    def _derived(self, purpose: str) -> str:
        return hmac.new(self._value.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def _same(given: str, expected: str) -> bool:
    """Compare in constant time. `expected` is ASCII; `given` may hold anything, lone surrogates included."""
    return given.isascii() and hmac.compare_digest(given.encode(), expected.encode())


def load_or_create_token(data_dir: Path) -> Token:
    """The token of this data_dir, created at first use and readable by its owner only. Raises HeartbeatError."""
    path = data_dir / TOKEN_FILE
    try:
        try:
            return Token(_read(path))
        except FileNotFoundError:
            create_file(path, f"{secrets.token_urlsafe(_BYTES)}\n".encode())
            return Token(_read(path))
    except OSError as error:
        raise HeartbeatError(f"the token file cannot be read or created: {error.strerror}", where=str(path),
                             fix="check that data_dir is writable") from error


def _read(path: Path) -> str:
    value = path.read_text("utf-8").strip()
    if len(value) < _BYTES:
        raise HeartbeatError("the token in this file is too short", where=str(path),
                             fix="remove the file; the service creates a new one")
    return value

