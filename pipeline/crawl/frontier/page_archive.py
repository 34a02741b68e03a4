"""Archive the bodies of changed pages, one file for each page, for digests that attach pages.

A file is written before its page is committed, and removed if the commit shows that the page has no changes. If the process is
killed between the two steps, the file remains, although no change in the store refers to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from hashlib import sha256
from urllib.parse import urlsplit

from pipeline.model import Page
from pipeline.store.files.file_store import FileStore
from pipeline.urls import route_of

FOLDER = "pages"
_SLUG = re.compile(r"[^A-Za-z0-9.-]+")


class PageArchive:
    """The archived pages of one spider. Not thread-safe."""

    def __init__(self, files: FileStore, spider: str) -> None:
        self._files = files
        self._spider = spider
        self._written: set[str] = set()

    def save(self, pages: Sequence[Page]) -> list[Page]:
        """Write the body of each page that has items to a file. Return all pages.

        A page whose body was written is returned with the key of the file instead of the body. Raise OSError or StoreError if a
        file cannot be written.
        """
        bodies: dict[str, bytes] = {}
        saved = [self._saved(page, bodies) if page.body and page.items else page for page in pages]
        self._files.write_all(bodies)
        self._written.update(bodies)
        return saved

    def keep_only(self, keys: Collection[str]) -> None:
        """Remove the files written since the previous call of this method, except the files with these keys."""
        self._files.remove_all(self._written.difference(keys))
        self._written.clear()

    def _saved(self, page: Page, bodies: dict[str, bytes]) -> Page:
        """Return the page with the key of its file. A body that is not stored yet is added to `bodies`."""
        key = f"{FOLDER}/{self._spider}/{sha256(page.body).hexdigest()[:32]}-{slug(page.url)}"
        try:
            self._files.touch(key)  # so that the deletion of old files spares this file
        except FileNotFoundError:
            bodies[key] = page.body
        return replace(page, body=b"", file_key=key)


def slug(url: str) -> str:
    """Return a file name made from the host, path and route of a URL."""
    parts = urlsplit(url)
    name = _SLUG.sub("_", f"{parts.hostname or ''}{parts.path}{route_of(url)}").strip("._-")[:80] or "page"
    return name if name.endswith((".html", ".htm")) else f"{name}.html"
