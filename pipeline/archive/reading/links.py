"""The paths of the heartbeat's pages that show an archived page: as it was at a change, before it, and both."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, urlencode


def path_at(spider: str, url: str, at: datetime) -> str:
    """Return the path of the page as it was at a time."""
    return _path(spider, "", url=url, at=_stamp(at))


def path_before(spider: str, url: str, at: datetime, run_id: int) -> str:
    """Return the path of the page as it was before the run in which it changed at a time."""
    return _path(spider, "", url=url, at=_stamp(at), before_run=str(run_id))


def path_of_both(spider: str, url: str, at: datetime, run_id: int) -> str:
    """Return the path of the comparison of the page at a change with the page before that run."""
    return _path(spider, "/compare", url=url, at=_stamp(at), before_run=str(run_id))


def _path(spider: str, view: str, **query: str) -> str:
    return f"/archive/{quote(spider)}{view}?{urlencode(query)}"


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
