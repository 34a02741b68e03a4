"""The paths of the heartbeat's pages that show an archived page: at a change, before it, and both."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, urlencode


def path_of(spider: str, view: str = "", **query: object) -> str:
    """Return the path of a page about the archive of a spider. A datetime of the query becomes a text; a value that is empty is left out."""
    values = {name: _stamp(value) if isinstance(value, datetime) else value for name, value in query.items() if value}
    return f"/archive/{quote(spider)}{f'/{view}' if view else ''}" + (f"?{urlencode(values)}" if values else "")


def path_at(spider: str, url: str, at: datetime) -> str:
    """Return the path of the page as it was at a time."""
    return path_of(spider, url=url, at=at)


def path_before(spider: str, url: str, at: datetime, run_id: int) -> str:
    """Return the path of the page as it was before the run in which it changed at a time."""
    return path_of(spider, url=url, at=at, before_run=run_id)


def path_of_both(spider: str, url: str, at: datetime, run_id: int) -> str:
    """Return the path of the comparison of the page at a change with the page before that run."""
    return path_of(spider, "compare", url=url, at=at, before_run=run_id)


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")  # without fractions, it would mean the end of the second
