"""The hash of what a language model is shown of a change; another text is judged anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping

from pipeline.ai.change_text import shown_display
from pipeline.model import Change, Json
from pipeline.settings import DigestTable, Settings


class ContentHashes:
    """Computes the hashes of changes from the fields that the model is shown, and from what is hidden before.

    It does not write the text that the model is shown, because that takes ten times as long, and a digest may have 100,000 changes that were judged before.
    table: the digest that reports the changes.
    """

    def __init__(self, settings: Settings, table: DigestTable) -> None:
        self._settings = settings
        self._table = table
        self._shown: dict[str, tuple[Collection[str], Collection[str]]] = {}
        """For each spider the fields that are shown (all if there are none), and those that are hidden."""
        self._masks = (settings.ai.mask, settings.ai.mask_patterns) if settings.ai is not None else ()

    def __call__(self, change: Change) -> str:
        """Return the hash of a change: SHA-256, hexadecimal."""
        if change.spider not in self._shown:
            display = shown_display(self._settings, self._table, change.spider)
            self._shown[change.spider] = display.show, display.hide
        show, hide = self._shown[change.spider]
        content = (change.kind.value, change.spider, change.key, sorted(show), sorted(hide), self._masks,
                   _shown(change.before, show, hide), _shown(change.after, show, hide))
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _shown(data: Mapping[str, Json], show: Collection[str], hide: Collection[str]) -> dict[str, Json]:
    return {name: value for name, value in data.items() if name not in hide and (not show or name in show)}
