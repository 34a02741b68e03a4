"""Parses the framing of a chunked body (RFC 9112, 7.1), and rewrites it in a strict form."""

from __future__ import annotations

import re

from pipeline.content_coding import CutShortError
from pipeline.session.responses.head import MAX_LINE_BYTES, MAX_LINES

_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r?", re.DOTALL)


def size_of(line: bytes) -> int:
    """Return the size in the first line of a chunk.

    line: the line without its LF. Raises CutShortError if the line is invalid.
    """
    found = _SIZE.fullmatch(line)
    if found is None:
        raise CutShortError("the chunked body is invalid: a chunk has no valid size")
    return int(found[1], 16)


class ChunkedBody:
    """Parses the framing of a chunked body as the bytes arrive, without interpreting the content.

    over: whether the end of the body has arrived; followed: whether bytes have arrived after the end of the body.
    """

    def __init__(self) -> None:
        self.over = False
        self.followed = False
        self._left = 0
        self._line = b""
        self._after_chunk = False
        self._trailer_lines = -1  # -1 before the last chunk has been read

    def canonical(self, data: bytes, at: int = 0) -> bytes:
        """Return the next received bytes (`data` from the index `at` on) with strict framing.

        Line ends become CRLF; chunk extensions, trailers and bytes after the body are removed. Raises CutShortError for
        invalid framing.
        """
        parts: list[bytes] = []
        while at < len(data) and not self.over:
            if self._left:
                part = data[at:at + self._left]
                self._left -= len(part)
                at += len(part)
                parts.append(part)
                continue
            end = data.find(b"\n", at)
            self._line += data[at:] if end < 0 else data[at:end]
            if len(self._line) > MAX_LINE_BYTES:
                raise CutShortError("the chunked body is invalid: a chunk has no valid size")
            if end < 0:
                break
            line, self._line, at = self._line, b"", end + 1
            parts.append(self._framing(line))
        self.followed = at < len(data)
        return b"".join(parts)

    def _framing(self, line: bytes) -> bytes:
        empty = line in (b"", b"\r")
        if self._trailer_lines >= 0:
            self._trailer_lines += 1
            if self._trailer_lines > MAX_LINES:
                raise CutShortError("the chunked body is invalid: too many trailer lines")
            self.over = empty
            return b"\r\n" if empty else b""
        if self._after_chunk:
            if not empty:
                raise CutShortError("the chunked body is invalid: no line break after a chunk")
            self._after_chunk = False
            return b"\r\n"
        self._left = size_of(line)
        self._after_chunk = self._left > 0
        if not self._left:
            self._trailer_lines = 0
        return b"%x\r\n" % self._left
