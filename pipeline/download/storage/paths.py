"""Make the path of a downloaded file: fill in the template `downloads.path`, and make each name safe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, tzinfo
from urllib.parse import urlsplit

from pipeline.download.storage import filenames
from pipeline.model import Json, QueuedDownload
from pipeline.settings.fields.path_template import ITEM, PLACEHOLDER

_PLACEHOLDER_TEXT = "unsorted"
"""The text that replaces a placeholder whose field the item does not have, or whose text has no safe character."""


@dataclass(frozen=True)
class FolderLayout:
    """The rules for the paths of a spider's files in its download folder.

    template: the path with placeholders; see pipeline.settings.fields.path_template. zone: the time zone in which {date} is
    filled in. link_duplicates: whether a file whose content is already stored becomes a hard link to the stored file.
    """

    template: str = "{name}"
    zone: tzinfo = UTC
    link_duplicates: bool = False

    def path_of(self, wanted: QueuedDownload, name: str) -> tuple[str, ...]:
        """Return the folders and the file name for a download. Each of these names is safe.

        name: a safe file name with its extension. The date in the path is the day on which the pass requested the file, so that a
        retry after midnight gives the same path.
        """
        if self.template == "{name}":
            return (name,)
        stem, extension = filenames.split(name)
        at = wanted.requested_at.astimezone(self.zone)
        values = {"name": name, "stem": stem, "ext": extension, "date": f"{at:%Y-%m-%d}", "year": f"{at:%Y}",
                  "month": f"{at:%m}", "day": f"{at:%d}", "host": _host(wanted.url)}

        def value(match: re.Match[str]) -> str:
            key = match[1]
            return _field(wanted.item, key.removeprefix(ITEM)) if key.startswith(ITEM) else values[key]

        filled = (PLACEHOLDER.sub(value, part) for part in self.template.split("/"))
        return tuple(filenames.safe(part) or _PLACEHOLDER_TEXT for part in filled)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or _PLACEHOLDER_TEXT
    except ValueError:
        return _PLACEHOLDER_TEXT


def _field(item: Json, path: str) -> str:
    """Return the text of a field of an item, without path separators.

    path: the name of the field, or a path such as `author.name`.
    """
    found = item.get(path) if path in item else item
    for name in path.split(".") if path not in item else ():
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, list):
        found = ", ".join(str(each) for each in found if isinstance(each, (str, int, float)))
    if not isinstance(found, (str, int, float)) or not str(found).strip():
        return _PLACEHOLDER_TEXT
    return re.sub(r"[/\\]", "_", str(found))
