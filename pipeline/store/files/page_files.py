"""Files that a browser makes of pages, such as pictures.

Kept here until the download pool stores them like downloads.

Such a file has the URL of its page with a fragment that no site has sent: FRAGMENTS. It is in data_dir/cache, which may be deleted at any time: the next
pass makes the file again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pipeline.atomic_write import replace_file
from pipeline.errors import StoreError
from pipeline.urls import without_anchor

Kind = Literal["png", "pdf"]

FRAGMENTS: dict[Kind, str] = {"png": "#rendered.png", "pdf": "#rendered.pdf"}
CONTENT_TYPES: dict[Kind, str] = {"png": "image/png", "pdf": "application/pdf"}
MAX_AGE_S = 7 * 86400.0
"""How long a file is kept that the download pool has not taken, or that it may have to take again."""


def url_of(page_url: str, kind: Kind) -> str:
    """Return the URL under which the file of a page is stored."""
    return without_anchor(page_url) + FRAGMENTS[kind]


def kind_of(url: str) -> Kind | None:
    """Return the kind of file that a URL stands for; None for any other URL."""
    return next((kind for kind, fragment in FRAGMENTS.items() if url.endswith(fragment)), None)


def page_of(url: str) -> str:
    """Return the URL of the page of which a file was made; any other URL as it is."""
    kind = kind_of(url)
    return url if kind is None else url.removesuffix(FRAGMENTS[kind])


class PageFiles:
    """The files of one spider that wait for the download pool."""

    def __init__(self, data_dir: Path, spider: str) -> None:
        self._folder = data_dir / "cache" / "rendered" / spider

    def put(self, url: str, data: bytes) -> None:
        """Keep the file with this URL. Raises StoreError."""
        try:
            replace_file(self._path(url), data)
        except OSError as error:
            raise StoreError(f"a picture could not be stored: {error.strerror}", where=str(self._folder),
                             fix="free some disk space, or remove `screenshot` and `pdf` from `render`") from error

    def get(self, url: str) -> bytes | None:
        """Return the file with this URL; None if it is not here."""
        try:
            return self._path(url).read_bytes()
        except FileNotFoundError:
            return None

    def remove_old(self, now_s: float | None = None) -> None:
        """Remove files that are older than MAX_AGE_S."""
        oldest_s = (time.time() if now_s is None else now_s) - MAX_AGE_S
        for file in self._folder.glob("*") if self._folder.is_dir() else ():
            with suppress(OSError):
                if file.stat().st_mtime < oldest_s:
                    file.unlink()

    def _path(self, url: str) -> Path:
        return self._folder / f"{sha256(url.encode()).hexdigest()}{Path(url.rpartition('#')[2]).suffix}"
