"""A table of settings.toml as text, in the style of this project.

[spiders.NAME] with its parts, short rules inline.

Strings are escaped as TOML 1.0 says (basic strings), so any text of a site can be written and is read back unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_INLINE_WIDTH = 110
_SECTIONS = frozenset(["items", "fields", "details"])


def spider_toml(name: str, table: Mapping[str, Any]) -> str:
    """Return the table of a spider as TOML text, which ends with a line break."""
    return table_toml(("spiders", name), table)


def table_toml(path: tuple[str, ...], table: Mapping[str, Any]) -> str:
    """Return a table as TOML text under the header that `path` names.

    Keys whose value is None are left out, since TOML has no such value. Raises TypeError for a value that TOML cannot hold.
    """
    lines = [f"[{'.'.join(map(key_toml, path))}]"]
    nested: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in table.items():
        if value is None:
            continue
        if isinstance(value, Mapping) and value and (key in _SECTIONS or len(value_toml(value)) > _INLINE_WIDTH):
            nested.append((key, value))
        else:
            lines.append(f"{key_toml(key)} = {value_toml(value)}")
    text = "\n".join(lines) + "\n"
    return text + "".join("\n" + table_toml((*path, key), value) for key, value in nested)


def key_toml(key: str) -> str:
    """Return a key of a table, quoted if it needs to be."""
    return key if _BARE.match(key) else string_toml(key)


def value_toml(value: object) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, str):
        return string_toml(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key_toml(key)} = {value_toml(entry)}" for key, entry in value.items() if entry is not None)
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(value_toml(entry) for entry in value)}]"
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    raise TypeError(f"TOML has no value for {type(value).__name__}")


def string_toml(text: str) -> str:
    """Return a text as a basic string of TOML. Lone surrogates, which TOML cannot hold, become U+FFFD."""
    return '"' + "".join(_ESCAPES.get(char) or _other(char) for char in text) + '"'


def _other(char: str) -> str:
    if char < " " or "\x7f" <= char <= "\x9f" or char in "\u2028\u2029\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
        return f"\\u{ord(char):04X}"
    return "\ufffd" if "\ud800" <= char <= "\udfff" else char
