"""Iterate over all values of the settings, each with its key."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel


def values_within(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values that the settings file sets, tables and lists included, each with its dotted key, such as spiders.books.start[0].

    value: the settings, or a part of them whose key is `key`.
    """
    yield key, value
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        for name in fields:
            if name in value.model_fields_set and not fields[name].exclude:
                yield from values_within(getattr(value, name), f"{key}.{fields[name].alias or name}".lstrip("."))
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from values_within(entry, f"{key}.{name}")
    elif isinstance(value, (tuple, list)):
        for number, entry in enumerate(value):
            yield from values_within(entry, f"{key}[{number}]")
