"""Make a small copy of a picture for a mail.

The copy is encoded anew, and nothing but the pixels is taken over.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import MailError
from pipeline.mail.message.compose import Picture

if TYPE_CHECKING:
    from PIL import Image

BOX = 96
"""Maximum width and height of a picture in the mail, in CSS pixels. The file has twice this size, for high-resolution screens."""
MAX_PIXELS = 16_000_000
"""Pictures with more pixels are not decoded, because a small file can contain a picture that fills the memory."""
_LEAST = 8
"""Pictures with a side of fewer pixels are placeholders or trackers."""
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF")
_QUALITY = 80
_GRAPHICS = frozenset({"1", "L", "LA", "P", "PA", "RGBA"})
"""Pillow's modes of pictures that may be drawings, which are smaller as PNG than as JPEG."""

_REDUCIBLE = frozenset({"CMYK", "L", "RGB", "RGBA"})
"""Modes of pictures of which Image.reduce can average neighbouring pixels."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture. content_type: image/jpeg or image/png. width, height: size in the mail in CSS pixels."""

    content: bytes
    content_type: str
    width: int
    height: int


@dataclass(frozen=True)
class ItemPicture:
    """The picture of an item in a mail. field: the name of the field that has its URL. alt: the alternative text."""

    picture: Picture
    field: str
    alt: str
    width: int
    height: int

    @property
    def cid(self) -> str:
        return f"cid:{self.picture.name}"


def thumbnail(content: bytes) -> Thumbnail:
    """Return a small copy of a picture, or of its first frame, upright and on white.

    Raises MailError if the picture cannot be shown, ImportError if the package Pillow is not installed.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415  an extra; only digests with pictures need it

    if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:100].lower().startswith((b"<svg", b"<?xml", b"<!doctype html", b"<html")):
        raise MailError("SVG pictures and web pages are not shown")
    Image.init()
    try:
        with Image.open(io.BytesIO(content), formats=[name for name in _FORMATS if name in Image.OPEN]) as image:
            _check_size(*image.size)
            image.draft("RGB", (4 * BOX, 4 * BOX))  # decodes a large JPEG at a fraction of its size
            image.load()
            is_graphic = image.mode in _GRAPHICS
            # Each further step copies the picture, so a large one is made smaller first.
            factor = min(image.size) // (4 * BOX) if image.mode in _REDUCIBLE else 1
            small = _on_white(ImageOps.exif_transpose(image.reduce(factor) if factor > 1 else image))
            small.thumbnail((2 * BOX, 2 * BOX))
    except MailError:
        raise
    except UnidentifiedImageError as error:
        raise MailError("the file is no picture in a known format") from error
    except Exception as error:  # decoders of damaged files raise errors of any type
        raise MailError(f"the picture cannot be decoded: {type(error).__name__}: {error}") from error
    kinds = ("JPEG", "PNG") if is_graphic else ("JPEG",)
    content, kind = min(((_encoded(small, kind), kind) for kind in kinds), key=lambda each: len(each[0]))
    return Thumbnail(content, f"image/{kind.lower()}", *displayed(*small.size))


def stored_thumbnail(content: bytes, content_type: str) -> Thumbnail:
    """Return a thumbnail that was made before. Raises ImportError if the package Pillow is not installed."""
    from PIL import Image  # noqa: PLC0415  see thumbnail

    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
        return Thumbnail(content, content_type, *displayed(*image.size))


def displayed(width: int, height: int) -> tuple[int, int]:
    """Return the size of a picture in the mail, in CSS pixels: half its size in pixels, unless it is smaller than the box."""
    factor = min(1.0, BOX / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _check_size(width: int, height: int) -> None:
    """Raise MailError if a picture has so many pixels that it must not be decoded, or so few that it shows nothing."""
    if width * height > MAX_PIXELS:
        raise MailError(f"the picture has {width} x {height} pixels, which is too large")
    if min(width, height) < _LEAST:
        raise MailError(f"the picture has only {width} x {height} pixels")


def _on_white(image: Image.Image) -> Image.Image:
    """Return a picture in RGB, with white where it is transparent."""
    from PIL import Image  # noqa: PLC0415  see thumbnail

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.info.clear()  # no EXIF, no colour profile, no comments
    options: dict[str, Any] = {"quality": _QUALITY} if kind == "JPEG" else {}
    image.save(file, kind, optimize=True, **options)
    return file.getvalue()
