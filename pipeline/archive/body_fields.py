"""Masks the values of named fields in the body of a request: forms, multipart forms and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

_BOUNDARY = re.compile(rb"boundary=(?:\"([^\"]+)\"|([^\s;,]+))", re.IGNORECASE)
_PART_NAME = re.compile(rb"(?:^|[;\s])name=(?:\"([^\"]*)\"|([^\s;]+))", re.IGNORECASE)


def mask_fields(body: bytes, content_type: bytes, is_secret: Callable[[str], bool], mask: bytes) -> tuple[bytes, list[str]]:
    """Return the body with the values of secret fields replaced by `mask`, and the names of these fields.

    A body whose type has no fields, and JSON that is not valid, are returned unchanged. A multipart body that is not valid is replaced as
    a whole.
    """
    kind = content_type.partition(b";")[0].strip().lower()
    names: list[str] = []

    def found(name: str) -> bool:
        if is_secret(name):
            names.append(name)
            return True
        return False

    if kind == b"application/x-www-form-urlencoded":
        body = _masked_form(body, found, mask)
    elif kind.startswith(b"multipart/"):
        body = _masked_parts(body, content_type, found, mask)
    elif kind == b"application/json" or kind.endswith(b"+json"):
        body = _masked_json(body, found, mask)
    return body, list(dict.fromkeys(names))


def _masked_form(body: bytes, found: Callable[[str], bool], mask: bytes) -> bytes:
    pairs = []
    for pair in body.split(b"&"):
        name, mark, value = pair.partition(b"=")
        if mark and value and found(unquote_plus(name.decode("latin-1"))):
            pair = name + b"=" + mask  # noqa: PLW2901  the pair without its value
        pairs.append(pair)
    return b"&".join(pairs)


def _masked_parts(body: bytes, content_type: bytes, found: Callable[[str], bool], mask: bytes) -> bytes:
    named = _BOUNDARY.search(content_type)
    if named is None:
        return mask
    boundary = b"--" + (named[1] or named[2])
    first, *parts = body.split(boundary)
    if not parts:
        return mask
    out = [first]
    for part in parts:
        head, gap, content = part.partition(b"\r\n\r\n")
        name = _PART_NAME.search(head)
        if gap and name and found((name[1] or name[2] or b"").decode("utf-8", "replace")):
            part = head + gap + mask + (b"\r\n" if content.endswith(b"\r\n") else b"")  # noqa: PLW2901  the part without its content
        out.append(part)
    return boundary.join(out)


def _masked_json(body: bytes, found: Callable[[str], bool], mask: bytes) -> bytes:
    try:
        before = json.loads(body)
        after = _masked_value(before, found, mask.decode())
        return body if after == before else json.dumps(after, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return body


def _masked_value(value: Any, found: Callable[[str], bool], mask: str) -> Any:
    if isinstance(value, dict):
        return {name: mask if each not in (None, "") and found(name) else _masked_value(each, found, mask) for name, each in value.items()}
    return [_masked_value(each, found, mask) for each in value] if isinstance(value, list) else value
