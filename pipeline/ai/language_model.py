"""The language model of a digest: requests with a budget, a deadline, retries and checked answers."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from pipeline.ai.answers import Answer, parsed
from pipeline.ai.budget import Budget, Reservation
from pipeline.ai.errors import ModelError, Reason
from pipeline.ai.open_client import open_client
from pipeline.ai.prompt import Record, messages_of
from pipeline.ai.request_form import RequestForm
from pipeline.ai.tokens import tokens_of, tokens_of_messages
from pipeline.settings import AiTable, Settings
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.text import clean_line

if TYPE_CHECKING:
    from pipeline.ai.client import ChatClient, Completion

_FIRST_DELAY_S = 1.0
_QUOTED, _READ = 100, 5_000
"""How much of an answer that is none the log and `pipeline check` quote, and how much of it is read for this. Mails and pages do not show it."""
_RECORD_TOKENS = 30
"""The tokens of the lines around a record."""

logger = logging.getLogger(__name__)


class LanguageModel:
    """Asks the language model of [ai] for one digest. It is used by one thread.

    All requests of one LanguageModel share `max_time` of the settings, from the first request on. After an error that would end further
    requests, too, each further request fails at once, so that a server that is down delays a mail only once.
    model, host: names of the model and of its server. input_tokens, output_tokens: what the requests have used so far.
    """

    def __init__(self, table: AiTable, budget: Budget, mask: Callable[[str], str] = str, *, first_delay_s: float = _FIRST_DELAY_S) -> None:
        self.model = table.model
        self.host = table.host
        self.input_tokens = 0
        self.output_tokens = 0
        self._table = table
        self._budget = budget
        self._mask = mask
        self._first_delay_s = first_delay_s
        self._form = RequestForm()
        self._deadline: float | None = None
        self._failure: ModelError | None = None
        self._opened: ChatClient | None = None

    @classmethod
    def of(cls, settings: Settings, store: Store, *, digest: str) -> Self | None:
        """Return the language model for a digest; None if the settings have no [ai]. Nothing is sent yet. digest: its name, for the records."""
        if settings.ai is None:
            return None
        budget = Budget(store, limit=settings.ai.max_tokens_per_day, zone=settings.zone, digest=digest, model=settings.ai.model)
        return cls(settings.ai, budget, Mask.of(settings))

    def batches(self, instructions: str, records: Sequence[Record], schema: type[Answer], *, most: int = 50) -> Iterator[list[Record]]:
        """Yield records in their order, in batches that fit into one request. most: maximum number of records in a batch."""
        left = self._table.max_input_tokens - tokens_of_messages(messages_of(instructions, [], schema))
        batch: list[Record] = []
        used = 0
        for record in records:
            size = tokens_of(record.text) + _RECORD_TOKENS
            if batch and (used + size > left or len(batch) >= most):
                yield batch
                batch, used = [], 0
            batch.append(record)
            used += size
        if batch:
            yield batch

    def ask(self, purpose: str, instructions: str, records: Sequence[Record], schema: type[Answer]) -> Answer:
        """Return the answer of the model as an instance of `schema`. Raises ModelError, StoreError.

        purpose: "summary", "filter" or "test", for the records. instructions: the task. records: what sites wrote, as data.
        """
        if self._failure is not None:
            raise self._failure
        if self._deadline is None:
            self._deadline = time.monotonic() + self._table.max_time
        try:
            try:
                return self._answer(purpose, messages_of(instructions, records, schema, mask=self._mask), schema)
            except ModelError as error:
                if error.reason is not Reason.NONSENSE:
                    raise
                logger.info("the language model is asked again: %s", error)
            return self._answer(purpose, messages_of(instructions, records, schema, again=True, mask=self._mask), schema)
        except ModelError as error:
            if error.final:
                self._failure = error
            if not error.recorded:
                self._budget.record_failure(purpose, error, now=datetime.now(UTC))
            # Only info: the caller says what is missing, with this reason.
            logger.info("no answer of the language model %s: %s", self.model, error)
            raise

    def _answer(self, purpose: str, messages: list[dict[str, str]], schema: type[Answer]) -> Answer:
        """Ask until there is an answer, or until another attempt cannot help. Raises ModelError."""
        attempt = 0
        while True:
            try:
                return self._attempt(purpose, messages, schema)
            except ModelError as error:
                if not error.retry or attempt >= self._table.retries:
                    raise
                delay_s = error.retry_after_s or self._first_delay_s * 2 ** attempt * random.uniform(0.75, 1.25)  # noqa: S311  no secret
                if delay_s >= self._left_s():
                    raise
                logger.info("the language model is asked again in %.1f s: %s", delay_s, error)
                time.sleep(delay_s)
                attempt += 1

    def _left_s(self) -> float:
        assert self._deadline is not None
        return self._deadline - time.monotonic()

    def _attempt(self, purpose: str, messages: list[dict[str, str]], schema: type[Answer]) -> Answer:
        """Send one request, and send it again without what the server refuses. Raises ModelError."""
        while True:
            try:
                return self._request(purpose, messages, schema)
            except ModelError as error:
                form = self._form.after_refusal(error.said) if error.said else None
                if form is None:
                    raise
                logger.info("the server of the language model refused a request; it is sent in another form: %s", error)
                self._form = form

    def _request(self, purpose: str, messages: list[dict[str, str]], schema: type[Answer]) -> Answer:
        client = self._client()
        timeout_s = min(self._table.timeout, self._left_s())
        if timeout_s <= 0:
            raise ModelError("the time for the language model is over", where=self.host, fix="increase [ai] max_time", reason=Reason.TIME_LIMIT)
        reservation = self._budget.reserve(purpose, tokens_of_messages(messages), self._table.max_output_tokens, now=datetime.now(UTC))
        completion: Completion | None = None
        try:
            completion = client.complete(messages, self._form.parameters(schema, self._table.max_output_tokens), timeout_s=timeout_s)
            answer = parsed(completion.text, schema)
        except ModelError as error:
            error.what = self._mask(error.what)  # a server may repeat a part of the request, such as the key
            if completion is not None and not error.fix:
                said = clean_line(self._mask(clean_line(completion.text[:_READ])), _QUOTED)  # masked before it is cut
                error.fix = f"use a model that can write JSON; this one wrote “{said}”"
            self._settle(reservation, completion, error)
            raise
        self._settle(reservation, completion, None)
        return answer

    def _settle(self, reservation: Reservation, completion: Completion | None, error: ModelError | None) -> None:
        used = reservation.used(completion, error)
        self.input_tokens += used.input_tokens
        self.output_tokens += used.output_tokens
        self._budget.settle(reservation, used, error, now=datetime.now(UTC))

    def _client(self) -> ChatClient:
        """Return the client, which is loaded with the first request. Raises ModelError."""
        if self._opened is None:
            self._opened = open_client(self._table)
        return self._opened
