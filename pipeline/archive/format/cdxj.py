"""The index of an archive file: CDXJ lines as pywb and the tools for WACZ read them.

    com,example)/ 20261130115700 {"microsecond": "012345", "url": "https://example.com/", "mime": "text/html", "status": "200",
    "digest": "sha256:…", "length": "812", "offset": "403", "filename": "2026-11-30.warc.gz"}

The time of the format has whole seconds. `microsecond` is a field of our own, which other tools ignore: the rest of the record's time. It comes
first and has six digits, so that the sorted lines of a key are in the order of time.
"""

from __future__ import annotations

import heapq
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.archive.format.surt import surt

REVISIT = "warc/revisit"
_NOT_MIME = re.compile(rb"[;,\s\x00-\x20\x7f-\xff\"\\]")
_SORTED_AT_ONCE = 20_000
"""Lines that are sorted in memory; more are sorted in parts, in temporary files."""


class Line(NamedTuple):
    """What the index says about a record, without its place. status: None for a record without one. method: of the request."""

    url: str
    at: datetime
    mime: str
    status: int | None
    digest: str
    method: str = "GET"


@dataclass(frozen=True)
class Entry:
    """A line of an index with the place of its record. at: without fractions of seconds if another program wrote the line."""

    key: str
    at: datetime
    url: str
    mime: str
    status: int | None
    digest: str
    length: int
    offset: int
    filename: str
    method: str = "GET"

    @property
    def is_revisit(self) -> bool:
        return self.mime == REVISIT


def line(of: Line, offset: int, length: int, filename: str) -> bytes:
    """Return a line of an index, with its line end."""
    at = of.at.astimezone(UTC)
    fields = {"microsecond": f"{at:%f}", "url": of.url, "mime": of.mime}
    if of.status is not None:
        fields["status"] = str(of.status)
    fields |= {"digest": of.digest, "length": str(length), "offset": str(offset), "filename": filename}
    if of.method.upper() != "GET":
        fields["method"] = of.method.upper()
    return f"{surt(of.url)} {at:%Y%m%d%H%M%S} {json.dumps(fields)}\n".encode()


def moved(of: bytes, offset: int, filename: str) -> bytes:
    """Return a line for the same record at another place: `offset` is added to its own."""
    key, timestamp, text = of.split(b" ", 2)
    fields = json.loads(text)
    fields |= {"offset": str(int(fields["offset"]) + offset), "filename": filename}
    return b"%s %s %s\n" % (key, timestamp, json.dumps(fields).encode())


def parse(of: bytes) -> Entry:
    """Return the parts of a line. Raises ValueError for a line that is none."""
    try:
        key, timestamp, text = of.decode().split(" ", 2)
        fields = json.loads(text)
        status = fields.get("status")
        at = datetime.strptime(f"{timestamp}+0000", "%Y%m%d%H%M%S%z").replace(microsecond=int(fields.get("microsecond", 0)))
        return Entry(key, at, fields["url"], fields.get("mime", ""), int(status) if status else None, fields.get("digest", ""),
                     int(fields["length"]), int(fields["offset"]), fields["filename"], fields.get("method", "GET"))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a line of an index: {of[:100]!r}") from error


def mime(content_type: bytes) -> str:
    """Return the media type without parameters, such as "text/html"; "unk" if it is missing or none."""
    return _NOT_MIME.split(content_type.strip(), maxsplit=1)[0][:100].decode("ascii").lower() or "unk"


def write_sorted(lines: Iterable[bytes], out: BinaryIO, folder: Path) -> None:
    """Write lines in the order of their bytes, with little memory. folder: for temporary files, which have no name."""
    chunks = _chunks(lines)
    first = next(chunks, [])
    if len(first) < _SORTED_AT_ONCE:
        out.writelines(sorted(first))
        return
    with ExitStack() as stack:
        parts = []
        for chunk in chain([first], chunks):
            part = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            part.writelines(sorted(chunk))
            part.seek(0)
            parts.append(part)
        out.writelines(heapq.merge(*parts))


def entries_of(index: BinaryIO, key: str) -> Iterator[Entry]:
    """Yield the entries with this key, oldest first, from a sorted index. Binary search: some reads of some kilobytes.

    Raises ValueError if a line is none of an index.
    """
    wanted = key.encode() + b" "
    low, high = 0, index.seek(0, 2)
    while low < high:
        middle = (low + high) // 2
        _to_line(index, middle)
        if (found := index.readline()) and found < wanted:
            low = middle + 1
        else:
            high = middle
    _to_line(index, low)
    for found in index:
        if not found.startswith(wanted):
            return
        yield parse(found)


def _to_line(index: BinaryIO, position: int) -> None:
    """Go to the first line that begins at a position, or after it."""
    index.seek(max(0, position - 1))
    if position:
        index.readline()


def _chunks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for each in lines:
        chunk.append(each)
        if len(chunk) == _SORTED_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
