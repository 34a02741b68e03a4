"""The tokens that the language model may use in a day, by all digests and processes together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pipeline.ai.errors import ModelError, Reason
from pipeline.ai.tokens import tokens_of
from pipeline.store import Store
from pipeline.store.ai import requests as stored

if TYPE_CHECKING:
    from pipeline.ai.client import Completion


@dataclass(frozen=True)
class UsedTokens:
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Reservation:
    """The tokens that are reserved for a request. id: id of its row."""

    id: int
    input_tokens: int
    output_tokens: int

    def used(self, completion: Completion | None, error: ModelError | None) -> UsedTokens:
        """Return what the request has used: what the server counted, else an estimate; everything if nobody knows."""
        if completion is not None:
            counted_in, counted_out = completion.input_tokens, completion.output_tokens
            return UsedTokens(self.input_tokens if counted_in is None else counted_in, tokens_of(completion.text) if counted_out is None else counted_out)
        return UsedTokens(self.input_tokens, self.output_tokens) if error is None or error.sent else UsedTokens(0, 0)


class Budget:
    """Reserves tokens before requests, and settles them afterwards. limit: maximum number of tokens in a day of `zone`."""

    def __init__(self, store: Store, *, limit: int, zone: ZoneInfo, digest: str, model: str) -> None:
        self._store = store
        self._limit = limit
        self._zone = zone
        self._digest = digest
        self._model = model

    def reserve(self, purpose: str, input_tokens: int, output_tokens: int, *, now: datetime) -> Reservation:
        """Reserve the tokens of a request that is about to be sent. Raises ModelError if the day's limit would be exceeded, StoreError."""
        request_id, used = stored.reserve(
            self._store, digest=self._digest, purpose=purpose, model=self._model, input_tokens=input_tokens, output_tokens=output_tokens,
            limit=self._limit, since=stored.day_begins(now, self._zone), until=stored.day_ends(now, self._zone), now=now)
        if request_id is None:
            raise ModelError(f"the limit of {self._limit:,} tokens a day for the language model is reached: {used:,} are used",
                             fix="increase [ai] max_tokens_per_day", reason=Reason.OVER_BUDGET)
        return Reservation(request_id, input_tokens, output_tokens)

    def settle(self, reservation: Reservation, used: UsedTokens, error: ModelError | None, *, now: datetime) -> None:
        """Record how a request ended, and the tokens that it has used instead of those that were reserved. Raises StoreError."""
        stored.settle(self._store, reservation.id, input_tokens=used.input_tokens, output_tokens=used.output_tokens,
                      error=error.what if error is not None else "", now=now)
        if error is not None:
            error.recorded = True

    def record_failure(self, purpose: str, error: ModelError, *, now: datetime) -> None:
        """Record a request that failed before it was sent. Raises StoreError."""
        stored.add_failure(self._store, digest=self._digest, purpose=purpose, model=self._model, error=error.what, now=now)
        error.recorded = True
