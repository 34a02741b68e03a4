"""Sessions of browsers: from the entered token until sign-out, a time limit, or the token's end."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pipeline.errors import PipelineError
from pipeline.heartbeat.token import Token, same_secret
from pipeline.store import Store
from pipeline.store.access import console_sessions
from pipeline.store.access.console_sessions import ConsoleSession

FRESH_S = 1.0
"""How long a session is used before it is read again: a session that another process has ended is refused after this time at the latest."""
_NOTED_EVERY = timedelta(minutes=1)
_MOST_CACHED = 1000
_COOKIE = re.compile(r"([A-Za-z0-9_-]{43})\.([0-9a-f]{64})")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lifetimes:
    """How long sessions last: idle_s without a request, max_s in all. Seconds."""

    idle_s: float = 7 * 86400.0
    max_s: float = 30 * 86400.0

    def expiry(self, created_at: datetime, now: datetime) -> datetime:
        return min(created_at + timedelta(seconds=self.max_s), now + timedelta(seconds=self.idle_s))


class Sessions:
    """The sessions of one service. It must be used only in one event loop.

    The cookie of a session is its secret and a signature with the token in data_dir. So a forged cookie causes no query, and all
    sessions end when this token is replaced. store: None means that sessions end with this object.
    """

    def __init__(self, token: Token, store: Store | None, clock: Callable[[], datetime], lifetimes: Callable[[], Lifetimes]) -> None:
        self._token = token
        self._store = store
        self._clock = clock
        self._lifetimes = lifetimes
        self._cache: dict[str, tuple[ConsoleSession | None, float]] = {}

    async def start(self, token_hash: str, token_name: str, source: str) -> tuple[str, ConsoleSession]:
        """Create a session; return the value of its cookie, and the session. Raises PipelineError if it cannot be stored."""
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        session = ConsoleSession(_hash_of(secret), token_hash, token_name, source, now, now, self._lifetimes().expiry(now, now))
        if self._store is not None:
            await asyncio.to_thread(console_sessions.add, self._store, session)
        self._keep(session.id_hash, session)
        return f"{secret}.{self._token.signature_of(secret)}", session

    async def find(self, cookie: str, *, is_use: bool = True) -> ConsoleSession | None:
        """Return the session of a cookie, if it has not ended. While the store cannot be read, what was read before is used.

        is_use: whether this postpones the end of the session.
        """
        secret = self._secret_of(cookie)
        if secret is None:
            return None
        session = await self._read(_hash_of(secret))
        now = self._clock()
        if session is None or now >= session.expires_at or now >= self._lifetimes().expiry(session.created_at, session.last_seen_at):
            return None
        return await self._note_use(session, now) if is_use else session

    def csrf_token(self, cookie: str) -> str:
        return self._token.csrf_token_of(cookie.partition(".")[0])

    @property
    def cookie_age_s(self) -> int:
        """For how many seconds a browser keeps the cookie of a new session. The session may end earlier."""
        return round(self._lifetimes().max_s)

    async def end(self, id_hash: str) -> None:
        """End a session. Raises PipelineError if it cannot be deleted from the store; it is not ended then."""
        if self._store is not None:
            await asyncio.to_thread(console_sessions.end, self._store, id_hash)
        self._keep(id_hash, None)

    def _secret_of(self, cookie: str) -> str | None:
        found = _COOKIE.fullmatch(cookie)
        return found[1] if found is not None and same_secret(found[2], self._token.signature_of(found[1])) else None

    async def _read(self, id_hash: str) -> ConsoleSession | None:
        session, read_at = self._cache.get(id_hash, (None, float("-inf")))
        if self._store is None or asyncio.get_running_loop().time() - read_at < FRESH_S:
            return session
        try:
            session = await asyncio.to_thread(console_sessions.find, self._store, id_hash)
        except PipelineError as error:
            _log.warning("a session could not be read, so what was read before is used: %s", error)
            return session
        self._keep(id_hash, session)
        return session

    async def _note_use(self, session: ConsoleSession, now: datetime) -> ConsoleSession:
        """Postpone the end of a session that is used, at most once a minute."""
        if timedelta() <= now - session.last_seen_at < _NOTED_EVERY:
            return session
        used = replace(session, last_seen_at=now, expires_at=self._lifetimes().expiry(session.created_at, now))
        self._keep(used.id_hash, used)
        if self._store is not None:
            try:
                await asyncio.to_thread(console_sessions.note_use, self._store, used)
            except PipelineError as error:
                _log.warning("the use of a session could not be recorded: %s", error)
        return used

    def _keep(self, id_hash: str, session: ConsoleSession | None) -> None:
        self._cache.pop(id_hash, None)
        if len(self._cache) >= _MOST_CACHED:
            self._cache.pop(next(iter(self._cache)))
        self._cache[id_hash] = (session, asyncio.get_running_loop().time())


def _hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
