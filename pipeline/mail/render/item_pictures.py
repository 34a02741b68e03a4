"""Embed the pictures of items in a mail.

Find them in the items, load them, and keep small copies in the file store.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol
from urllib.parse import unquote

from pipeline.display.formats import FieldRules
from pipeline.display.item_fields import link_of, title_of, visible, visible_key
from pipeline.display.picture_url import MAX_BYTES, picture_url
from pipeline.errors import MailError, PipelineError, StoreError
from pipeline.languages import Wording
from pipeline.languages.reasons import reasons
from pipeline.mail.message.compose import Picture
from pipeline.mail.render.thumbnails import ItemPicture, Thumbnail, stored_thumbnail, thumbnail
from pipeline.mail.summary import ORDER, DigestSummary
from pipeline.model import ChangeKind, PictureRequest
from pipeline.store.files.file_store import FileStore
from pipeline.text import clean_line

MAX_PICTURES = 24
MAX_MAIL_BYTES = 600_000
"""Maximum size of all pictures of a mail together."""
LIMIT_S = 20.0
"""Maximum time for fetching all pictures of a digest."""
KEEP_S = 24 * 3600.0
"""How long a copy in the file store is used."""
FOLDER = "pictures"
_TYPES = {"image/jpeg": "jpg", "image/png": "png"}


class FetchPictures(Protocol):
    """A function that fetches pictures; session.picture_fetcher has the implementation."""

    def __call__(self, wanted: Sequence[PictureRequest], *, limit_s: float, max_bytes: int) -> Mapping[PictureRequest, bytes | PipelineError]: ...


@dataclass
class Pictures:
    """The pictures of a digest, by the id of the change, and a text about those that are not shown ("" if all are)."""

    items: dict[int, ItemPicture] = field(default_factory=dict)
    note: str = ""


class PictureLoader:
    """Loads the pictures of one digest, from the file store or from their sites, within LIMIT_S seconds.

    keep: whether copies are added to the file store, so that a digest that is built again does not fetch them again.
    """

    def __init__(self, files: FileStore, fetch: FetchPictures, *, keep: bool = True) -> None:
        self._files = files
        self._fetch = fetch
        self._keep = keep
        self._left_s = LIMIT_S
        self._known: dict[PictureRequest, Thumbnail | PipelineError] = {}

    def load(self, wanted: Iterable[PictureRequest]) -> Mapping[PictureRequest, Thumbnail | PipelineError]:
        """Return a small copy of each picture, or the reason why there is none. Raises ImportError if Pillow is not installed."""
        missing = []
        for each in dict.fromkeys(wanted):
            if each not in self._known:
                stored = self._stored(each)
                if stored is not None:
                    self._known[each] = stored
                elif each.url.startswith("data:"):
                    self._known[each] = self._made_small(each, _data_of(each.url))
                else:
                    missing.append(each)
        if missing:
            self._prune()
            begun = time.monotonic()
            found = self._fetch(missing, limit_s=self._left_s, max_bytes=MAX_BYTES)
            self._left_s = max(1.0, self._left_s - (time.monotonic() - begun))
            for each, content in found.items():
                self._known[each] = content if isinstance(content, PipelineError) else self._made_small(each, content)
        return self._known

    def _made_small(self, wanted: PictureRequest, content: bytes) -> Thumbnail | PipelineError:
        try:
            small = thumbnail(content)
        except MailError as error:
            return error
        if self._keep:
            with contextlib.suppress(OSError, StoreError):  # the copy only saves a request
                self._files.write(_key(wanted, _TYPES[small.content_type]), small.content)
        return small

    def _stored(self, wanted: PictureRequest) -> Thumbnail | None:
        """Return the copy of a picture in the file store; None if there is none, or if it is too old."""
        for content_type, extension in _TYPES.items():
            key = _key(wanted, extension)
            try:
                found = self._files.info(key)
                if found is not None and time.time() - found.modified_at.timestamp() < KEEP_S:
                    return stored_thumbnail(self._files.read(key, 0, found.size_bytes), content_type)
            except (OSError, StoreError):
                continue
        return None

    def _prune(self) -> None:
        """Delete the copies in the file store that are too old to be used."""
        with contextlib.suppress(OSError, StoreError):  # the copies only save requests
            for found in self._files.list(f"{FOLDER}/") if self._keep else ():
                if time.time() - found.modified_at.timestamp() > KEEP_S:
                    self._files.remove(found.key)


def pictures_of(summary: DigestSummary, rules: Mapping[str, FieldRules], loader: PictureLoader, *, words: Wording, seed: str) -> Pictures:
    """Return the pictures of the items that a digest shows: at most MAX_PICTURES, in the order of the mail.

    rules: by spider, how its fields are shown. seed: text that makes the Content-IDs of the pictures unique.
    """
    found = [(change, *where) for kind in ORDER if kind is not ChangeKind.GONE for change in summary.top[kind]
             if (where := picture_url(change, rules.get(change.spider, FieldRules())))]
    chosen = [(change, name, PictureRequest(change.spider, url, link_of(change.after, change.key)))
              for change, name, url in found[:MAX_PICTURES]]
    try:
        loaded = loader.load(request for _, _, request in chosen)
    except ImportError:
        return Pictures(note=words.pictures_need_pillow if chosen else "")
    result, embedded, left = Pictures(), 0, len(found) - len(chosen)
    pictures: dict[PictureRequest, Picture] = {}  # several items may have the same picture
    failures = []
    for change, name, request in chosen:
        small = loaded[request]
        if isinstance(small, PipelineError):
            failures.append(f"{small.where}: {small.what}" if small.where else small.what)
            continue
        if request not in pictures:
            if embedded + len(small.content) > MAX_MAIL_BYTES:
                left += 1
                continue
            embedded += len(small.content)
            pictures[request] = Picture(f"picture-{change.id}@{seed}", small.content, small.content_type)
        display = rules.get(change.spider, FieldRules()).display
        alt = words.picture_of.format(title=clean_line(title_of(visible(change.after, display), visible_key(change, display)), 80))
        result.items[change.id] = ItemPicture(pictures[request], name, alt, small.width, small.height)
    notes = []
    if failures:
        notes.append(words.pictures_failed.format(n=len(failures), why=clean_line(reasons(words.lang).translate(failures[0]), 200)))
    if left:
        notes.append(words.pictures_left.format(n=left))
    result.note = words.comma.join(notes)
    return result


def _data_of(url: str) -> bytes:
    """Return the content of a data URL in Base64 (RFC 2397)."""
    try:
        return base64.b64decode(unquote(url.partition(",")[2]), validate=False)
    except ValueError:
        return b""


def _key(wanted: PictureRequest, extension: str) -> str:
    return f"{FOLDER}/{sha256(f'{wanted.spider} {wanted.url}'.encode()).hexdigest()[:32]}.{extension}"
