"""Verifies API tokens against the hashes in the store, without a query for each request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from pipeline.errors import PipelineError
from pipeline.store import Store
from pipeline.store.access import api_tokens
from pipeline.store.access.api_tokens import ApiToken

FRESH_S = 1.0
"""How long the hashes are used before they are read again: a revoked token is refused after this time at the latest."""
_USED_EVERY = timedelta(minutes=1)

_log = logging.getLogger(__name__)


class TokenVerifier:
    """Knows the valid API tokens. It must be used only in one event loop. clock: returns the current time."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._tokens: dict[str, ApiToken] = {}
        self._used: dict[str, datetime] = {}
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def verify(self, text: str) -> ApiToken | None:
        """Return the valid API token with this secret; None if there is none. While the store cannot be read, the last tokens are used."""
        return await self.valid(api_tokens.hash_of(text)) if api_tokens.is_api_token(text) else None

    async def valid(self, token_hash: str) -> ApiToken | None:
        """Return the valid API token with this hash; None if there is none."""
        await self._refresh()
        found = self._tokens.get(token_hash)
        if found is not None:
            await self._note_use(found.name)
        return found

    async def _refresh(self) -> None:
        """Read the tokens again if they are not fresh. All requests that wait for this share one query."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._read_at < FRESH_S:
                return
            self._read_at = now
            try:
                found = await asyncio.to_thread(api_tokens.valid_tokens, self._store)
            except PipelineError as error:
                _log.warning("the API tokens could not be read, so those read before are used: %s", error)
                return
            self._tokens = {token.token_hash: token for token in found}

    async def _note_use(self, name: str) -> None:
        now = self._clock()
        last = self._used.get(name)
        if last is not None and timedelta() <= now - last < _USED_EVERY:
            return
        self._used[name] = now
        try:
            await asyncio.to_thread(api_tokens.note_use, self._store, name, now=now)
        except PipelineError as error:
            _log.warning("the use of the token %s could not be recorded: %s", name, error)
