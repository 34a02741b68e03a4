"""[ai]: the language model that summarises and judges changes, and what is hidden from it."""

from __future__ import annotations

from typing import Literal, get_args
from urllib.parse import urlsplit

import regex
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import Duration, HttpUrl, Table, is_loopback
from pipeline.settings.fields.secret import Secret

PersonalData = Literal["email", "phone", "iban", "card"]
MAX_TIME_S = 300.0
"""The longest `max_time`. A process that builds a digest is ended after ten minutes."""


class AiTable(Table):
    """A language model on a server with the API of OpenAI. Nothing is sent to it unless a digest says so. Needs the extra `ai`."""

    base_url: HttpUrl
    """URL of the API, such as "http://127.0.0.1:8080/v1" of a llama.cpp on this machine."""
    model: str = Field(min_length=1, max_length=200)
    """Name of the model, as the server knows it."""
    api_key: Secret | None = None
    """Secret reference to the key of the API. A server on this machine seldom needs one."""
    timeout: Duration = 60.0
    """Maximum time for one request."""
    max_time: Duration = 120.0
    """Maximum time for all requests of one digest, at most 5 minutes. After this time the mail leaves without the model."""
    retries: int = Field(2, ge=0, le=10)
    """How often a request is repeated after a failure that may pass, such as a busy server."""
    max_tokens_per_day: int = Field(200_000, ge=1)
    """Maximum number of tokens in a day of pipeline.timezone, sent and received by all digests together."""
    max_input_tokens: int = Field(6000, ge=1000, le=1_000_000)
    """Maximum number of tokens that are sent in one request; more changes are sent in several requests. Together with `max_output_tokens` it
    must fit into the context of the model: some servers cut a longer request without saying so."""
    max_output_tokens: int = Field(2000, ge=64, le=100_000)
    """Maximum number of tokens of one answer. Models that think first need more."""
    price_input: float = Field(0.0, ge=0, le=1_000_000, allow_inf_nan=False)
    """Price of a million tokens that are sent, for the cost on the pages and in the metrics."""
    price_output: float = Field(0.0, ge=0, le=1_000_000, allow_inf_nan=False)
    """Price of a million tokens that are received."""
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    """Currency of the prices: three letters, such as "EUR"."""
    mask: tuple[PersonalData, ...] = get_args(PersonalData)
    """Which personal data are replaced before text is sent: e-mail addresses, phone numbers, account numbers (IBAN) and card numbers."""
    mask_patterns: tuple[str, ...] = ()
    """Regular expressions of further text that is replaced before text is sent."""

    @field_validator("base_url")
    @classmethod
    def _base_url_is_plain(cls, value: str) -> str:
        """Return the URL without a slash at its end."""
        parts = urlsplit(value)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise PydanticCustomError("secret", "the URL must not contain a user name, a password, a query or a fragment; "
                                      "the key of the API is written as api_key = { env = \"NAME\" }")
        return value.rstrip("/")

    @field_validator("timeout", "max_time")
    @classmethod
    def _time_is_bounded(cls, value: float) -> float:
        if not 0 < value <= MAX_TIME_S:
            raise PydanticCustomError("duration", "the time must be more than 0 and at most 5m, because the mail waits for the model")
        return value

    @field_validator("mask_patterns")
    @classmethod
    def _patterns_compile(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            try:
                found = regex.compile(value)
            except regex.error as error:
                raise PydanticCustomError("regex", "{found} is not a regular expression: {why}", {"found": repr(value), "why": str(error)}) from error
            if found.match("") is not None:
                raise PydanticCustomError("regex", "{found} also matches an empty text; write a pattern that needs at least one character",
                                          {"found": repr(value)})
        return values

    @property
    def host(self) -> str:
        """The host of the server, with the port if it is not the default one, such as "127.0.0.1:8080"."""
        return urlsplit(self.base_url).netloc

    @property
    def is_on_this_machine(self) -> bool:
        return is_loopback(urlsplit(self.base_url).hostname or "")

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Return the price of some tokens in `currency`."""
        return (input_tokens * self.price_input + output_tokens * self.price_output) / 1_000_000
