"""The record of a stored picture of a page, which is a field of the items of `spider = "watch"`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.pixel_difference import Region

PICTURE = "picture"
"""The name of the field."""
PICTURES = "screenshots"
"""The folder of the pictures in the file store: the keys are `screenshots/SPIDER/HASH-NAME.png`."""


@dataclass(frozen=True)
class PagePicture:
    """A stored picture of a page, and how it differs from the picture before it.

    file: its key in the file store, which contains the hash of its content. width, height: in pixels. since: key of the picture with which
    it was compared; "" for one that was compared with none. changed: share of the pixels that changed (0 to 1). regions: where.
    """

    file: str
    width: int
    height: int
    since: str = ""
    changed: float = 0.0
    regions: tuple[Region, ...] = ()

    @classmethod
    def of(cls, value: Any, spider: str) -> PagePicture | None:
        """Return the picture that the value of a field describes; None if the value describes no stored picture of the spider."""
        try:
            found = cls(value["file"], int(value["width"]), int(value["height"]), value.get("since", ""), float(value.get("changed", 0)),
                        tuple(Region(*map(int, region)) for region in value.get("regions", ())))
            is_own = found.file.startswith(f"{PICTURES}/{spider}/") and ".." not in found.file
        except (TypeError, ValueError, KeyError, AttributeError):
            return None
        return found if is_own else None

    def as_json(self) -> dict[str, Any]:
        plain = {"file": self.file, "width": self.width, "height": self.height}
        if not self.since:
            return plain
        return plain | {"since": self.since, "changed": round(self.changed, 6), "regions": [list(region) for region in self.regions]}


def is_same_picture(reported: Any, found: Any) -> bool:
    """Return whether there is no change to report between the values of two fields with pictures.

    A picture that is missing, or was compared with none, shows no change: the first picture of a page is what later ones are compared with.
    """
    if not isinstance(reported, dict) or not isinstance(found, dict):
        return True
    return reported.get("file") == found.get("file") or not found.get("since")
