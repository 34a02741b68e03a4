"""The column types of the database, and which texts can be stored.

Error texts, and other texts that may repeat a secret and are no identity, are in columns that mask secrets (MaskedText, MaskedJson).
Instants are stored as microseconds since 1970 UTC, and are timezone-aware datetimes in Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, BigInteger, Dialect, Integer, Text, TypeDecorator

from pipeline.model import Json
from pipeline.text import with_texts

# SQLite auto-increments INTEGER only; on other databases ids need 64 bits.
Id = BigInteger().with_variant(Integer, "sqlite")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MASK: ContextVar[Callable[[str], str]] = ContextVar("masks the secrets in what the present transaction stores", default=str)


class Instant(TypeDecorator[datetime]):
    """A column type for timezone-aware datetimes, stored as microseconds since 1970 UTC.

    The stored values are exact, sort by time, and are the same on every database.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


LONGEST_KEY = 1000
"""The maximum length of an item's key in characters, because an index entry in PostgreSQL can have at most 2.7 kB."""


def storable(text: str) -> str:
    """Return the text with U+0000 and lone surrogates replaced.

    Scraped text may contain such characters, and not every database can store them.
    """
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def storable_json(value: Json) -> Json:
    """Return JSON data whose texts and names are storable."""
    return with_texts(value, storable, storable)


def masked_json(value: Json, mask: Callable[[str], str]) -> Json:
    """Return JSON data with the secrets masked in all texts, but not in names, which the program reads: a password may be "items"."""
    return with_texts(value, mask, lambda name: name)


def storable_key(key: str) -> str:
    """Return the key in the form in which it is stored.

    A very long key is truncated and gets a hash of the whole key.
    """
    key = storable(key)
    if len(key) <= LONGEST_KEY:
        return key
    return f"{key[:LONGEST_KEY - 66]}… {hashlib.sha256(key.encode()).hexdigest()}"


class AnyText(TypeDecorator[str]):
    """A column type for text from any source.

    Characters that a database cannot store are replaced (see `storable`).
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else storable(value)


@contextmanager
def masked_by(mask: Callable[[str], str]) -> Iterator[None]:
    """Use `mask` for all values of MaskedText and MaskedJson columns that are stored inside the `with` block."""
    token = _MASK.set(mask)
    try:
        yield
    finally:
        _MASK.reset(token)


class MaskedText(TypeDecorator[str]):
    """A column type for texts that may repeat secrets, such as errors: secrets are masked, then the text is cut to `most` characters.

    It must not be cut earlier: a part of a secret is not recognised.
    """

    impl = Text
    cache_ok = True

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.most = most

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return storable(_MASK.get()(value))[:self.most] if value else value


class MaskedJson(TypeDecorator[Any]):
    """A column type for JSON data whose texts, but not names, may repeat secrets."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Json, dialect: Dialect) -> Any:
        return masked_json(value, _MASK.get())
