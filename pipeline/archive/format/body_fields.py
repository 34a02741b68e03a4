"""Masks the values of named fields in the body of a request: forms, multipart forms and JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote_plus, unquote, unquote_plus

from pipeline.archive.format.json_fields import NotJsonError, looks_like_json, masked_json

_FORM = b"application/x-www-form-urlencoded"
_JSON = re.compile(rb"(?:application|text)/(?:x-)?(?:nd)?json(?:l|lines|-lines|-seq)?|.*\+json")
"""The media types of one JSON value, and of several."""
_BOUNDARY = re.compile(rb"boundary=(?:\"([^\"]+)\"|([^\s;,]+))", re.IGNORECASE)
_LIKE_FORM = re.compile(rb"[^\s&=<>{}\"]{1,200}=[^\s<>{}\"]*+\s*")
_LIKE_LINES = re.compile(rb"(?:[^\s&=<>{}\"]{1,200}=[^\r\n]*+(?:\r?\n)?+)++")
"""A form that was sent as text/plain (WHATWG HTML, 4.10.22.8): a field on each line."""
_BETWEEN_FIELDS = re.compile(rb"([&;])")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_PART_NAME = re.compile(rb"(?:^|[;\s])name(?:=(?:\"([^\"]*)\"|([^\s;]+))|\*=[^';\s]*'[^';\s]*'([^\s;]+))", re.IGNORECASE)
_PART_TYPE = re.compile(rb"^content-type:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_FILE_NAME = re.compile(rb"(;\s*filename\*?=)(?:\"(?:[^\"\\]|\\.)*+\"|[^;\r\n]*+)", re.IGNORECASE)


def mask_fields(body: bytes, content_type: bytes, is_secret: Callable[[str], bool], mask: bytes) -> tuple[bytes, list[str]]:
    """Return the body with the values of secret fields replaced by `mask`, and the names of these fields.

    A body without a type that has fields is read as JSON or as a form if it looks like one: a server may do the same. A multipart body, and
    JSON, that are not valid are replaced as a whole; its name then is "". Other bodies are returned unchanged.
    """
    fields = _Fields(is_secret, mask)
    try:
        return fields.masked(body, content_type), list(fields.names)
    except RecursionError:  # parts in parts in parts
        return mask, [*fields.names, ""]


class _Fields:
    """Masks the secret fields of a body and of what is in it: a part of a multipart form, or a field of a form, may be JSON. names: what was masked."""

    def __init__(self, is_secret: Callable[[str], bool], mask: bytes) -> None:
        self.names: dict[str, None] = {}  # in order, each once
        self._is_secret = is_secret
        self._mask = mask

    def masked(self, body: bytes, content_type: bytes) -> bytes:
        kind = content_type.partition(b";")[0].strip().lower()
        if kind.startswith(b"multipart/"):
            return self._parts(body, content_type)
        if _JSON.fullmatch(kind):
            return self._json(body)
        if kind == _FORM:
            return self._form(body)
        if looks_like_json(body[:200].decode("utf-8", "replace")):
            return self._json(body, or_else=body)  # if it is not JSON, it only looks like it
        if _LIKE_FORM.fullmatch(body):
            return self._form(body)
        if kind == b"text/plain" and _LIKE_LINES.fullmatch(body):
            return b"".join(self._pair(line) for line in body.splitlines(keepends=True))
        return body

    def _is_found(self, name: str) -> bool:
        if self._is_secret(name.lstrip("\ufeff")):
            self.names[name.lstrip("\ufeff")] = None
            return True
        return False

    def _whole(self) -> bytes:
        self.names[""] = None
        return self._mask

    def _form(self, body: bytes) -> bytes:
        return b"".join(self._pair(piece) for piece in _BETWEEN_FIELDS.split(body))

    def _pair(self, pair: bytes) -> bytes:
        name, mark, value = pair.partition(b"=")
        content = value.rstrip(b"\r\n")
        if not content:
            return pair
        if self._is_found(unquote_plus(name.decode("utf-8", "replace"))):
            return name + mark + self._mask + value[len(content):]
        if content.startswith((b"%7B", b"%7b", b"%5B", b"%5b", b"{", b"[")):
            before = unquote_plus(content.decode("utf-8", "replace")).encode()
            after = self._json(before, or_else=before)
            return pair if after == before else name + mark + quote_plus(after).encode() + value[len(content):]
        return pair

    def _parts(self, body: bytes, content_type: bytes) -> bytes:
        named = _BOUNDARY.search(content_type)
        if named is None:
            return self._whole()
        boundary = b"--" + (named[1] or named[2])
        first, *parts = body.split(boundary)
        return boundary.join([first, *map(self._part, parts)]) if parts else self._whole()

    def _part(self, part: bytes) -> bytes:
        if (gap := _END_OF_HEAD.search(part)) is None:
            return part
        head, content = part[:gap.start()], part[gap.end():]
        value = content.removesuffix(b"\n").removesuffix(b"\r")
        name = _PART_NAME.search(head)
        if name and self._is_found(unquote((name[1] or name[2] or name[3] or b"").decode("utf-8", "replace"))):
            head, masked = _FILE_NAME.sub(rb'\1"%s"' % self._mask, head), self._mask
        else:
            kind = _PART_TYPE.search(head)
            masked = self.masked(value, kind[1]) if kind else value
        return head + gap[0] + masked + content[len(value):]

    def _json(self, body: bytes, or_else: bytes | None = None) -> bytes:
        """Return JSON without the values of secret members. If it is not valid, return or_else, or the mask where there is something to hide."""
        known = len(self.names)
        try:
            text = body.decode("utf-8", "surrogatepass")
            return masked_json(text, self._is_found, self._mask.decode()).encode("utf-8", "surrogatepass")
        except (UnicodeDecodeError, NotJsonError):
            return self._whole() if or_else is None or len(self.names) > known else or_else
