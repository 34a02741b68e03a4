"""Records of downloads and stored files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pipeline.model.items import Json


class DownloadState(StrEnum):
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Download:
    """A file to download, yielded by a spider.

    name: the requested file name, which is made safe before the file is stored; "" lets the program choose a name. sha256: the
    SHA-256 that the file must have, in hex; "" accepts any content. headers: HTTP headers to send with the request.
    """

    url: str
    name: str = ""
    item_key: str = ""
    referer: str = ""
    sha256: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class QueuedDownload:
    """A download leased from the store, with what earlier attempts and passes recorded about the file.

    part_key: key of the partial download that an earlier attempt left. part_etag, part_last_modified, part_length: ETag, Last-Modified
    and length of the response that the partial download is the beginning of. etag, last_modified, file_key, file_sha256, file_size:
    describe the last complete version of the file; file_key is "" if this version was deleted because of a limit. item: the item to
    which the file belongs; {} if the file belongs to no item.
    """

    id: int
    spider: str
    url: str
    name: str
    referer: str
    headers: tuple[tuple[str, str], ...]
    sha256_wanted: str
    attempt: int
    part_key: str
    part_etag: str
    part_last_modified: str
    part_length: int | None
    file_key: str
    etag: str
    last_modified: str
    requested_at: datetime
    file_sha256: str = ""
    file_size: int | None = None
    item: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredFile:
    """One version of a downloaded file.

    key: key in the file store. sha256: SHA-256 of the content in hex. run_id: id of the run that downloaded the file; None if the
    database no longer contains this run. referer: URL of the page on which the file was found; "" if it is unknown.
    """

    id: int
    spider: str
    run_id: int | None
    url: str
    key: str
    name: str
    size_bytes: int
    sha256: str
    content_type: str
    fetched_at: datetime
    referer: str = ""


@dataclass(frozen=True)
class PictureRequest:
    """A picture to fetch for a mail, with the session of a spider. page: URL of a page that shows the picture, or ""."""

    spider: str
    url: str
    page: str = field(default="", compare=False)


@dataclass(frozen=True)
class Transfer:
    """A download in progress.

    total_bytes: None if the server did not announce the size. rate_bytes_s: bytes per second.
    """

    name: str
    done_bytes: int
    total_bytes: int | None
    rate_bytes_s: float

    @property
    def left_s(self) -> float | None:
        """Seconds until the end of the download at the current rate; None if unknown."""
        if self.total_bytes is None or self.rate_bytes_s <= 0:
            return None
        return max(0, self.total_bytes - self.done_bytes) / self.rate_bytes_s


def together(transfers: Sequence[Transfer]) -> Transfer:
    """Return one Transfer with the sums of several transfers.

    total_bytes of the result is None unless the size of every file is known.
    """
    totals = [each.total_bytes for each in transfers]
    known = [total for total in totals if total is not None]
    return Transfer("", sum(each.done_bytes for each in transfers), sum(known) if len(known) == len(totals) else None,
                    sum(each.rate_bytes_s for each in transfers))
