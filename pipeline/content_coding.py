"""Decodes content codings such as gzip (RFC 9110, 8.4) as a stream, and detects truncated data.

The decoders of Scrapy and urllib3 do not report a truncated stream. As in browsers, bytes after a complete stream are ignored,
and consecutive gzip members or zstd frames are one body.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol

import brotli  # type: ignore[import-untyped]  # ships no types

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPTED = "gzip, deflate, br, zstd"
"""The value of the Accept-Encoding header in requests."""

_PIECE_BYTES = 64 * 1024
_MAX_CODINGS = 5  # the same limit as curl's
_WITHOUT_DECODER = frozenset({"compress", "x-compress", "bzip2", "x-bzip2", "xz", "dcb", "dcz", "exi", "pack200-gzip"})
_BROTLI_KEPT_BYTES = 4 * 1024 * 1024
_ZSTD_WINDOW_LOG_MAX = 23  # RFC 9659, 3


class CutShortError(OSError):
    """A response ended before it was complete. A retry can help."""


class DecodingError(ValueError):
    """The body cannot be decoded with the codings in the Content-Encoding header."""


class OversizeError(ValueError):
    """The decoded body is larger than the caller allows."""


class _ZlibStream(Protocol):
    """The interface of the objects that zlib.decompressobj() returns. Their class has no public name."""

    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


class _Stream(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]: ...
    def finish(self) -> None: ...


def codings_of(values: Iterable[str]) -> tuple[str, ...]:
    """Return the codings in the values of Content-Encoding headers, in the order in which the server applied them.

    Unknown codings are ignored. Raises DecodingError if there are too many codings, or if no decoder is available for a known
    coding.
    """
    found = tuple(name for value in values for each in value.split(",")
                  if (name := each.strip().lower()) in _DECODERS or name in _WITHOUT_DECODER)
    for name in found:
        if name in _WITHOUT_DECODER:
            raise DecodingError(f"the response has the Content-Encoding {name}, which is not supported")
    if len(found) > _MAX_CODINGS:
        raise DecodingError(f"the response has {len(found)} content codings; at most {_MAX_CODINGS} are supported")
    return found


class ContentDecoder:
    """Decodes a body with several codings, the last applied coding first.

    max_bytes: the limit on the output of each coding; None for no limit.
    """

    def __init__(self, codings: tuple[str, ...], max_bytes: int | None = None) -> None:
        self._streams = [_Counted(_DECODERS[name](), max_bytes) for name in reversed(codings)]
        self._outermost = codings[-1] if codings else ""
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode data, and yield pieces of at most 64 KiB.

        Raises DecodingError for invalid data, or OversizeError if the output of a coding exceeds max_bytes.
        """
        self._begun = self._begun or bool(data)
        return self._through(data, 0)

    def finish(self, *, empty: bool = True) -> None:
        """Check that the stream of every coding is complete. The caller calls this method at the end of the body.

        empty: whether a body of zero bytes counts as complete. Raises CutShortError if a stream has no end marker.
        """
        for stream in self._streams:
            stream.finish()
        if self._outermost and not self._begun and not empty:
            raise CutShortError(f"the body is empty, although its Content-Encoding is {self._outermost}")

    def _through(self, data: bytes, depth: int) -> Iterator[bytes]:
        if depth == len(self._streams):
            yield data
            return
        for piece in self._streams[depth].feed(data):
            yield from self._through(piece, depth + 1)


def decode(body: bytes, codings: tuple[str, ...], max_bytes: int | None = None, *, empty: bool = True) -> bytes:
    """Decode a complete body. empty: whether a body of zero bytes counts as complete.

    Raises CutShortError if the body is incomplete, DecodingError if it is invalid, or OversizeError if the output of a coding
    exceeds max_bytes.
    """
    decoder = ContentDecoder(codings, max_bytes)
    decoded = b"".join(decoder.feed(body))
    decoder.finish(empty=empty)
    return decoded


class _Counted:
    def __init__(self, stream: _Stream, max_bytes: int | None) -> None:
        self._stream = stream
        self._left = max_bytes
        self.finish = stream.finish

    def feed(self, data: bytes) -> Iterator[bytes]:
        for piece in self._stream.feed(data):
            if self._left is not None:
                self._left -= len(piece)
                if self._left < 0:
                    raise OversizeError
            yield piece


class _Gzip:
    """Decodes one or more gzip members (RFC 1952, 2.2)."""

    _MAGIC = b"\x1f\x8b\x08"

    def __init__(self) -> None:
        self._member: _ZlibStream | None = None
        self._members = 0
        self._held = b""  # possibly the beginning of another member
        self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        data, self._held = self._held + data, b""
        while data and not self._over:
            if self._member is None:
                if self._members and not data.startswith(self._MAGIC):
                    if self._MAGIC.startswith(data):
                        self._held = data
                    else:
                        self._over = True
                    return
                self._member = zlib.decompressobj(wbits=31)
            yield from _inflated(self._member, data, "gzip")
            data = self._member.unused_data
            if self._member.eof:
                self._member, self._members = None, self._members + 1

    def finish(self) -> None:
        if self._member is not None or self._held:
            raise CutShortError("gzip data ended before its end marker")


