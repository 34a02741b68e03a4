"""A JSON column type that compresses long values with zstd, on SQLite only.

PostgreSQL compresses long values itself. Short values, and values written by earlier versions, are stored as plain JSON.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON, Dialect, TypeDecorator
from sqlalchemy.types import TypeEngine, UserDefinedType

MIN_BYTES = 400
"""Values shorter than this are not compressed: compression would save almost nothing, and most items are short."""
_SAVES = 0.8


class _JsonAsGiven(UserDefinedType[Any]):
    """A JSON column that passes values to the driver unchanged.

    Strings are stored as text, and bytes as a BLOB.
    """

    cache_ok = True

    def get_col_spec(self, **kwargs: Any) -> str:
        return "JSON"


class PackedJson(TypeDecorator[Any]):
    """A column type for JSON values. None is stored as NULL."""

    impl = JSON
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(none_as_null=True)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return _JsonAsGiven() if dialect.name == "sqlite" else super().load_dialect_impl(dialect)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        text = json.dumps(value)
        if len(text) < MIN_BYTES:
            return text
        plain = text.encode()
        packed = _zstd().compress(plain)
        return packed if len(packed) < _SAVES * len(plain) else text

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return json.loads(json_text(value))


def json_text(stored: str | bytes) -> str:
    """Return the JSON text of a value as SQLite stores it."""
    return unpacked(stored) if isinstance(stored, bytes) else stored


def unpacked(value: bytes) -> str:
    """Return the JSON text of a compressed value."""
    return str(_zstd().decompress(value), "utf-8")


@lru_cache(maxsize=1)
def _zstd() -> Any:
    from backports import zstd  # noqa: PLC0415  not imported by commands that read no long value
    return zstd
