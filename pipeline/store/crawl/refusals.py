"""Find pages of a pass that the site refused or sent empty: their items must not be reported as gone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, Connection, and_, select

from pipeline.hosts import place_of
from pipeline.model import Run
from pipeline.store.database.bulk import is_one_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import pages, passes

NO_REFUSALS = (404, 408, 410, 425, 429)
"""Client errors (4xx) that do not count as refusals: the page does not exist, or the error is temporary."""
_LOOKED_BACK = 20
"""The maximum number of earlier passes to search."""
_AT_ONCE = 5000
# The parts of a URL that identify a session: "PHPSESSID=…", ";jsessionid=…", "/(S(…))/", and long random words that
# do not identify a record.
_OF_SESSION = re.compile(r".*sess(?:ion)?(?:[-_]?(?:id|key|token|hash)\w*)?|(?:osc|xtc|mod)?sid|zenid|cfid|cftoken|.*token|ticket|nonce|csrf.*|_",
                         re.IGNORECASE)
_OF_RECORD = re.compile(r".*(?:id|key|sku|slug|name)|q|query|search", re.IGNORECASE)
_RANDOM = re.compile(r"(?=\D*\d)(?=[^a-z]*[a-z])[\w-]{16,}", re.IGNORECASE)
_COOKIELESS = re.compile(r"/\([A-Z]\([^)/]*\)\)")

_REFUSED = and_(pages.c.status.between(400, 499), pages.c.status.not_in(NO_REFUSALS))
_EMPTY = and_(pages.c.status < 400, pages.c.size_bytes == 0)


def refused(store: Store, run: Run) -> tuple[dict[tuple[int, str], int], bool]:
    """Return how many pages of the pass were refused, and whether items may be missing as a result.

    The first result maps each pair of status and host to the number of refused pages.
    A page was refused if the site responded with a client error such as 401 or 403, or with the 405 or 418 of a firewall, but not if
    the error is one of NO_REFUSALS. Items may be missing if an earlier pass fetched one of the refused pages, or probably did.
    """
    with store.read() as connection:
        found = connection.execute(select(pages.c.url, pages.c.status).where(
            pages.c.pass_id == run.pass_id, _REFUSED).distinct()).all()
        lost = _given_before(connection, run, {row.url for row in found}, pages.c.status < 400, known=_REFUSED)
    return Counter((row.status, place_of(row.url)) for row in found), bool(lost)


def newly_empty(store: Store, run: Run) -> list[str]:
    """Return the URLs of pages of this pass that were empty, but probably had items in an earlier pass.

    A server may send an empty page when, for example, a script of the site fails.
    """
    with store.read() as connection:
        found = connection.execute(select(pages.c.url).where(pages.c.pass_id == run.pass_id, _EMPTY).distinct()).scalars()
        return sorted(_given_before(connection, run, set(found), pages.c["items"] > 0, known=_EMPTY))


def _given_before(connection: Connection, run: Run, urls: set[str], given: ColumnElement[bool], *,
                  known: ColumnElement[bool]) -> set[str]:
    """Return the subset of `urls` that an earlier pass probably fetched successfully.

    A URL is returned if an earlier pass fetched it, perhaps with another session id. A URL at which no earlier pass failed in the
    same way is also returned if an earlier pass fetched a page with the same path and another query.

    urls: the URLs at which this pass failed. given: SQL for successfully fetched pages. known: SQL for pages that failed in the same
    way as the pages at `urls`.
    """
    if not urls:
        return set()
    earlier = and_(passes.c.spider == run.spider, passes.c.id < run.pass_id)
    lost = set(connection.execute(select(pages.c.url).join(passes).where(
        earlier, given, is_one_of(connection, pages.c.url, list(urls)))).scalars())
    known_urls = set(connection.execute(select(pages.c.url).join(passes).where(
        earlier, known, is_one_of(connection, pages.c.url, list(urls)))).scalars())
    open_ = urls - lost
    paths = {_path(url) for url in open_}
    here = {url for url in _urls(connection, [run.pass_id], pages.c.status.is_not(None)) if url not in urls and _path(url) in paths}
    before = {url for url in _urls(connection, _looked_back(connection, earlier), given) if url not in here and _path(url) in paths}
    sessions, places = {_without_session(url) for url in before}, {_path(url) for url in before}
    return lost | {url for url in open_ if _without_session(url) in sessions or (url not in known_urls and _path(url) in places)}


def _looked_back(connection: Connection, earlier: ColumnElement[bool]) -> list[int]:
    """Return the ids of the last complete pass and of all later passes.

    Together, these passes saw every item that is still on the site.
    earlier: SQL for the passes to search.
    """
    found: list[int] = []
    for row in connection.execute(select(passes.c.id, passes.c.complete).where(earlier).order_by(passes.c.id.desc()).limit(_LOOKED_BACK)):
        found.append(row.id)
        if row.complete:
            break
    return found


def _urls(connection: Connection, pass_ids: Collection[int], which: ColumnElement[bool]) -> Iterator[str]:
    wanted = select(pages.c.url).where(pages.c.pass_id.in_(pass_ids), which)
    return iter(connection.execute(wanted, execution_options={"yield_per": _AT_ONCE}).scalars())


def _path(url: str) -> str:
    """Return the host and the path of a URL, without session ids."""
    path = _COOKIELESS.sub("", urlsplit(url).path)
    return place_of(url) + "/".join(segment.partition(";")[0] for segment in path.split("/"))


def _without_session(url: str) -> str:
    query = [pair.partition("=") for pair in urlsplit(url).query.split("&")]
    kept = ["".join(pair) for pair in query if not _OF_SESSION.fullmatch(pair[0]) and not (
        _RANDOM.fullmatch(pair[2]) and not _OF_RECORD.fullmatch(pair[0]))]
    return f"{_path(url)}?{'&'.join(sorted(kept))}"
