"""The secret token that authorizes access to the pages and actions, stored in a file in data_dir."""

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
    """The secret token, and values derived from it, which browsers and feed readers get instead."""

    def __init__(self, value: str) -> None:
        self._value = value
        self.cookie_name = f"pipeline-{self._derived('name')[:8]}"
        """The name of the login cookie. The name is different for each service, because browsers share cookies between all
        ports of a host (RFC 6265 section 8.5)."""
        self.feed_key = self._derived("feed")
        """The key in the URL of a feed. The key gives access to feeds, but not to pages or actions."""

        self.data_id = self._derived("data")[:16]
        """Identifies the data_dir that contains the token. A command compares this value to notice that a service uses another
        data_dir."""

    def __repr__(self) -> str:
        return "Token(****)"

    def reveal(self) -> str:
        return self._value

    def matches(self, given: str) -> bool:
        return same_secret(given, self._value)

    def signature_of(self, session_id: str) -> str:
        """Return the signature of the identifier of a session, which shows that this service has created it."""
        return self._derived(f"session {session_id}")

    def csrf_token_of(self, session_id: str) -> str:
        """Return the value of a hidden field in each form on the pages, which prevents other sites from submitting the form."""
        return self._derived(f"form {session_id}")

    def proof_for(self, challenge: str, instance: str) -> str:
        """Return the proof that a process knows the token, for a random challenge. instance: the identifier of the process."""
        return self._derived(f"instance {challenge} {instance}")

    def matches_feed_key(self, given: str) -> bool:
        return same_secret(given, self.feed_key)

    def _derived(self, purpose: str) -> str:
        return hmac.new(self._value.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def same_secret(given: str, expected: str) -> bool:
    """Return whether two strings are equal, in constant time.

    given: any string, even with lone surrogates. expected: an ASCII string.
    """
    return given.isascii() and hmac.compare_digest(given.encode(), expected.encode())


def load_or_create_token(data_dir: Path) -> Token:
    """Return the token stored in `data_dir`; create the token file if the file does not exist.

    Only the owner may read the token file. Raises HeartbeatError when the file cannot be read or created, or when
    the token in the file is too short.
    """
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


def read_token(data_dir: Path) -> Token | None:
    """Return the token in `data_dir`; None if there is no token that can be read."""
    try:
        return Token(_read(data_dir / TOKEN_FILE))
    except (OSError, HeartbeatError):
        return None


def data_id_of(data_dir: Path) -> str:
    """Return the `data_id` of the token in `data_dir`; "" if there is no token that can be read."""
    token = read_token(data_dir)
    return token.data_id if token is not None else ""


def _read(path: Path) -> str:
    value = path.read_text("utf-8").strip()
    if len(value) < _BYTES:
        raise HeartbeatError("the token in the file is too short", where=str(path),
                             fix="remove the file; the service then creates a new token")
    return value

