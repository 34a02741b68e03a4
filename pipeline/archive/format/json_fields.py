"""Masks the values of named members of JSON: of one value or several, and in texts of JSON.

Several values are NDJSON or JSON text sequences; a prefix against scripts, such as )]}', may precede them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

_PREFIX = re.compile(r"\ufeff?\s*+(?:\)\]\}'?,?|for ?\(;;\);?|while ?\((?:1|true)\);?|\{\} ?&&|/\*.{0,100}?\*/)?+\s*+")
"""What sites write before JSON so that no <script> of another site can read it."""
_BETWEEN = re.compile(r"[\s\x1e,]*+")
"""What separates values: line ends (NDJSON), RS (RFC 7464), commas, or nothing."""


class NotJsonError(ValueError):
    """A text is not JSON, or nested too deeply."""


class _Members(tuple[tuple[str, Any], ...]):
    """The members of a JSON object. Several can have one name, and which of them counts is up to the server."""

    __slots__ = ()


_DECODER = json.JSONDecoder(object_pairs_hook=_Members)


def masked_json(text: str, is_secret: Callable[[str], bool], mask: str) -> str:
    """Return a text of one or more JSON values with the values of secret members replaced by `mask`.

    A text in which none is secret is returned unchanged; otherwise, spaces between values may change. Raises NotJsonError.
    """
    try:
        return "".join(_masked_values(text, is_secret, mask))
    except (ValueError, RecursionError) as error:
        raise NotJsonError("the text is not JSON") from error


def looks_like_json(text: str) -> bool:
    """Return whether a text begins like a JSON object or array."""
    found = _PREFIX.match(text)
    return text.startswith(("{", "["), found.end() if found else 0)


def _masked_values(text: str, is_secret: Callable[[str], bool], mask: str) -> Iterator[str]:
    prefix = _PREFIX.match(text)
    at = prefix.end() if prefix else 0
    yield text[:at]
    while True:
        before, end = _DECODER.raw_decode(text, at)
        after = _masked_value(before, is_secret, mask)
        yield text[at:end] if after == before else _json(after)
        gap = _BETWEEN.match(text, end)
        at = gap.end() if gap else end
        yield text[end:at]
        if at == len(text):
            return


def _masked_value(value: Any, is_secret: Callable[[str], bool], mask: str) -> Any:
    if isinstance(value, _Members):
        return _Members((name, mask if each not in (None, "") and is_secret(name) else _masked_value(each, is_secret, mask)) for name, each in value)
    if isinstance(value, list):
        return [_masked_value(each, is_secret, mask) for each in value]
    return _masked_text(value, is_secret, mask) if isinstance(value, str) and looks_like_json(value) else value


def _masked_text(text: str, is_secret: Callable[[str], bool], mask: str) -> str:
    """Return a text in JSON that may be JSON itself. If it only begins like that, it is replaced as a whole if the beginning has a secret member."""
    found = False

    def is_found(name: str) -> bool:
        nonlocal found
        is_one = is_secret(name)
        found = found or is_one
        return is_one

    try:
        return masked_json(text, is_found, mask)
    except NotJsonError:
        return mask if found else text


def _json(value: Any) -> str:
    if isinstance(value, _Members):
        return "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {_json(each)}" for name, each in value) + "}"
    return f"[{', '.join(map(_json, value))}]" if isinstance(value, list) else json.dumps(value, ensure_ascii=False)
