"""Exchanges as WARC 1.1 records (ISO 28500:2017), written and read with warcio.

An exchange becomes a response or revisit record, a request record, and, if something was redacted, a metadata record that says what.
What a browser made of the page follows as resource records: `urn:dom:URL` (HTML) and `urn:view:URL` (PNG). Digests are SHA-256. Each
record is one gzip member.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from ipaddress import ip_address
from typing import NamedTuple

from warcio.recordloader import ArcWarcRecord
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

import pipeline
from pipeline.archive.format import cdxj
from pipeline.archive.format.http_block import REWRITTEN, protocol_of, request_head, response_head
from pipeline.archive.format.redaction import Redaction
from pipeline.archive.writing.originals import Original, confirms
from pipeline.model import Exchange

METHOD = "WARC-Request-Method"
"""A field of our own, in responses to requests other than GET, so that an index can be made without the request."""
DOM, VIEW = "urn:dom:", "urn:view:"
_IDENTICAL = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
_NOT_MODIFIED = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
_RESPONSE, _REQUEST = "application/http; msgtype=response", "application/http; msgtype=request"
_FIELDS = "application/warc-fields"
_GZIP, _SMALL_GZIP = 31, 30  # wbits of zlib for a gzip member with a window of 32 and of 16 KiB
_SMALL = 4096

HeaderFields = list[tuple[str, str]]
OriginalOf = Callable[[str], Original | None]
"""Returns the original of a URL if a revisit record may refer to it."""


class Written(NamedTuple):
    """One record as it is appended to a file. line: its line in the index; None if it has none. original: what later records refer to.

    refers_to: the time of the record to which a revisit record refers.
    """

    member: bytes
    line: cdxj.Line | None = None
    original: Original | None = None
    refers_to: datetime | None = None


@dataclass
class RecordWriter:
    """Makes the records of one file. level: of zlib; 1 costs a third of the time of 6 and makes HTML 15 percent larger."""

    spider: str
    run_id: int | None
    redaction: Redaction
    level: int = 1
    warcinfo_id: str = field(default="", init=False)
    _random: bytes = field(default=b"", init=False, repr=False)
    _out: BytesIO = field(default_factory=BytesIO, init=False, repr=False)

    def __post_init__(self) -> None:
        self._warc = WARCWriter(self._out, gzip=False, warc_version="1.1")

    def warcinfo(self, filename: str, now: datetime) -> bytes:
        """Return the first record of a file. The records made afterwards name it as their warcinfo record."""
        record_id = self._record_id()
        self.warcinfo_id = _urn(record_id)
        lines = [f"software: crawl-to-inbox/{pipeline.__version__}", "format: WARC File Format 1.1",
                 "conformsTo: https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
                 f"isPartOf: {self.spider}", *([f"run: {self.run_id}"] if self.run_id is not None else []),
                 *(f"redacted: {line}" for line in self.redaction.summary())]
        block = "".join(f"{_one_line(line)}\r\n" for line in lines).encode("utf-8", "replace")
        headers = [("WARC-Filename", filename), ("WARC-Date", warc_date(now)), ("WARC-Block-Digest", _digest(sha256(block).digest()))]
        return self._member("warcinfo", record_id, headers, block, _FIELDS)

    def records(self, exchange: Exchange, original_of: OriginalOf) -> Iterator[Written]:
        """Yield the records of an exchange."""
        redacted = self.redaction.apply(exchange)
        stored, notes = redacted.exchange, list(redacted.notes)
        with_id = self._record_id()
        if stored.status:
            response = self._response(exchange, stored, with_id, original_of, notes)
            yield response
            head = request_head(stored)
            notes += [REWRITTEN] if head.rewritten and REWRITTEN not in notes else []
            yield self._concurrent("request", stored, with_id, head.data + stored.request_body, content_type=_REQUEST, payload=stored.request_body)
        yield from self._rendered(stored, with_id, original_of)
        if notes:
            block = "".join(f"redacted: {_one_line(note)}\r\n" for note in notes).encode("utf-8", "replace")
            yield self._concurrent("metadata", stored, with_id, block, content_type=_FIELDS)

    def _response(self, exchange: Exchange, stored: Exchange, record_id: bytes, original_of: OriginalOf,
                  notes: list[str]) -> Written:
        response = response_head(stored)
        head = response.data
        notes += [REWRITTEN] if response.rewritten else []
        digest = sha256(stored.body).digest()
        headers = [("WARC-Target-URI", stored.url), ("WARC-Date", warc_date(stored.at))]
        if address := _address(stored.address):
            headers.append(("WARC-IP-Address", address))
        if protocol := protocol_of(stored):
            headers.append(("WARC-Protocol", protocol))
        is_get = stored.method.upper() == "GET"
        if not is_get:
            headers.append((METHOD, _one_line(stored.method.upper())))
        original = original_of(stored.url) if is_get and (stored.status == 304 or (stored.status == 200 and stored.body)) else None
        if original is not None and stored.status == 304 and not confirms(original.etag, original.last_modified, _named(exchange.request_headers)):
            original = None
        if original is not None and (stored.status == 304 or original.digest == digest):
            headers += [("WARC-Profile", _NOT_MODIFIED if stored.status == 304 else _IDENTICAL), *_reference(original, stored.url),
                        ("WARC-Payload-Digest", _digest(original.digest)), ("WARC-Block-Digest", _digest(sha256(head).digest()))]
            line = cdxj.Line(stored.url, stored.at, cdxj.REVISIT, stored.status, _digest(original.digest), stored.method)
            return Written(self._member("revisit", record_id, headers, head, _RESPONSE), line, None, original.at)
        block = head + stored.body
        headers += [("WARC-Payload-Digest", _digest(digest)), ("WARC-Block-Digest", _digest(sha256(block).digest()))]
        named = _named(stored.response_headers)
        line = cdxj.Line(stored.url, stored.at, cdxj.mime(named.get(b"content-type", b"")), stored.status, _digest(digest), stored.method)
        new = None
        if is_get and stored.status == 200 and stored.body:
            validators = _named(exchange.response_headers)
            new = Original(stored.url, digest, record_id, stored.at, validators.get(b"etag", b""), validators.get(b"last-modified", b""))
        has_line = stored.status != 304 and stored.method.upper() != "HEAD"  # replay tools would show an empty page for these
        return Written(self._member("response", record_id, headers, block, _RESPONSE), line if has_line else None, new)

    def _rendered(self, stored: Exchange, with_id: bytes, original_of: OriginalOf) -> Iterator[Written]:
        if stored.rendered is None:
            return
        dom, screenshot = stored.rendered.dom, stored.rendered.screenshot
        is_first = not stored.status  # a page without a response is replayed from the rendered document
        if dom:
            uri = stored.url if is_first else DOM + stored.url
            yield self._resource(uri, dom, "text/html; charset=utf-8", at=stored.at, with_id=with_id, original_of=original_of, is_first=is_first)
            is_first = False
        if screenshot:
            yield self._resource(VIEW + stored.url, screenshot, "image/png", at=stored.at, with_id=with_id, original_of=original_of, is_first=is_first)

    def _resource(self, uri: str, data: bytes, content_type: str, *, at: datetime, with_id: bytes, original_of: OriginalOf,
                  is_first: bool) -> Written:
        """is_first: whether this is the record to which the others of the exchange refer."""
        digest, record_id = sha256(data).digest(), with_id if is_first else self._record_id()
        headers = [("WARC-Target-URI", uri), ("WARC-Date", warc_date(at)), *([] if is_first else [("WARC-Concurrent-To", _urn(with_id))])]
        original = original_of(uri)
        if original is not None and original.digest == digest:
            headers += [("WARC-Profile", _IDENTICAL), *_reference(original, uri), ("WARC-Payload-Digest", _digest(digest)),
                        ("WARC-Block-Digest", _digest(sha256(b"").digest()))]
            line = cdxj.Line(uri, at, cdxj.REVISIT, None, _digest(digest))
            return Written(self._member("revisit", record_id, headers, b"", content_type), line, None, original.at)
        headers += [("WARC-Payload-Digest", _digest(digest)), ("WARC-Block-Digest", _digest(digest))]
        line = cdxj.Line(uri, at, cdxj.mime(content_type.encode()), None, _digest(digest))
        return Written(self._member("resource", record_id, headers, data, content_type), line, Original(uri, digest, record_id, at))

    def _concurrent(self, kind: str, stored: Exchange, with_id: bytes, block: bytes, *, content_type: str, payload: bytes = b"") -> Written:
        headers = [("WARC-Target-URI", stored.url), ("WARC-Date", warc_date(stored.at)), ("WARC-Concurrent-To", _urn(with_id))]
        if payload:
            headers.append(("WARC-Payload-Digest", _digest(sha256(payload).digest())))
        headers.append(("WARC-Block-Digest", _digest(sha256(block).digest())))
        return Written(self._member(kind, self._record_id(), headers, block, content_type))

    def _record_id(self) -> bytes:
        """Return a random UUID (RFC 9562, 5.4). Random bytes are fetched for many at once: each system call lets another thread run."""
        if not self._random:
            self._random = os.urandom(4096)
        record_id, self._random = bytearray(self._random[:16]), self._random[16:]
        record_id[6] = record_id[6] & 0x0F | 0x40
        record_id[8] = record_id[8] & 0x3F | 0x80
        return bytes(record_id)

    def _member(self, kind: str, record_id: bytes, headers: HeaderFields, block: bytes, content_type: str) -> bytes:
        first = [("WARC-Type", kind), ("WARC-Record-ID", _urn(record_id))]
        if kind != "warcinfo":
            first.append(("WARC-Warcinfo-ID", self.warcinfo_id))
        fields = StatusAndHeaders("", [*first, *headers, ("Content-Type", content_type)], protocol="WARC/1.1")
        # The type in the file is that of the fields. The type of the object says how warcio treats the block: that of a warcinfo record is
        # written as it is and gets no further digest, while HTTP headers of other records would be encoded anew.
        record = ArcWarcRecord("warc", "warcinfo", fields, BytesIO(block), None, content_type, len(block))
        self._out.seek(0)
        self._out.truncate()
        self._warc.write_record(record)
        return self._compressed(self._out.getvalue())

    def _compressed(self, data: bytes) -> bytes:
        """Return a gzip member. Most records are small: where memory is not reused, allocating that of a large window takes most of the time."""
        if len(data) > _SMALL:
            return zlib.compress(data, self.level, _GZIP)
        compressor = zlib.compressobj(self.level, zlib.DEFLATED, _SMALL_GZIP, memLevel=6)
        return compressor.compress(data) + compressor.flush()


def warc_date(at: datetime) -> str:
    """Return a time as WARC-Date, in UTC and with microseconds."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def time_of(date: str) -> datetime:
    """Return the time of a WARC-Date. Raises ValueError."""
    return datetime.fromisoformat(date).astimezone(UTC)


def _reference(original: Original, uri: str) -> HeaderFields:
    return [("WARC-Refers-To", _urn(original.record_id)), ("WARC-Refers-To-Target-URI", uri), ("WARC-Refers-To-Date", warc_date(original.at))]


def _urn(record_id: bytes) -> str:
    text = record_id.hex()
    return f"<urn:uuid:{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}>"


def _digest(digest: bytes) -> str:
    return f"sha256:{digest.hex()}"


def _named(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    return {name.lower(): value for name, value in headers}


def _one_line(text: str) -> str:
    return " ".join(text.split())


@lru_cache(maxsize=1000)
def _address(address: str) -> str:
    try:
        return str(ip_address(address.strip("[]").partition("%")[0]))
    except ValueError:
        return ""
