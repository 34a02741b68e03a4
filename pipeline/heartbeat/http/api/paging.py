"""Cursors of pages: opaque texts that contain where the next page begins."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel

from pipeline.heartbeat.http.api.problem import ApiProblem
from pipeline.heartbeat.http.api.route import Page

_T = TypeVar("_T", bound=BaseModel)
_Row = TypeVar("_Row")
_MOST_ID = 2**63


def cursor_of(*position: str | int) -> str:
    """Return the cursor of a position in a list. The longest key, of 1,000 characters, fits into the line of a request."""
    return base64.urlsafe_b64encode(json.dumps(position, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")).decode().rstrip("=")


def position_in(cursor: str | None, *kinds: type) -> tuple[str | int, ...] | None:
    """Return the position that a cursor contains; None for no cursor. Raises ApiProblem for a cursor of another list or of nobody.

    kinds: the types of the values of the position.
    """
    if cursor is None:
        return None
    try:
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        valid = isinstance(found, list) and len(found) == len(kinds) and all(type(value) is kind for value, kind in zip(found, kinds, strict=True))
        if valid and all(not isinstance(value, int) or -_MOST_ID <= value < _MOST_ID for value in found):
            return tuple(found)
    except (ValueError, RecursionError):
        pass
    raise ApiProblem("invalid-parameter", "the cursor is not one of this list", errors=[("after", "use the value of `next` of a page of this list")])


def id_before(cursor: str | None) -> int | None:
    """Return the id that the cursor of a list sorted by id, the newest first, contains."""
    position = position_in(cursor, int)
    return int(position[0]) if position is not None else None


def page_of(rows: Sequence[_Row], limit: int, model_of: Callable[[_Row], _T], position_of: Callable[[_Row], tuple[str | int, ...]]) -> Page[_T]:
    """Return a page from at most `limit` + 1 rows: one more row than the page has shows that there is a next page."""
    shown = rows[:limit]
    return Page(items=[model_of(row) for row in shown], next=cursor_of(*position_of(shown[-1])) if len(rows) > limit else None)
