"""Reads stored message files.

The body as recipients see it, and the attachments, without loading a large file into memory.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, BinaryIO

BODY_BYTES = 4 * 2**20
"""Maximum number of bytes shown of a message's body, without its pictures."""
_PART_BYTES = 32 * 2**20
_HEAD_BYTES = 256 * 1024
_SEARCHED_BYTES = 1024 * 1024
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LINE, _LINE_ENDS = 76, 2
_CHUNK = (_LINE + _LINE_ENDS) * 1024
_MOST_PARTS = 10_000


@dataclass(frozen=True)
class AttachedFile:
    """A file attached to a message. number: counted from 1. start, end, encoding: where and how the message file contains it."""

    number: int
    name: str
    size_bytes: int
    start: int
    end: int
    encoding: str


@dataclass(frozen=True)
class MailHead:
    """Headers of a message file that a page shows."""

    subject: str
    to: str
    cc: str


def attachments_of(path: Path) -> list[AttachedFile]:
    """Return the files attached to a message; [] for a text for a notification channel."""
    if path.suffix != ".eml":
        return []
    with _opened(path) as data:
        found: list[AttachedFile] = []
        for start, end in _parts(data)[1:]:
            head, body = _head(data, start)
            if head.get_content_disposition() != "attachment":
                continue
            encoding = str(head.get("Content-Transfer-Encoding", "")).strip().lower()
            found.append(AttachedFile(len(found) + 1, head.get_filename() or f"attachment-{len(found) + 1}", _size(data, body, end, encoding), body, end, encoding))
        return found


def chunks_of(path: Path, attached: AttachedFile) -> Iterator[bytes]:
    """Yield the content of an attached file in pieces."""
    with _opened(path) as data:
        if attached.encoding == "base64":
            for at in range(attached.start, attached.end, _CHUNK):
                yield base64.b64decode(data[at:min(at + _CHUNK, attached.end)])
        elif attached.encoding == "quoted-printable":
            at = attached.start
            while at < attached.end:  # each piece ends with a line
                end = data.find(b"\n", min(at + _CHUNK, attached.end), attached.end) + 1 or attached.end
                yield binascii.a2b_qp(data[at:end])
                at = end
        else:
            yield data[attached.start:attached.end]


def head_of(path: Path) -> MailHead:
    """Return the headers of a message file that a page shows."""
    with _opened(path) as data:
        head, _ = _head(data, 0)
        return MailHead(*(" ".join(str(head.get(name, "")).split()) for name in ("Subject", "To", "Cc")))


def body_of(path: Path) -> tuple[str, str] | None:
    """Return the body of a message file as recipients see it, and its media type: text/html or text/plain; None if it has no text.

    Pictures of the mail are embedded in the HTML. A text for a notification channel is shown as a channel without limits shows it.
    """
    if path.suffix == ".json":
        return _channel_text(json.loads(path.read_bytes())), "text/plain"
    with _opened(path) as data:
        parts = _parts(data)
        start, end = parts[0] if parts else (0, len(data))
        message = message_from_bytes(data[start:min(end, start + _PART_BYTES)], policy=policy.default)
    assert isinstance(message, EmailMessage)
    part = message.get_body(("html", "plain"))
    if part is None:
        return None
    text: str = part.get_content()[:BODY_BYTES]
    return _with_pictures(text, message), part.get_content_type()


def _with_pictures(html: str, message: EmailMessage) -> str:
    for part in message.walk():
        name = str(part.get("Content-ID", "")).strip(" <>")
        if name and part.get_content_maintype() == "image":
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            html = html.replace(f"cid:{name}", f"data:{part.get_content_type()};base64,{base64.b64encode(content).decode()}")
    return html


def _channel_text(text: Mapping[str, Any]) -> str:
    return "\n".join(filter(None, (text["subject"], *text["lines"], text["more"][-1], text["link"])))


class _Data:
    """The content of a file, read in pieces when they are used. A file that cannot be read raises OSError; mapped memory would kill the process."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, end - start))

    def find(self, wanted: bytes, start: int, end: int | None = None) -> int:
        """Return the first position of `wanted` between two positions; -1 if it is not there."""
        end = self._size if end is None else end
        while start < end:
            piece = self[start:min(start + _SEARCHED_BYTES, end)]
            if (at := piece.find(wanted)) >= 0:
                return start + at
            if start + len(piece) >= end or not piece:
                return -1
            start += max(1, len(piece) - len(wanted) + 1)
        return -1


@contextmanager
def _opened(path: Path) -> Iterator[_Data]:
    with path.open("rb") as file:
        yield _Data(file)


def _head(data: _Data, start: int) -> tuple[EmailMessage, int]:
    """Return the headers at this position, and the position after them."""
    piece = data[start:start + _HEAD_BYTES]
    end = _HEAD_END.search(piece)
    length = end.end() if end is not None else len(piece)
    found = message_from_bytes(piece[:length], policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found, start + length


def _parts(data: _Data) -> list[tuple[int, int]]:
    """Return the positions of the parts of a multipart/mixed message; [] for another message."""
    head, at = _head(data, 0)
    boundary = head.get_boundary() if head.get_content_type() == "multipart/mixed" else None
    if not boundary:
        return []
    mark, found = b"--" + boundary.encode(), list[tuple[int, int]]()
    at = data.find(mark, at)
    while at >= 0 and data[at + len(mark):at + len(mark) + 2] != b"--" and len(found) < _MOST_PARTS:
        line_end = data.find(b"\n", at)
        if line_end < 0:  # the file is cut here
            break
        start = line_end + 1
        following = data.find(b"\n" + mark, line_end)
        end = following if following >= 0 else len(data)
        found.append((start, end - 1 if data[end - 1:end] == b"\r" else end))
        at = following + 1 if following >= 0 else -1
    return found


def _size(data: _Data, start: int, end: int, encoding: str) -> int:
    """Return the size of a decoded part in bytes. The size of a large text is that of its encoded form."""
    length = end - start
    if encoding == "base64":
        return (length - _LINE_ENDS * (length // (_LINE + _LINE_ENDS))) * 3 // 4 - data[max(start, end - 2):end].count(b"=")
    return len(binascii.a2b_qp(data[start:end])) if encoding == "quoted-printable" and length <= BODY_BYTES else length
