"""Tests of the comparison of two pictures.

The share that changed, what people see as the same, and where the changes are.
"""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageDraw

from pipeline.model import PagePicture, is_same_picture
from pipeline.pixel_difference import MAX_REGIONS, Region, difference, opened


def picture(width=640, height=480, colour="white", *boxes: tuple[tuple[int, int, int, int], str]) -> Image.Image:
    made = Image.new("RGB", (width, height), colour)
    for box, fill in boxes:
        ImageDraw.Draw(made).rectangle((box[0], box[1], box[0] + box[2] - 1, box[1] + box[3] - 1), fill)
    return made


def png(made: Image.Image) -> bytes:
    file = io.BytesIO()
    made.save(file, "PNG")
    return file.getvalue()


def test_the_changed_pixels_are_counted_and_located() -> None:
    found = difference(picture(), picture(640, 480, "white", ((100, 200, 30, 10), "red"), ((600, 470, 40, 10), "black")), threshold=0.1)
    assert found.pixels == 30 * 10 + 40 * 10
    assert found.share == pytest.approx(700 / (640 * 480))
    assert set(found.regions) == {Region(96, 192, 48, 32), Region(592, 464, 48, 16)}


def test_equal_pictures_have_no_difference_even_at_the_threshold_zero() -> None:
    assert difference(picture(), picture(), threshold=0) == (0.0, 0, ())


@pytest.mark.parametrize(("threshold", "colours", "differs"), [
    (0.1, ("#ffffff", "#fcfcfc"), False),  # a shade of white that nobody sees
    (0.0, ("#ffffff", "#fefefe"), True),
    (0.1, ("#ffffff", "#b0b0b0"), True),
    (0.1, ("#808080", "#80807c"), False),
    (0.1, ("#ff0000", "#00ff00"), True),
    (0.9, ("#ffffff", "#b0b0b0"), False),
    (1.0, ("#ffffff", "#000000"), False),
])
def test_the_threshold_is_the_difference_that_people_see(threshold, colours, differs) -> None:
    found = difference(picture(64, 64, colours[0]), picture(64, 64, colours[1]), threshold=threshold)
    assert bool(found.pixels) is differs


def test_one_changed_pixel_in_a_tile_is_located() -> None:
    assert difference(picture(), picture(640, 480, "white", ((333, 111, 1, 1), "black")), threshold=0.1).regions == (Region(320, 96, 16, 16),)


def test_a_picture_that_has_grown_is_aligned_at_the_top_and_the_rest_counts_as_changed() -> None:
    found = difference(picture(640, 400), picture(640, 500), threshold=0.1)
    assert (found.pixels, found.share, found.regions) == (640 * 100, 0.2, (Region(0, 400, 640, 100),))
    assert difference(picture(640, 500), picture(640, 400), threshold=0.1) == found
    wider = difference(picture(320, 500), picture(640, 400), threshold=0.1)
    assert wider.pixels == 640 * 500 - 320 * 400


def test_changes_in_many_places_are_told_as_a_few_regions() -> None:
    spots = [((x, y, 4, 4), "black") for x in range(0, 1280, 128) for y in range(0, 3000, 128)]
    found = difference(picture(1280, 3000), picture(1280, 3000, "white", *spots), threshold=0.1)
    assert found.pixels == 16 * len(spots)
    assert len(found.regions) == MAX_REGIONS


def test_rows_beyond_the_first_band_are_compared() -> None:
    found = difference(picture(64, 5000), picture(64, 5000, "white", ((10, 4990, 5, 5), "red")), threshold=0.1)
    assert (found.pixels, found.regions) == (25, (Region(0, 4976, 16, 24),))


@pytest.mark.parametrize("content", [b"", b"no picture", png(picture())[:200], b"GIF89a"])
def test_what_is_no_picture_is_refused(content) -> None:
    with pytest.raises(ValueError, match="cannot be decoded"):
        opened(content)


def test_a_picture_with_too_many_pixels_is_not_decoded() -> None:
    with pytest.raises(ValueError, match="too large"):
        opened(png(Image.new("1", (8000, 8000))))


def test_only_a_picture_of_the_own_spider_is_read_from_a_field() -> None:
    stored = PagePicture("screenshots/shop/abc.png", 1280, 800, "screenshots/shop/old.png", 0.25, (Region(1, 2, 3, 4),))
    assert PagePicture.of(stored.as_json(), "shop") == stored
    assert PagePicture.of(stored.as_json(), "other") is None
    for value in (None, "x", {}, {"file": "downloads/shop/a", "width": 1, "height": 1}, {"file": "screenshots/shop/../a", "width": 1, "height": 1},
                  {"file": "screenshots/shop/a", "width": "x", "height": 1}, {"file": 7, "width": 1, "height": 1}):
        assert PagePicture.of(value, "shop") is None


def test_a_first_picture_is_no_change() -> None:
    first = PagePicture("screenshots/s/a.png", 1, 1).as_json()
    second = PagePicture("screenshots/s/b.png", 1, 1, "screenshots/s/a.png", 0.5).as_json()
    assert is_same_picture(None, first)
    assert is_same_picture(first, None)
    assert is_same_picture(second, first)
    assert not is_same_picture(first, second)
