"""The path of one file below its spider's folder: the template of the settings, filled in and made safe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, tzinfo
from urllib.parse import urlsplit

from pipeline.download.storage import filenames
from pipeline.model import Json, QueuedDownload
from pipeline.settings.fields.path_template import ITEM, PLACEHOLDER

_NOTHING = "unsorted"
"""Stands for a field that the item lacks, and for a text of which nothing safe is left."""


@dataclass(frozen=True)
class Places:
    """template: as pipeline.settings.fields.path_template has it; zone: whose days {date} means; link_duplicates: one more name
    for a file that is there already, instead of the same bytes again."""

    template: str = "{name}"
    zone: tzinfo = UTC
    link_duplicates: bool = False

    def of(self, wanted: QueuedDownload, name: str) -> tuple[str, ...]:
        """Folders and file name, each one safe component. name: a safe one, with its extension.

        The date is that on which the pass asked for the file, so that a retry after midnight changes nothing.
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
        return tuple(filenames.safe(part) or _NOTHING for part in filled)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or _NOTHING
    except ValueError:
        return _NOTHING


def _field(item: Json, path: str) -> str:
    """A field by its name, or by a path such as `author.name`; as text without separators."""
    found = item.get(path) if path in item else item
    for name in path.split(".") if path not in item else ():
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, list):
        found = ", ".join(str(each) for each in found if isinstance(each, (str, int, float)))
    if not isinstance(found, (str, int, float)) or not str(found).strip():
        return _NOTHING
    return re.sub(r"[/\\]", "_", str(found))
