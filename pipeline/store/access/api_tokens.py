"""API tokens: named secrets for scripts, stored as hashes, with the scope "read" or "full"."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Row, insert, or_, select, update

from pipeline.errors import UsageError
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import api_tokens

Scope = Literal["read", "full"]
PREFIX = "plt_"
"""The beginning of each API token, by which secret scanners and people recognize one."""
_BYTES = 32
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED = "main"
"""The name of the token in data_dir (`pipeline url`), which no API token can have."""
_USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class ApiToken:
    """An API token without its secret. token_hash: see `hash_of`."""

    name: str
    scope: Scope
    token_hash: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def is_api_token(text: str) -> bool:
    """Return whether a text has the form of an API token."""
    return _FORM.fullmatch(text) is not None


def hash_of(token: str) -> str:
    """Return the SHA-256 of a token. A token has 256 random bits, so a fast hash without a salt is sufficient."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def create(store: Store, name: str, scope: Scope, *, now: datetime) -> str:
    """Create an API token and return it. It cannot be read again. Raises UsageError if the name is invalid or used.

    The name of a revoked token stays used, because the audit log names it.
    """
    if _NAME.fullmatch(name) is None or name == RESERVED:
        raise UsageError(f"{name!r} cannot be the name of a token", where="token",
                         fix=f'use at most 64 letters, digits, ".", "_" and "-"; "{RESERVED}" is the token that `pipeline url` prints')
    token = f"{PREFIX}{secrets.token_urlsafe(_BYTES)}"
    with store.write(durable=True) as connection:
        if connection.execute(select(api_tokens.c.id).where(api_tokens.c.name == name)).first() is not None:
            raise UsageError(f"there is a token named {name!r} already, or it was revoked", where="token", fix="choose another name")
        connection.execute(insert(api_tokens).values(name=name, token_hash=hash_of(token), scope=scope, created_at=now))
    return token


def list_tokens(store: Store) -> list[ApiToken]:
    """Return all API tokens, the revoked ones too, sorted by name."""
    with store.read() as connection:
        return [_token_of(row) for row in connection.execute(select(api_tokens).order_by(api_tokens.c.name))]


def valid_tokens(store: Store) -> list[ApiToken]:
    """Return the API tokens that are not revoked."""
    with store.read() as connection:
        return [_token_of(row) for row in connection.execute(select(api_tokens).where(api_tokens.c.revoked_at.is_(None)))]


def revoke(store: Store, name: str, *, now: datetime) -> bool:
    """Revoke an API token. Return whether there was a valid token with this name."""
    with store.write(durable=True) as connection:
        return bool(connection.execute(update(api_tokens).where(
            api_tokens.c.name == name, api_tokens.c.revoked_at.is_(None)).values(revoked_at=now)).rowcount)


def note_use(store: Store, name: str, *, now: datetime) -> None:
    """Record that an API token was used, at most once a minute."""
    with store.write() as connection:
        connection.execute(update(api_tokens).where(
            api_tokens.c.name == name, or_(api_tokens.c.last_used_at.is_(None), api_tokens.c.last_used_at < now - _USED_EVERY),
        ).values(last_used_at=now))


def _token_of(row: Row[Any]) -> ApiToken:
    return ApiToken(row.name, "full" if row.scope == "full" else "read", row.token_hash, row.created_at, row.last_used_at, row.revoked_at)
