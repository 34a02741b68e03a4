"""The pictures of a page before and after a change, and how much of the picture changed, in words."""

from __future__ import annotations

from decimal import Decimal

from pipeline.languages import Wording, figures
from pipeline.model import PICTURE, Change, ChangeKind, PagePicture


def pair_of(change: Change) -> tuple[PagePicture | None, PagePicture | None]:
    """Return the picture of the page before a change and after it; None for one that there is not.

    The reader has not seen a new page before, although its picture may have changed since the run that found it.
    """
    before = None if change.kind is ChangeKind.NEW else PagePicture.of(change.before.get(PICTURE), change.spider)
    return before, PagePicture.of(change.after.get(PICTURE), change.spider)


def picture_text(before: PagePicture | None, after: PagePicture, words: Wording, *, places: int = 3) -> str:
    """Return how much of a picture changed, and where, such as "3.4% of the picture changed: …", with the size and the
    distance from the top of each place.

    places: maximum number of places that are named; 0 names none.
    """
    if before is None or after.since != before.file:
        return words.page_picture_changed
    share = figures.exact_percent(Decimal(f"{after.changed:.2g}"), words.lang)
    if not places or not after.regions:
        return words.page_picture_share.format(share=share)
    named = words.semicolon.join(words.page_picture_place.format(width=region.width, height=region.height, top=region.top)
                                 for region in after.regions[:places])
    if len(after.regions) > places:
        named = words.more_of.format(entries=named, n=len(after.regions) - places)
    return words.page_picture_where.format(share=share, places=named)
