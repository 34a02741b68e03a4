"""Keep pages with changes as they were found, for digests that attach them: one file for each content.

A file is written before its page is committed, and taken away when the page turns out to be no news. A kill between
the two leaves a file that nothing names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from hashlib import sha256
from urllib.parse import urlsplit

from pipeline.model import Page
from pipeline.store.files.file_store import FileStore

FOLDER = "pages"
_SLUG = re.compile(r"[^A-Za-z0-9.-]+")


class PageArchive:
    """The pages of one spider. Its methods are called from one thread."""

    def __init__(self, files: FileStore, spider: str) -> None:
        self._files = files
        self._spider = spider
        self._written: set[str] = set()

    def save(self, pages: Sequence[Page]) -> list[Page]:
        """Write the bodies of pages with items; the pages with the keys of their files. Raises OSError."""
        return [self._saved(page) if page.body and page.items else page for page in pages]

    def settle(self, news: Collection[str]) -> None:
        """Take away what was written since the last time, but for the keys in `news`."""
        for key in self._written.difference(news):
            self._files.remove(key)
        self._written.clear()

    def _saved(self, page: Page) -> Page:
        key = f"{FOLDER}/{self._spider}/{sha256(page.body).hexdigest()[:32]}-{slug(page.url)}"
        try:
            os.utime(self._files.path(key))  # it is young again: what is old is tidied away
        except FileNotFoundError:
            self._files.write(key, page.body)
            self._written.add(key)
        return replace(page, body=b"", file_key=key)


def slug(url: str) -> str:
    """A file name that tells where a page came from."""
    parts = urlsplit(url)
    name = _SLUG.sub("_", f"{parts.hostname or ''}{parts.path}").strip("._-")[:80] or "page"
    return name if name.endswith((".html", ".htm")) else f"{name}.html"