class _Deflate:
    """Decodes the zlib format (RFC 1950), and raw deflate (RFC 1951), which some old servers also call "deflate"."""

    def __init__(self) -> None:
        self._stream: _ZlibStream | None = None
        self._held = b""  # input kept until the first byte is decoded, because the format is uncertain until then

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is not None and not self._held:
            if not self._stream.eof:
                yield from _inflated(self._stream, data, "deflate")
            return
        self._held += data
        if len(self._held) < 2:
            return
        first, second = self._held[:2]
        if self._stream is None:
            self._stream = zlib.decompressobj(15 if first & 0x0F == 8 and (first << 8 | second) % 31 == 0 else -15)
            data = self._held
        try:
            for piece in _inflated(self._stream, data, "deflate"):
                self._held = b""
                yield piece
        except DecodingError:
            if not self._held:
                raise
            self._stream, data, self._held = zlib.decompressobj(-15), self._held, b""
            yield from _inflated(self._stream, data, "deflate")

    def finish(self) -> None:
        if (self._stream is not None and not self._stream.eof) or (self._stream is None and self._held):
            raise CutShortError("deflate data ended before its end marker")


def _inflated(stream: _ZlibStream, data: bytes, name: str) -> Iterator[bytes]:
    try:
        while True:
            piece = stream.decompress(data, _PIECE_BYTES)
            if piece:
                yield piece
            data = stream.unconsumed_tail
            # If the piece has the maximum size, the decompressor may produce more output without more input.
            if stream.eof or (not data and len(piece) < _PIECE_BYTES):
                return
    except zlib.error as error:
        raise _damaged(name) from error


class _Brotli:
    """Decodes brotli (RFC 7932).

    The brotli library rejects input that contains bytes after the end of the stream. If that happens, this class passes the input
    byte by byte, to find the end of the stream.
    """

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._fed = bytearray()
        self._given = 0
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not data or self._stream.is_finished():
            return
        self._begun = True
        try:
            yield from self._pieces(data)
        except brotli.error as error:
            if len(self._fed) > _BROTLI_KEPT_BYTES:
                raise _damaged("br") from error
            yield from self._to_its_end(data)
        else:
            if len(self._fed) <= _BROTLI_KEPT_BYTES:
                self._fed += data

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while piece := self._stream.process(data, output_buffer_limit=_PIECE_BYTES):
            data = b""
            self._given += len(piece)
            yield piece
            if self._stream.is_finished():
                return

    def _to_its_end(self, data: bytes) -> Iterator[bytes]:
        """Decode all input again, but pass `data`, which the library rejected, to the library byte by byte.

        Only output that was not yielded before is yielded.
        """
        given, self._stream = self._given, brotli.Decompressor()
        parts: Iterator[bytes] = iter((bytes(self._fed), *(data[at:at + 1] for at in range(len(data)))))
        try:
            for part in parts:
                for piece in self._pieces(part):
                    yield piece[max(0, given):]
                    given -= len(piece)
                if self._stream.is_finished():
                    return
        except brotli.error as error:
            raise _damaged("br") from error

    def finish(self) -> None:
        if self._begun and not self._stream.is_finished():
            raise CutShortError("br data ended before its end marker")


class _Zstd:
    """Decodes one or more zstd frames, including skippable frames (RFC 8878, 3.1)."""

    _MAGICS = (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + number,)) + b"\x2a\x4d\x18" for number in range(16)))

    def __init__(self) -> None:
        self._frame: zstd.ZstdDecompressor | None = None
        self._frames = 0
        self._held = b""
        self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        data, self._held = self._held + data, b""
        while data and not self._over:
            if self._frame is None:
                if self._frames and not data.startswith(self._MAGICS):
                    if any(magic.startswith(data) for magic in self._MAGICS):
                        self._held = data
                    else:
                        self._over = True
                    return
                self._frame = zstd.ZstdDecompressor(
                    options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX})
            yield from self._decompressed(self._frame, data)
            data = b""
            if self._frame.eof:
                data = self._frame.unused_data
                self._frame, self._frames = None, self._frames + 1

    @staticmethod
    def _decompressed(frame: zstd.ZstdDecompressor, data: bytes) -> Iterator[bytes]:
        try:
            while True:
                piece = frame.decompress(data, _PIECE_BYTES)
                if piece:
                    yield piece
                data = b""
                if frame.eof or frame.needs_input:
                    return
        except zstd.ZstdError as error:
            raise _damaged("zstd") from error

    def finish(self) -> None:
        if self._frame is not None or self._held:
            raise CutShortError("zstd data ended before its end marker")


def _damaged(name: str) -> DecodingError:
    return DecodingError(f"the Content-Encoding header says {name}, but the body is damaged or is not {name}")


_DECODERS: dict[str, type[_Gzip | _Deflate | _Brotli | _Zstd]] = {
    "gzip": _Gzip, "x-gzip": _Gzip, "deflate": _Deflate, "br": _Brotli, "zstd": _Zstd}
