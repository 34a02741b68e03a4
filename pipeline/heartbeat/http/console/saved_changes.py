"""Remembers what was saved on a page, for the page of the spider to which the browser is redirected."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.heartbeat.http.operations.spider_drafts import SavedSpider
from pipeline.settings.files import shown_path

Kind = Literal["added", "edited", "mended"]
_MOST = 100


@dataclass(frozen=True)
class SavedChange:
    """What was saved.

    file: as messages name it. copy: the file as it was before; "" if it is new. changed, waiting: the keys that are in use now, and those that wait for
    a restart. warnings: what the check warned of.
    """

    kind: Kind
    file: str
    changed: tuple[str, ...]
    waiting: tuple[str, ...]
    warnings: tuple[str, ...]
    copy: str

    @classmethod
    def of(cls, saved: SavedSpider, kind: Kind, folder: Path) -> SavedChange:
        """Return what was saved. folder: of the settings, to which paths are shown relative."""
        return cls(kind, shown_path(folder, saved.file), saved.changed, saved.waiting, tuple(map(str, saved.warnings)), shown_path(folder, saved.copy))


class SavedChanges:
    """The last changes, by a random identifier, so that a link cannot make a page claim that something was saved."""

    def __init__(self) -> None:
        self._changes: OrderedDict[str, SavedChange] = OrderedDict()

    def add(self, change: SavedChange) -> str:
        """Remember a change and return its identifier. The oldest are forgotten."""
        number = secrets.token_hex(8)
        self._changes[number] = change
        while len(self._changes) > _MOST:
            self._changes.popitem(last=False)
        return number

    def get(self, number: str) -> SavedChange | None:
        return self._changes.get(number)
