"""Values of settings as text in TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
"""Matches a key that needs no quotes."""


def key_text(key: object) -> str:
    """Return a key, in quotes if it needs them."""
    text = str(key)
    return text if _BARE.fullmatch(text) else _string(text)


def value_text(value: Any, *, width: int | None = None) -> str:
    """Return a value as TOML. Entries of tables that are None are left out.

    width: a list that has more characters, or more than one entry of which one is a table, is written with one entry a line; None means
    that each value is on one line.
    """
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        entries = [f"{key_text(key)} = {value_text(each, width=width)}" for key, each in value.items() if each is not None]
        return f"{{ {', '.join(entries)} }}" if entries else "{}"
    if isinstance(value, Sequence):
        entries = [value_text(each, width=width) for each in value]
        line = f"[{', '.join(entries)}]"
        if width is None or (len(line) <= width and not any(isinstance(each, Mapping) for each in value[1:])):
            return line
        return "".join(["[\n", *(f"    {entry},\n" for entry in entries), "]"])
    return str(value)


def _string(text: str) -> str:
    """Return a basic string. It escapes what JSON escapes and, unlike JSON, the control character DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
