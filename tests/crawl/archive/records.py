"""What an archive contains, read by warcio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from warcio.archiveiterator import ArchiveIterator


@dataclass(frozen=True)
class Found:
    """A record. headers: of the record. head, body: of its HTTP message, as bytes; of another record, body is its block."""

    kind: str
    url: str
    headers: dict[str, str]
    head: bytes
    body: bytes

    @property
    def status(self) -> str:
        return self.head.split(b" ", 2)[1].decode() if self.head else ""


def archived(data_dir: Path, spider: str = "s", files: str = "*.warc.gz") -> list[Found]:
    """All records of all files of a spider, in the order of their names; their digests are checked. files: pattern of their names."""
    found = []
    for path in sorted((data_dir / "archive" / spider).rglob(files)):
        with path.open("rb") as file:
            for record in ArchiveIterator(file, check_digests="raise"):
                record.content_stream().read()
            file.seek(0)
            for record in ArchiveIterator(file, no_record_parse=True):
                head, gap, body = record.raw_stream.read().partition(b"\r\n\r\n")
                is_http = record.rec_type in ("request", "response", "revisit") and head
                found.append(Found(record.rec_type, record.rec_headers.get_header("WARC-Target-URI") or "", dict(record.rec_headers.headers),
                                   head if is_http else b"", body if is_http else head + gap + body))
    return found


def pages(data_dir: Path, url: str, spider: str = "s", files: str = "*.warc.gz") -> list[tuple[str, str, str]]:
    """The kind, the path and the status of each response and revisit record, in order."""
    return [(each.kind, each.url.removeprefix(url), each.status) for each in archived(data_dir, spider, files) if each.kind in ("response", "revisit")]
