"""The large files of the demo site, whose bytes are always the same and are generated during sending."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.demo.catalogue import as_csv

CHUNK_BYTES = 64 * 1024
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DemoFile:
    """A file that consists of `head`, `filler_bytes` bytes of a repeated block, and `tail`.

    download_name: the file name in the Content-Disposition header; "" means no such header.
    """

    name: str
    content_type: str
    modified: datetime
    head: bytes = b""
    filler_bytes: int = 0
    tail: bytes = b""
    download_name: str = ""

    @property
    def size_bytes(self) -> int:
        return len(self.head) + self.filler_bytes + len(self.tail)

    @property
    def etag(self) -> str:
        """A strong ETag without quotes (RFC 9110 section 8.8.3), computed from head, tail and filler length."""
        return hashlib.sha256(b"%d:" % self.filler_bytes + self.head + self.tail).hexdigest()[:24]

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from position `start` up to, but not including, `stop`.

        Each yielded piece has at most CHUNK_BYTES bytes.
        """
        block = hashlib.shake_256(self.name.encode()).digest(CHUNK_BYTES)
        at = start
        filler_end = len(self.head) + self.filler_bytes
        while at < stop:
            if at < len(self.head):
                piece = self.head[at:min(stop, at + CHUNK_BYTES)]
            elif at < filler_end:
                offset = (at - len(self.head)) % CHUNK_BYTES
                piece = block[offset:offset + min(stop, filler_end) - at]
            else:
                piece = self.tail[at - filler_end:stop - filler_end]
            yield piece
            at += len(piece)


def files(revision: int) -> dict[str, DemoFile]:
    """Return all files of the demo site by name. Only the catalogue file differs between revisions."""
    found = (
        _report(),
        DemoFile("catalogue.csv", "text/csv; charset=utf-8", _EPOCH + timedelta(hours=revision),
                 head=as_csv(revision), download_name="目录.csv"),
        DemoFile("sample.bin", "application/octet-stream", _EPOCH, filler_bytes=1_000_000),
    )
    return {file.name: file for file in found}


def _report() -> DemoFile:
    """Return a valid PDF with one page. An unused object inside the PDF makes the file large."""
    text = b"BT /F1 24 Tf 72 720 Td (Annual report of the demo shop) Tj ET"
    filler_bytes = 3_000_000
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
         b"/Resources << /Font << /F1 5 0 R >> >> >>"),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    head = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(head))
        head += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    offsets.append(len(head))
    head += b"6 0 obj\n<< /Length %d >>\nstream\n" % filler_bytes
    tail = b"\nendstream\nendobj\n"
    xref_at = len(head) + filler_bytes + len(tail)
    tail += b"xref\n0 7\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    tail += b"trailer\n<< /Size 7 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % xref_at
    return DemoFile("report.pdf", "application/pdf", _EPOCH, head, filler_bytes, tail)
