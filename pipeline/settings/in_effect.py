"""The settings in effect: each key with its value as text, and where the value comes from.

Also the keys in which two settings differ.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.settings.fields.scalars import Table
from pipeline.settings.files import NAMED_ENTRIES, SettingsFiles
from pipeline.settings.models.root import Settings
from pipeline.settings.toml_text import value_text

DEFAULT = "default"
_MOST_CHARACTERS = 500


@dataclass(frozen=True)
class Value:
    """A setting. key: with dots, such as spiders.shop.delay. text: the value as TOML. source: a file, or DEFAULT."""

    key: str
    text: str
    source: str


def values_in_effect(settings: Settings) -> list[Value]:
    """Return every key that the settings files have, and the defaults of the other keys of the same tables, sorted by table.

    The texts are those of the files: the caller must mask the secrets in them. The files may have changed since they were loaded, so
    a value that differs from `settings` is waiting for a reload. Raises SettingsError if the files cannot be read.
    """
    files = SettingsFiles(Path(settings.file))
    return list(_of_table("", files.raw, settings, files))


def _of_table(prefix: str, raw: Mapping[str, Any], table: Table, files: SettingsFiles) -> Iterator[Value]:
    fields = {info.alias or name: (name, info) for name, info in type(table).model_fields.items() if not info.exclude}
    for key, value in raw.items():
        attribute = getattr(table, fields[key][0], None) if key in fields else None
        yield from _of_value(f"{prefix}{key}", value, attribute, files)
    for key, (name, _) in fields.items():
        if key not in raw and (text := _default_text(type(table), name)):
            yield Value(f"{prefix}{key}", text, DEFAULT)


def _of_value(key: str, value: Any, attribute: Any, files: SettingsFiles) -> Iterator[Value]:
    if isinstance(value, dict) and isinstance(attribute, Table):
        yield from _of_table(f"{key}.", value, attribute, files)
    elif isinstance(value, dict) and isinstance(attribute, Mapping) and (
            key in NAMED_ENTRIES or (attribute and all(isinstance(each, Table) for each in attribute.values()))):
        for name, entry in value.items():
            yield from _of_value(f"{key}.{name}", entry, attribute.get(name), files)
    else:
        text = value_text(value)
        yield Value(key, text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…", files.file_of(key))


@functools.cache
def _default_text(table: type[Table], name: str) -> str:
    from pipeline.settings.reference import default_text  # noqa: PLC0415  reads the source text of the models
    return default_text(table, name)


def changed_keys(old: Settings, new: Settings) -> list[str]:
    """Return the keys in which two settings differ: a whole table if it is in one of them only."""
    return list(_changed("", old, new))


def _changed(prefix: str, old: Table, new: Table) -> Iterator[str]:
    for name, info in type(new).model_fields.items():
        if info.exclude:
            continue
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            yield from _changed_value(f"{prefix}{info.alias or name}", was, now)


def _changed_value(key: str, was: Any, now: Any) -> Iterator[str]:
    if isinstance(was, Table) and type(was) is type(now):
        yield from _changed(f"{key}.", was, now)
    elif isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in [*now, *(name for name in was if name not in now)]:
            if was.get(name) != now.get(name):
                yield from _changed_value(f"{key}.{name}", was.get(name), now.get(name))
    else:
        yield key
