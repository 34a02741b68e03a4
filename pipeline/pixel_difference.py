"""Compare two pictures of a page.

The share of the pixels that differ as people perceive colours, and where they are.

The difference of two colours is their distance in the colour space YIQ, after Kotsarenko and Ramos, "Measuring perceived color
difference using YIQ NTSC transmission color space in mobile applications" (2010), which pixelmatch uses, too.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

MAX_REGIONS = 8
MAX_PIXELS = 40_000_000
"""Pictures with more pixels are not decoded, because a small file can contain a picture that fills the memory."""
_TILE = 16
_BAND = 64 * _TILE
"""Number of rows that are compared at a time, so that little more than the two pictures is in memory."""
_NEAR = 2
"""Changed tiles with less than this number of tiles between them belong to one region."""
_LARGEST = 35215.0
"""The largest distance of two colours, squared."""
_STEPS = 200
"""The value to which the squared distance at the threshold is scaled. Sums end at 255, so those beyond the threshold stay beyond it."""
_CHANNELS = (
    ((0.29889531, 0.58662247, 0.11448223, 0.0), 0.5053, 1.0),
    ((0.59597799 / 1.2, -0.27417610 / 1.2, -0.32180189 / 1.2, 127.5), 0.299, 1.2),
    ((0.21147017 / 1.05, -0.52261711 / 1.05, 0.31114694 / 1.05, 127.5), 0.1957, 1.05),
)
"""For each of Y, I and Q: the row of the matrix, scaled to 0 to 255; the weight of its square; and the scale."""


class Region(NamedTuple):
    """A rectangle of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height


class Difference(NamedTuple):
    """The difference of two pictures.

    share: share of the pixels that changed (0 to 1). pixels: their number. regions: rectangles around them, the largest first; at most MAX_REGIONS.
    """

    share: float
    pixels: int
    regions: tuple[Region, ...]


def opened(content: bytes) -> Image.Image:
    """Return a PNG picture in RGB. Raises ImportError if Pillow is not installed, ValueError if the content is no such picture or too large."""
    from PIL import Image  # noqa: PLC0415  an extra, which only pictures of pages need

    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"the picture has {picture.width} x {picture.height} pixels, which is too large")
            return picture.convert("RGB")
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:  # what Pillow raises for damaged files
        raise ValueError(f"the picture cannot be decoded: {error}") from error


def difference(before: Image.Image, after: Image.Image, *, threshold: float) -> Difference:
    """Compare two pictures in RGB. What only one of them covers counts as changed: pictures are aligned at the top left.

    threshold: how different a pixel must be to count as changed: the share (0 to 1) of the largest distance of two colours.
    """
    width, height = (min(pair) for pair in zip(before.size, after.size, strict=True))
    full = max(before.width, after.width), max(before.height, after.height)
    tables = _tables(threshold)
    pixels, tiles = 0, set[tuple[int, int]]()
    for top in range(0, height, _BAND):
        box = (0, top, width, min(top + _BAND, height))
        changed = _changed(before.crop(box), after.crop(box), tables)
        if changed is None:
            continue
        pixels += changed.histogram()[255]
        small = changed.reduce(_TILE)
        columns = small.width
        tiles.update((place % columns, top // _TILE + place // columns) for place, value in enumerate(small.tobytes()) if value)
    regions = [Region(left * _TILE, top * _TILE, min(right * _TILE, width) - left * _TILE, min(bottom * _TILE, height) - top * _TILE)
               for left, top, right, bottom in _rectangles(tiles)]
    pixels += full[0] * full[1] - width * height
    if full[1] > height:
        regions.append(Region(0, height, full[0], full[1] - height))
    if full[0] > width:
        regions.append(Region(width, 0, full[0] - width, height))
    regions = sorted(_joined(regions), key=lambda region: -region.width * region.height)
    if len(regions) > MAX_REGIONS:
        regions[MAX_REGIONS - 1:] = [_around(regions[MAX_REGIONS - 1:])]
    return Difference(pixels / (full[0] * full[1]), pixels, tuple(regions))


def _tables(threshold: float) -> list[list[int]] | None:
    """Return for each channel the squared distance of each difference; None if every difference counts."""
    limit = _LARGEST * threshold * threshold
    if limit < 1:
        return None
    return [[min(255, round(weight * (step * scale) ** 2 * _STEPS / limit)) for step in range(256)] for _, weight, scale in _CHANNELS]


def _changed(before: Image.Image, after: Image.Image, tables: list[list[int]] | None) -> Image.Image | None:
    """Return a picture that is 255 where two pictures of the same size differ, otherwise 0; None if they are the same."""
    from PIL import ImageChops  # noqa: PLC0415  see opened

    plain = ImageChops.difference(before, after)
    if plain.getbbox() is None:
        return None
    if tables is None:
        red, green, blue = plain.split()
        return ImageChops.lighter(ImageChops.lighter(red, green), blue).point([0, *[255] * 255])
    total = None
    for (row, _, _), table in zip(_CHANNELS, tables, strict=True):
        squared = ImageChops.difference(before.convert("L", row), after.convert("L", row)).point(table)
        total = squared if total is None else ImageChops.add(total, squared)
    assert total is not None
    return total.point([0] * (_STEPS + 1) + [255] * (255 - _STEPS))


def _rectangles(tiles: set[tuple[int, int]]) -> Iterator[tuple[int, int, int, int]]:
    """Yield a rectangle (left, top, right, bottom) around each group of tiles that are near each other."""
    left = set(tiles)
    near = [(x, y) for x in range(-_NEAR, _NEAR + 1) for y in range(-_NEAR, _NEAR + 1) if x or y]
    while left:
        start = left.pop()
        columns, rows, waiting = [start[0]], [start[1]], [start]
        while waiting:
            column, row = waiting.pop()
            for x, y in near:
                found = (column + x, row + y)
                if found in left:
                    left.remove(found)
                    waiting.append(found)
                    columns.append(found[0])
                    rows.append(found[1])
        yield min(columns), min(rows), max(columns) + 1, max(rows) + 1


def _joined(regions: Iterable[Region]) -> list[Region]:
    """Return the regions, those that overlap or touch as one."""
    found: list[Region] = []
    for region in regions:
        whole = region
        while touching := [other for other in found if _touches(other, whole)]:
            found = [other for other in found if other not in touching]
            whole = _around([whole, *touching])
        found.append(whole)
    return found


def _touches(one: Region, other: Region) -> bool:
    return one.left <= other.right and other.left <= one.right and one.top <= other.bottom and other.top <= one.bottom


def _around(regions: Iterable[Region]) -> Region:
    every = list(regions)
    left, top = min(region.left for region in every), min(region.top for region in every)
    return Region(left, top, max(region.right for region in every) - left, max(region.bottom for region in every) - top)
