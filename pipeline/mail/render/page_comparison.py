"""Show in a mail how a watched page looked before, how it looks now, and what changed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.display.formats import FieldRules
from pipeline.display.item_fields import title_of, visible, visible_key
from pipeline.display.page_picture_text import pair_of
from pipeline.errors import StoreError
from pipeline.languages import Wording
from pipeline.mail.message.compose import Picture
from pipeline.mail.render.file_view import FileLinks
from pipeline.mail.render.page_shot import PageShot
from pipeline.mail.summary import ORDER, DigestSummary
from pipeline.model import PICTURE, ChangeKind, PagePicture
from pipeline.pixel_difference import Region, difference, opened
from pipeline.settings import SpiderTable
from pipeline.store.files.file_store import FileStore
from pipeline.text import clean_line

if TYPE_CHECKING:
    from PIL import Image

MAX_CHANGES = 6
"""Maximum number of items with pictures of their pages in a mail."""
MAX_MAIL_BYTES = 900_000
"""Maximum size of these pictures of a mail together."""
_HALF, _WHOLE = 276, 568
"""Width in CSS pixels of a picture beside another one, and of one alone. The files have up to twice and one and a half times this size."""
_LEAST_WIDTH, _LEAST_HEIGHT = 560, 320
"""Smallest part of a page that is shown, in pixels of the page, so that a reader sees where it is."""
_TALLEST = 1.1
"""Height of the largest part that is shown, as a multiple of its width."""
_AROUND = 48
"""Pixels of the page that are shown around what changed."""
_MARK = (214, 36, 36)
_EDGE = (190, 197, 205)
_FADED = 0.55
_QUALITY = 80
_DEFAULT_THRESHOLD = 0.1


@dataclass
class PagePictures:
    """The pictures of the pages of a digest, by the id of the change. note: how many are not shown; "" if all are."""

    shots: dict[int, list[PageShot]] = field(default_factory=dict)
    note: str = ""


def with_net_pictures(summary: DigestSummary, files: FileStore, spiders: Mapping[str, SpiderTable]) -> None:
    """Compare the pictures again of items that changed in several runs: what the reader saw last, with the picture of now.

    What a run has recorded is the difference from the picture before it. Without Pillow, or without one of the two files, the change says
    only that the picture changed.
    """
    for kind, changes in summary.top.items():
        for place, change in enumerate(changes):
            before, after = pair_of(change)
            if before is None or after is None or before.file in (after.file, after.since):
                continue
            visual = spiders[change.spider].watch.visual if change.spider in spiders else None
            try:
                found = difference(_opened(files, before), _opened(files, after), threshold=visual.threshold if visual else _DEFAULT_THRESHOLD)
                net = replace(after, since=before.file, changed=found.share, regions=found.regions)
            except (ImportError, OSError, StoreError, ValueError):
                net = replace(after, since="", changed=0.0, regions=())
            summary.top[kind][place] = replace(change, after=change.after | {PICTURE: net.as_json()})


def page_pictures_of(summary: DigestSummary, files: FileStore, rules: Mapping[str, FieldRules], links: FileLinks, *, words: Wording,
                     seed: str) -> PagePictures:
    """Return the pictures of the pages that a digest shows: of at most MAX_CHANGES items, in the order of the mail.

    rules: by spider, how its fields are shown. seed: text that makes the Content-IDs of the pictures unique.
    """
    wanted = [change for kind in ORDER if kind is not ChangeKind.GONE for change in summary.top[kind] if pair_of(change)[1] is not None]
    result, embedded, left = PagePictures(), 0, max(0, len(wanted) - MAX_CHANGES)
    for change in wanted[:MAX_CHANGES]:
        display = rules.get(change.spider, FieldRules()).display
        if PICTURE in display.hide:
            continue
        title = clean_line(title_of(visible(change.after, display), visible_key(change, display)), 80)
        try:
            shots = _Maker(files, links, words, f"page-{change.id}", seed, title).shots(*pair_of(change))
        except ImportError:
            return PagePictures(note=words.pictures_need_pillow)
        except (OSError, StoreError, ValueError):  # the file was deleted, or cannot be read now: the mail says what changed without it
            left += 1
            continue
        size = sum(len(shot.picture.content) for shot in shots)
        if embedded + size > MAX_MAIL_BYTES:
            left += 1
            continue
        embedded += size
        result.shots[change.id] = shots
    result.note = words.pictures_left.format(n=left) if left else ""
    return result


def window_of(size: tuple[int, int], regions: tuple[Region, ...]) -> Region:
    """Return the part of a page that is shown: around all that changed if it is not too high, otherwise around the largest change."""
    width, height = size
    if not regions:
        return Region(0, 0, width, min(height, round(width * _TALLEST)))
    left, right = min(region.left for region in regions), max(region.right for region in regions)
    top, bottom = min(region.top for region in regions), max(region.bottom for region in regions)
    shown_width = min(width, max(right - left + 2 * _AROUND, _LEAST_WIDTH))
    if bottom - top + 2 * _AROUND > shown_width * _TALLEST:
        left, top, right, bottom = regions[0].left, regions[0].top, regions[0].right, regions[0].bottom
        shown_width = min(width, max(right - left + 2 * _AROUND, _LEAST_WIDTH))
    shown_height = min(height, max(_LEAST_HEIGHT, min(bottom - top + 2 * _AROUND, round(shown_width * _TALLEST))))
    x = min(max(0, (left + right - shown_width) // 2), width - shown_width)
    y = min(max(0, top - max(_AROUND, (shown_height - (bottom - top)) // 2 if bottom - top < shown_height else _AROUND)), height - shown_height)
    return Region(x, y, shown_width, shown_height)


def _opened(files: FileStore, stored: PagePicture) -> Image.Image:
    return opened(files.local(stored.file).read_bytes())


@dataclass(frozen=True)
class _Frame:
    """What one picture of an item shows. name: end of its Content-ID. width: its largest width in CSS pixels. density: pixels of the file to one."""

    name: str
    label: str
    stored: PagePicture
    width: int = _HALF
    density: float = 2
    marked: tuple[Region, ...] = ()


@dataclass(frozen=True)
class _Maker:
    """Makes the pictures of one item. name: beginning of their Content-IDs. title: title of the item."""

    files: FileStore
    links: FileLinks
    words: Wording
    name: str
    seed: str
    title: str

    def shots(self, before: PagePicture | None, after: PagePicture | None) -> list[PageShot]:
        """Return the picture before, the picture of now and the marked one; only that of now if it did not change, or if that before is lost.

        Raises OSError, StoreError, ValueError if a file cannot be read, ImportError without Pillow.
        """
        assert after is not None
        words, now = self.words, _opened(self.files, after)
        try:
            was = _opened(self.files, before) if before is not None and before.file != after.file else None
        except FileNotFoundError:
            was = None
        if before is None or was is None:
            top = Region(0, 0, now.width, min(now.height, round(now.width * _TALLEST)))
            return [self._shot(now, top, _Frame("now", words.page_picture_now, after, _WHOLE, 1.5))]
        regions = after.regions if after.since == before.file else difference(was, now, threshold=_DEFAULT_THRESHOLD).regions
        window = window_of((max(was.width, now.width), max(was.height, now.height)), regions)
        return [self._shot(was, window, _Frame("before", words.page_picture_before, before)),
                self._shot(now, window, _Frame("now", words.page_picture_now, after)),
                self._shot(now, window, _Frame("marked", words.page_picture_marked, after, _WHOLE, 1.5, regions))]

    def _shot(self, image: Image.Image, window: Region, frame: _Frame) -> PageShot:
        from PIL import Image, ImageDraw  # noqa: PLC0415  an extra; only digests with pictures need it

        part = Image.new("RGB", (window.width, window.height), "#e4e7eb")  # where the page is not as high as the other one
        inside = (window.left, window.top, min(window.right, image.width), min(window.bottom, image.height))
        if inside[2] > inside[0] and inside[3] > inside[1]:
            part.paste(image.crop(inside), (0, 0))
        scale = min(1.0, frame.width * frame.density / window.width)
        if frame.marked:
            part = _marked(part, window, frame.marked, line=max(2, round(2 / scale)))
        if scale < 1:
            part = part.resize((round(window.width * scale), max(1, round(window.height * scale))), Image.Resampling.LANCZOS)
        ImageDraw.Draw(part).rectangle((0, 0, part.width - 1, part.height - 1), outline=_EDGE)  # mail clients show borders in different ways
        shown = min(frame.width, window.width)
        content, content_type = _encoded(part)
        return PageShot(Picture(f"{self.name}-{frame.name}@{self.seed}", content, content_type), frame.label,
                        self.words.page_picture_alt.format(title=self.title, what=frame.label), shown,
                        max(1, round(window.height * shown / window.width)), "" if frame.marked else self.links.stored(frame.stored.file))


def _marked(part: Image.Image, window: Region, regions: tuple[Region, ...], *, line: int) -> Image.Image:
    """Return the part of a page with a frame around each region, and everything else faded. line: width of the frame in pixels."""
    from PIL import Image, ImageDraw  # noqa: PLC0415  see _shot

    faded = Image.blend(part, Image.new("RGB", part.size, "white"), _FADED)
    draw = ImageDraw.Draw(faded)
    for region in regions:
        box = (region.left - window.left, region.top - window.top, region.right - window.left, region.bottom - window.top)
        inside = (max(0, box[0]), max(0, box[1]), min(part.width, box[2]), min(part.height, box[3]))
        if inside[2] > inside[0] and inside[3] > inside[1]:
            faded.paste(part.crop(inside), inside[:2])
            draw.rectangle((max(0, box[0] - line), max(0, box[1] - line), min(part.width - 1, box[2] + line - 1), min(part.height - 1, box[3] + line - 1)),
                           outline=_MARK, width=line)
    return faded


def _encoded(part: Image.Image) -> tuple[bytes, str]:
    """Return the picture as PNG or as JPEG, whichever is smaller, and its type."""
    files = {kind: io.BytesIO() for kind in ("JPEG", "PNG")}
    part.save(files["JPEG"], "JPEG", quality=_QUALITY, optimize=True)
    part.save(files["PNG"], "PNG")
    kind = min(files, key=lambda each: files[each].tell())
    return files[kind].getvalue(), f"image/{kind.lower()}"
