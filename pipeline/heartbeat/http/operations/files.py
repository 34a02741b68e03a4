"""Stored files that browsers may show: pictures and plain text, recognized by their content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import quote

from sqlalchemy import select

from pipeline.heartbeat.http.stored_files import OfferedFile, stored_file
from pipeline.store import Store
from pipeline.store.database.bulk import is_one_of
from pipeline.store.database.schema import download_files, downloads

_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"), (b"GIF89a", "image/gif"))
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
_TEXTS = frozenset({".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".log", ".xml", ".ics"})
_TEXT = "text/plain; charset=utf-8"
_HEAD_BYTES = 16
MAX_BYTES = 20 * 2**20
"""Maximum size of a file that is shown; a larger one is only saved."""


def path_to_show(key: str, name: str) -> str:
    """Return the path at which a browser shows a file; "" if it can only be saved. By its name: the content decides when it is opened."""
    return f"/shown/{quote(key)}" if PurePosixPath(name).suffix.lower() in _PICTURES | _TEXTS else ""


def is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _PICTURES


def file_to_show(store: Store, key: str) -> tuple[OfferedFile, str] | None:
    """Return a stored file and the media type with which it is shown; None if there is none, or if it can only be saved. Raises StoreError.

    Types that can contain scripts, such as HTML, SVG and PDF, are never shown: their content comes from a crawled site.
    """
    found = stored_file(store, key)
    if found is None or found.info.size_bytes > MAX_BYTES:
        return None
    suffix = PurePosixPath(found.name).suffix.lower()
    if suffix in _TEXTS:
        return found, _TEXT
    head = found.files.read(found.info.key, 0, min(_HEAD_BYTES, found.info.size_bytes)) if suffix in _PICTURES else b""
    kind = picture_type(head)
    return (found, kind) if kind else None


def picture_type(head: bytes) -> str:
    """Return the media type of a picture that browsers may show, by its first bytes; "" if it is none."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), "")


def stored_pictures(store: Store, spider: str, urls: Iterable[str]) -> dict[str, str]:
    """Return the path of the downloaded picture of each URL for which one is stored."""
    wanted = list(dict.fromkeys(urls))
    if not wanted:
        return {}
    with store.read() as connection:
        rows = connection.execute(select(downloads.c.url, download_files.c.key, download_files.c.name).join(
            download_files, download_files.c.key == downloads.c.file_key).where(
            downloads.c.spider == spider, is_one_of(connection, downloads.c.url, wanted), download_files.c.doomed_at.is_(None)))
        return {row.url: f"/shown/{quote(row.key)}" for row in rows if is_picture(row.name)}
