"""Records of items and their changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pipeline.price import same

Json = Any
"""Any value that json.dumps accepts: dict, list, str, int, float, bool, None."""


class ChangeKind(StrEnum):
    """The kinds of change of an item between two passes."""

    NEW = "new"
    CHANGED = "changed"
    GONE = "gone"
    BACK = "back"


@dataclass(frozen=True)
class Item:
    """A record that a spider extracts, with a key that identifies the record within its spider."""

    key: str
    data: dict[str, Json]


@dataclass(frozen=True)
class Change:
    """A change of an item: the item is new, changed, gone or back.

    before: the fields before the change; {} for a new item. after: the fields after the change; {} for a gone item. page_key: key in
    the file store of the saved page on which the change was found; "" if no digest attaches pages. page_url: URL of the page on which the
    change was found, or on which a gone item was found last; "" if its spider did not archive pages then.
    """

    id: int
    spider: str
    key: str
    kind: ChangeKind
    at: datetime
    run_id: int
    before: dict[str, Json]
    after: dict[str, Json]
    page_key: str = ""
    page_url: str = ""

    @property
    def fields(self) -> list[str]:
        """The names of the fields that the change affects, in the order of the item's fields.

        Two prices with the same amount and currency count as equal, even if their texts differ.
        """
        names = list(dict.fromkeys([*self.after, *self.before]))
        return [name for name in names if not same(self.before.get(name), self.after.get(name))]


@dataclass(frozen=True)
class Reject:
    """An item that failed validation, with the reason.

    key: the item's key; "" if the item has no key.
    """

    reason: str
    data: dict[str, Json]
    key: str = ""
