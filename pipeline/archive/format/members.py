"""Reads the gzip members of an archive file one after the other: each is one record."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Protocol

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed
from warcio.statusandheaders import StatusAndHeadersParserException

from pipeline.archive.errors import RecordError


class Readable(Protocol):
    """A file that is read from a position on."""

    def seek(self, offset: int, /) -> int: ...
    def read(self, size: int, /) -> bytes: ...


_GZIP = 31  # wbits of zlib for a gzip member
_PIECE_BYTES = 256 * 1024
READ_ERRORS = (ArchiveLoadFailed, StatusAndHeadersParserException, EOFError, StopIteration, AttributeError, TypeError)
"""What warcio raises for bytes that are no record. Further exceptions of it are of parts that are not used: see the test."""
MAX_RECORD_BYTES = 512 * 1024 * 1024
"""A larger record is not read: it would fill the memory."""


@dataclass(frozen=True)
class StoredRecord:
    """A record. offset, length: of its gzip member. headers: names in lower case. block: what follows the headers of the record."""

    offset: int
    length: int
    kind: str
    headers: dict[str, str]
    block: bytes


def records_of(file: Readable, offset: int = 0) -> Iterator[StoredRecord]:
    """Yield the records from `offset` on, until the end of the file.

    Raises RecordError at the first record that is not whole, or whose digest is wrong.
    """
    for start, length, data in _members(file, offset):
        yield parsed(data, start, length)


def parsed(data: bytes, offset: int, length: int) -> StoredRecord:
    """Return the record in the decompressed bytes of a member. Raises RecordError."""
    if not data.endswith(b"\r\n\r\n"):
        raise RecordError("the record has no end")
    try:
        record = next(iter(ArchiveIterator(BytesIO(data), no_record_parse=True)))
        block = record.raw_stream.read()
    except READ_ERRORS as error:
        raise RecordError(f"the record cannot be read: {error}") from error
    headers = {name.lower(): value for name, value in record.rec_headers.headers}
    if headers.get("content-length") != str(len(block)) or not data.endswith(block + b"\r\n\r\n"):
        raise RecordError("the record has another length than its header says")
    digest = headers.get("warc-block-digest", "")
    if digest.startswith("sha256:") and digest != f"sha256:{sha256(block).hexdigest()}":
        raise RecordError("the record has another digest than its header says")
    return StoredRecord(offset, length, record.rec_type or "", headers, block)


def _members(file: Readable, offset: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield offset, length and content of each member. Raises RecordError where none begins, or one does not end."""
    file.seek(offset)
    rest = b""
    while rest or (rest := file.read(_PIECE_BYTES)):
        decompressor, parts, length, size = zlib.decompressobj(_GZIP), [], 0, 0
        while True:
            try:
                part = decompressor.decompress(rest, _PIECE_BYTES * 8)
            except zlib.error as error:
                raise RecordError(f"no gzip member: {error}") from error
            consumed = len(rest) - len(decompressor.unconsumed_tail) - len(decompressor.unused_data)
            length += consumed
            size += len(part)
            parts.append(part)
            if decompressor.eof:
                rest = decompressor.unused_data
                break
            if size > MAX_RECORD_BYTES:
                raise RecordError("the record is too large")
            rest = decompressor.unconsumed_tail or file.read(_PIECE_BYTES)
            if not rest and not part:
                raise RecordError("the gzip member has no end")
        yield offset, length, b"".join(parts)
        offset += length
