"""Masks the values of named fields in the body of a request: forms, multipart forms and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

_BOUNDARY = re.compile(rb"boundary=(?:\"([^\"]+)\"|([^\s;,]+))", re.IGNORECASE)
_WITH_FIELDS = b"application/x-www-form-urlencoded"
_LIKE_FORM = re.compile(rb"[^\s&=<>{}\"]{1,200}=[^\s<>{}\"]*+\s*")
_PART_NAME = re.compile(rb"(?:^|[;\s])name=(?:\"([^\"]*)\"|([^\s;]+))", re.IGNORECASE)


def mask_fields(body: bytes, content_type: bytes, is_secret: Callable[[str], bool], mask: bytes) -> tuple[bytes, list[str]]:
    """Return the body with the values of secret fields replaced by `mask`, and the names of these fields.

    A body without a type that has fields is read as JSON or as a form if it looks like one: a server may do the same. A multipart body, and
    JSON, that are not valid are replaced as a whole; its name then is "". Other bodies are returned unchanged.
    """
    kind = content_type.partition(b";")[0].strip().lower()
    is_json = kind == b"application/json" or kind.endswith(b"+json")
    if not is_json and kind != _WITH_FIELDS and not kind.startswith(b"multipart/"):
        if body.lstrip()[:1] in (b"{", b"["):
            masked, found_names = mask_fields(body, b"application/json", is_secret, mask)
            return (body, []) if found_names == [""] else (masked, found_names)  # it only looks like JSON
        kind = _WITH_FIELDS if _LIKE_FORM.fullmatch(body) else kind
    names: list[str] = []

    def found(name: str) -> bool:
        if is_secret(name):
            names.append(name)
            return True
        return False

    if kind == _WITH_FIELDS:
        body = _masked_form(body, found, mask)
    elif kind.startswith(b"multipart/"):
        body = _masked_parts(body, content_type, found, mask)
    elif is_json:
        body = _masked_json(body, found, mask)
    if body == mask:
        names.append("")
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
        before = json.loads(body, object_pairs_hook=_Members)
        after = _masked_value(before, found, mask.decode())
        return body if after == before else _json(after).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return mask


class _Members(tuple[tuple[str, Any], ...]):
    """The members of a JSON object. Several can have one name, and which of them counts is up to the server."""

    __slots__ = ()


def _masked_value(value: Any, found: Callable[[str], bool], mask: str) -> Any:
    if isinstance(value, _Members):
        return _Members((name, mask if each not in (None, "") and found(name) else _masked_value(each, found, mask)) for name, each in value)
    return [_masked_value(each, found, mask) for each in value] if isinstance(value, list) else value


def _json(value: Any) -> str:
    if isinstance(value, _Members):
        return "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {_json(each)}" for name, each in value) + "}"
    return f"[{', '.join(map(_json, value))}]" if isinstance(value, list) else json.dumps(value, ensure_ascii=False)
