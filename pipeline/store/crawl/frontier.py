"""The frontier, and pages committed whole.

`commit_pages` is the one place where what a crawl found becomes true: items compared and stored, changes
written, downloads and links queued, the frontier row done, all in one transaction. Killed before it, the
page is fetched again; after it, never.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, case, func, insert, or_, select, update

from pipeline.model import ChangeKind, DownloadState, FrontierState, Json, Page, Progress, Request, Run
from pipeline.store.crawl.compare import Comparison, Coverage
from pipeline.store.database.bulk import Each, Ready, insert_of, insert_rows, is_one_of, ready
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import (
    changes,
    downloads,
    frontier,
    items,
    pages,
    passes,
    rejects,
    runs,
    storable_key,
)
from pipeline.store.files.download_queue import LONGEST_REST, SET_ASIDE_AFTER
from pipeline.store.runs import leases

COUNTS_IN = "pipeline_counts_in"
"""The meta key, in the store only, of a start: the host that it redirected to."""
_PLAIN = Comparison()
_MOST_SEEN = 50_000
_LONGEST_SEEN = 300
_NOTHING: dict[str, Json] = {}
_EXTRAS = ("encoding", "callback", "errback", "meta", "cb_kwargs", "cookies")


@dataclass(frozen=True)
class Queued:
    """A frontier row on its way to the crawl."""

    id: int
    request: Request


@dataclass
class Committed:
    """What one commit added: to the run's progress and to the frontier. news: keys of the files with the pages on
    which something changed. forgotten: tentative requests that were taken out."""

    progress: Progress = field(default_factory=Progress)
    queued: list[Queued] = field(default_factory=list)
    news: set[str] = field(default_factory=set)
    forgotten: set[int] = field(default_factory=set)


class Seen:
    """Requests known to be in the frontier of a pass, as far as fits in memory: most links of a site are on all its pages.

    Only plain ones, which their URL tells apart.
    """

    def __init__(self) -> None:
        self._urls: set[str] = set()

    def besides(self, requests: Iterable[Request]) -> list[Request]:
        """The requests that may be new."""
        return [request for request in requests if request.url not in self._urls or not _is_plain(request)]

    def add(self, requests: Iterable[Request]) -> None:
        """These are in the frontier."""
        for request in requests:
            if len(self._urls) < _MOST_SEEN and len(request.url) <= _LONGEST_SEEN and _is_plain(request):
                self._urls.add(request.url)


def _is_plain(request: Request) -> bool:
    return request.method == "GET" and not (request.meta or request.body or request.dont_filter)


def fingerprint(request: Request) -> bytes:
    """SHA-1 over method, URL (whatever the order of its query), body, and which start, page number or item it is
    for: the same page is fetched once a pass."""
    meta = request.meta
    part = f"{meta.get('pipeline_start', '')} {meta.get('pipeline_part', '')}" if meta else " "
    parts = (request.method.encode(), _canonical(request.url).encode("utf-8", "surrogatepass"), part.encode(), request.body)
    return hashlib.sha1(b"\n".join(parts), usedforsecurity=False).digest()


def _canonical(url: str) -> str:
    url = url.partition("#")[0]
    head, mark, query = url.partition("?")
    return f"{head}?{'&'.join(sorted(query.split('&')))}" if mark else url


def _extra(request: Request) -> dict[str, Json]:
    """What differs from a plain GET."""
    extra: dict[str, Json] = {name: value for name in _EXTRAS if (value := getattr(request, name))}
    if request.method != "GET":
        extra["method"] = request.method
    if request.headers:
        extra["headers"] = [list(pair) for pair in request.headers]
    if request.body:
        extra["body"] = base64.b64encode(request.body).decode()
    return extra


def _from_row(row: Row[Any]) -> Queued:
    extra = dict(row.request)
    if "headers" in extra:
        extra["headers"] = tuple((name, value) for name, value in extra["headers"])
    if "body" in extra:
        extra["body"] = base64.b64decode(extra["body"])
    return Queued(row.id, Request(url=row.url, priority=-row.priority, depth=row.depth, **extra))


def add_to_frontier(connection: Connection, pass_id: int, requests: Iterable[Request],
                    state: FrontierState = FrontierState.WAITING) -> list[Queued]:
    """Queue what this pass has not seen yet; returns the rows that are new."""
    wanted: dict[bytes, Request] = {}
    for request in requests:
        # A request that asks for no filtering is a page of its own each time.
        wanted.setdefault(os.urandom(20) if request.dont_filter else fingerprint(request), request)
    last = connection.execute(select(func.max(frontier.c.id))).scalar_one() or 0
    insert_rows(connection, frontier, len(wanted), new_only=True, pass_id=pass_id, fingerprint=Each(wanted),
                url=Each(request.url for request in wanted.values()),
                request=Each(map(_extra, wanted.values())),
                priority=Each(-request.priority for request in wanted.values()),
                depth=Each(request.depth for request in wanted.values()), state=state.value)
    # Whoever holds the run is the only one that adds to its pass, and ids only grow.
    added = connection.execute(select(frontier.c.id, frontier.c.fingerprint, frontier.c.pass_id).where(frontier.c.id > last))
    return [Queued(row.id, wanted[row.fingerprint]) for row in added if row.pass_id == pass_id]


def enqueue(store: Store, run: Run, requests: Iterable[Request],
            state: FrontierState = FrontierState.WAITING) -> list[Queued]:
    """Queue requests that belong to no page, such as the starts, or tentative ones. Raises LeaseLostError."""
    with store.write() as connection:
        leases.hold(connection, runs, run.id, owner=run.lease_owner)
        return add_to_frontier(connection, run.pass_id, requests, state)


def forget(store: Store, run: Run, ids: Sequence[int]) -> None:
    """Take tentative requests out of the frontier; they may be queued anew. Raises LeaseLostError.

    Their rows stay until the next run: SQLite would give their ids to others, and some may be under way.
    """
    rows = [{"row": row, "unlike_any": os.urandom(20)} for row in ids]
    with store.write() as connection:
        leases.hold(connection, runs, run.id, owner=run.lease_owner)
        if rows:
            connection.execute(update(frontier).where(
                frontier.c.id == bindparam("row"), frontier.c.state == FrontierState.TENTATIVE.value,
            ).values(state=FrontierState.FORGOTTEN.value, fingerprint=bindparam("unlike_any")), rows)


def waiting(store: Store, pass_id: int, *, limit: int, besides: Sequence[int] = (),
            tentative: bool = False) -> list[Queued]:
    """The next requests of a pass, most urgent first, leaving out the ids that are under way; perhaps tentative ones, too."""
    state = frontier.c.state == FrontierState.WAITING.value
    if tentative:  # apart, since the index then serves one state only
        state = or_(state, frontier.c.state == FrontierState.TENTATIVE.value)
    wanted = select(frontier).where(frontier.c.pass_id == pass_id, state).order_by(frontier.c.priority, frontier.c.id).limit(limit + len(besides))
    away = set(besides)
    with store.read() as connection:
        found = [_from_row(row) for row in connection.execute(wanted) if row.id not in away]
    return found[:limit]


def first_requests(store: Store, pass_id: int, *, limit: int = 1000) -> list[Request]:
    """The requests of depth 0 of a pass, the oldest first: its starts, whatever became of them."""
    wanted = select(frontier).where(frontier.c.pass_id == pass_id, frontier.c.depth == 0).order_by(
        frontier.c.id).limit(limit)
    with store.read() as connection:
        return [_from_row(row).request for row in connection.execute(wanted)]


def counts(store: Store, pass_id: int) -> dict[FrontierState, int]:
    """How many pages of a pass are in each state."""
    with store.read() as connection:
        rows = connection.execute(select(frontier.c.state, func.count()).where(
            frontier.c.pass_id == pass_id).group_by(frontier.c.state))
        return {FrontierState(state): count for state, count in rows}


def reopen(store: Store, run: Run) -> None:
    """What an earlier run of the pass left: its tentative requests go, the pages it missed wait again.

    A pass whose requests could not all be kept begins at its starts again. Raises LeaseLostError.
    """
    own = frontier.c.pass_id == run.pass_id
    with store.write() as connection:
        leases.hold(connection, runs, run.id, owner=run.lease_owner)
        if not connection.execute(select(passes.c.resumable).where(passes.c.id == run.pass_id)).scalar_one():
            connection.execute(frontier.delete().where(own))
        connection.execute(frontier.delete().where(own, frontier.c.state.in_(
            [FrontierState.TENTATIVE.value, FrontierState.FORGOTTEN.value])))
        missed = connection.execute(select(frontier.c.id, frontier.c.request).where(
            own, frontier.c.state == FrontierState.MISSED.value))
        again = [row.id for row in missed if row.request.get("method", "GET") in ("GET", "HEAD")]
        connection.execute(update(frontier).where(is_one_of(connection, frontier.c.id, again)).values(
            state=FrontierState.WAITING.value))


def set_page_aside(store: Store, run: Run, frontier_id: int, why: str, *, at_once: bool) -> str:
    """A page ended the process that had it in hand: leave it out of this pass, at once or when it happens twice.

    Its URL when it is set aside now, else "". Raises LeaseLostError.
    """
    with store.write(durable=True) as connection:
        leases.hold(connection, runs, run.id, owner=run.lease_owner)
        row = connection.execute(select(frontier).where(
            frontier.c.id == frontier_id, frontier.c.pass_id == run.pass_id,
            frontier.c.state.in_([FrontierState.WAITING.value, FrontierState.TENTATIVE.value]))).first()
        if row is None:
            return ""
        aside = at_once or bool(row.error)
        connection.execute(update(frontier).where(frontier.c.id == frontier_id).values(
            error=why[:2000], state=FrontierState.ASIDE.value if aside else row.state))
        return str(row.url) if aside else ""


def progress_so_far(store: Store, run: Run) -> Progress:
    """What a run has committed, for a process that goes on in place of one that was ended before it could say."""
    figures = replace(run.progress)
    with store.read() as connection:
        of_it = connection.execute(select(func.count(), func.coalesce(func.sum(pages.c["items"]), 0)).where(
            pages.c.run_id == run.id)).one()
        kinds: dict[str, int] = dict(connection.execute(select(changes.c.kind, func.count()).where(
            changes.c.run_id == run.id).group_by(changes.c.kind)).tuples().all())
        figures.rejected = connection.execute(select(func.count()).select_from(rejects).where(
            rejects.c.run_id == run.id)).scalar_one()
    figures.pages, figures.items = int(of_it[0]), int(of_it[1])
    figures.new, figures.changed, figures.back = (kinds.get(kind, 0) for kind in (ChangeKind.NEW, ChangeKind.CHANGED, ChangeKind.BACK))
    figures.unchanged = max(0, figures.items - figures.new - figures.changed - figures.back)
    return figures


def first_set_aside(store: Store, pass_id: int) -> str:
    """Which page a pass set aside first, and why; "" for none."""
    with store.read() as connection:
        row = connection.execute(select(frontier.c.url, frontier.c.error).where(
            frontier.c.pass_id == pass_id, frontier.c.state == FrontierState.ASIDE.value).order_by(frontier.c.id).limit(1)).first()
        return f"{row.url} {row.error}" if row is not None else ""


def not_resumable(store: Store, run: Run) -> None:
    """The pass holds requests in memory only: its next run starts over."""
    with store.write() as connection:
        leases.hold(connection, runs, run.id, owner=run.lease_owner)
        connection.execute(update(passes).where(passes.c.id == run.pass_id).values(resumable=False))


def commit_pages(store: Store, run: Run, batch: Sequence[Page], *, now: datetime,
                 comparison: Comparison = _PLAIN, seen: Seen | None = None, settled: Sequence[int] = ()) -> Committed:
    """Commit pages whole, all in one transaction. Raises LeaseLostError, StoreError, DiskFullError.

    seen: links that need not be looked for, if it is kept from one call to the next. settled: tentative requests that
    these pages gave.
    """
    done = Committed()
    seen = seen or Seen()
    links = seen.besides(link for page in batch for link in page.links)
    with store.write() as connection:
        leases.hold(connection, runs, run.id, owner=run.lease_owner)
        done.news = _store_items(connection, run, batch, done.progress, now=now, comparison=comparison)
        _keep_rejects(connection, run, batch, done.progress, now=now)
        if links:
            done.queued = add_to_frontier(connection, run.pass_id, links)
        _queue_downloads(connection, run, batch, now)
        if settled:
            connection.execute(update(frontier).where(
                is_one_of(connection, frontier.c.id, settled), frontier.c.state == FrontierState.TENTATIVE.value,
            ).values(state=FrontierState.WAITING.value))
        _finish_pages(connection, run, batch, done.progress)
    seen.add(links)
    return done


def _finish_pages(connection: Connection, run: Run, batch: Sequence[Page], progress: Progress) -> None:
    fetched = [page for page in batch if page.url]  # items of start() and errbacks come on a page of no URL
    insert_rows(connection, pages, len(fetched), pass_id=run.pass_id, run_id=run.id,
                url=Each(page.url for page in fetched), status=Each(page.status for page in fetched),
                fetched_at=Each(page.fetched_at for page in fetched),
                size_bytes=Each(page.size_bytes for page in fetched), items=Each(len(page.items) for page in fetched))
    ends = [{"row": page.frontier_id, "end_status": page.status, "end_error": page.error,
             "end_state": page.end_state.value}
            for page in batch if page.frontier_id is not None]
    if ends:
        connection.execute(
            update(frontier).where(frontier.c.id == bindparam("row")).values(
                state=bindparam("end_state"), status=bindparam("end_status"), error=bindparam("end_error")), ends)
    for page in batch:
        if page.counts_in and page.frontier_id is not None:  # for the next run of the pass
            own = frontier.c.id == page.frontier_id
            request = dict(connection.execute(select(frontier.c.request).where(own)).scalar_one())
            request["meta"] = {**request.get("meta", {}), COUNTS_IN: page.counts_in}
            connection.execute(update(frontier).where(own).values(request=request))
    progress.pages += len(fetched)
    progress.pages_failed += sum(1 for page in batch if page.error)


class _Told(NamedTuple):
    """A change to be written."""

    key: str
    kind: ChangeKind
    before: dict[str, Json]
    after: dict[str, Json]


@dataclass
class _Compared:
    """What to write, sorted by what became of each item."""

    altered: list[dict[str, Any]] = field(default_factory=list)
    quiet: list[dict[str, Any]] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    changes: list[_Told] = field(default_factory=list)
    duplicates: int = 0
    seen: list[dict[str, Json]] = field(default_factory=list)


def _store_items(connection: Connection, run: Run, batch: Sequence[Page], progress: Progress, *, now: datetime,
                 comparison: Comparison) -> set[str]:
    """Compare with what is stored, and write what differs. Of items with one key in one pass the first counts.

    Keys of the files with the pages that brought news.
    """
    found: dict[str, dict[str, Json]] = {}
    files: dict[str, str] = {}
    for page in batch:
        for item in page.items:
            if found.setdefault(storable_key(item.key), item.data) is not item.data:
                progress.duplicates += 1
            elif page.file_key:
                files[storable_key(item.key)] = page.file_key
    if not found:
        return set()
    compared = _compare(run, found, _known_items(connection, run.spider, found), now, comparison)
    _write_items(connection, run, compared, now)
    _write_changes(connection, run, compared.changes, files, now)
    _add_coverage(connection, run, compared.seen)
    progress.duplicates += compared.duplicates
    progress.unchanged += len(compared.unchanged) + len(compared.quiet)
    progress.items += len(compared.seen)
    for kind, count in Counter(change.kind for change in compared.changes).items():
        setattr(progress, kind.value, getattr(progress, kind.value) + count)
    return {files[change.key] for change in compared.changes if change.key in files}


def _known_items(connection: Connection, spider: str, keys: Iterable[str]) -> dict[str, Any]:
    wanted = select(items.c.id, items.c.key, items.c.data, items.c.reported, items.c.present, items.c.pass_id)
    found = connection.execute(wanted.where(items.c.spider == spider, is_one_of(connection, items.c.key, list(keys))))
    return {row.key: row for row in found.all()}


def _compare(run: Run, found: dict[str, dict[str, Json]], known: dict[str, Any], now: datetime,
             comparison: Comparison) -> _Compared:
    compared = _Compared()
    for key, data in found.items():
        row = known.get(key)
        before = _NOTHING
        if row is not None and row.pass_id == run.pass_id:
            compared.duplicates += 1
            continue
        compared.seen.append(data)
        if row is None:
            kind = ChangeKind.NEW
        else:
            reported = row.data if row.reported is None else row.reported
            if row.present and comparison.same(reported, data):
                if row.data == data:
                    compared.unchanged.append(row.id)
                else:
                    compared.quiet.append({"row": row.id, "new_data": data, "kept": None if reported == data else reported})
                continue
            kind = ChangeKind.CHANGED if row.present else ChangeKind.BACK
            before = comparison.before(reported, data)
            compared.altered.append({"row": row.id, "new_data": data})
        compared.changes.append(_Told(key, kind, before, data))
    return compared


def _write_items(connection: Connection, run: Run, compared: _Compared, now: datetime) -> None:
    if compared.altered:
        connection.execute(update(items).where(items.c.id == bindparam("row")).values(
            data=bindparam("new_data", type_=items.c.data.type), reported=None, present=True, changed_at=now,
            pass_id=run.pass_id), compared.altered)
    if compared.quiet:
        connection.execute(update(items).where(items.c.id == bindparam("row")).values(
            data=bindparam("new_data", type_=items.c.data.type), pass_id=run.pass_id,
            reported=bindparam("kept", type_=items.c.reported.type)), compared.quiet)
    if compared.unchanged:
        connection.execute(update(items).where(is_one_of(connection, items.c.id, compared.unchanged)).values(pass_id=run.pass_id))


def _write_changes(connection: Connection, run: Run, told: Sequence[_Told], files: Mapping[str, str], now: datetime) -> None:
    """The changes, and the items that are new. files: keys of the pages they were found on, by item."""
    after = ready(connection, changes.c.after, (change.after for change in told))
    insert_rows(connection, changes, len(told), run_id=run.id, spider=run.spider, at=now,
                key=Each(change.key for change in told), kind=Each(change.kind.value for change in told),
                before=Each(change.before for change in told) if any(change.before for change in told) else _NOTHING, after=after,
                page_key=Each(files.get(change.key, "") for change in told) if files else "")
    new = [(change.key, data) for change, data in zip(told, after, strict=True) if change.kind is ChangeKind.NEW]
    insert_rows(connection, items, len(new), spider=run.spider, key=Each(key for key, _ in new),
                data=Ready(data for _, data in new), present=True, first_seen_at=now, changed_at=now, pass_id=run.pass_id)


def _add_coverage(connection: Connection, run: Run, seen: list[dict[str, Json]]) -> None:
    row = passes.c.id == run.pass_id
    coverage = Coverage.of_row(connection.execute(select(passes.c.coverage).where(row)).scalar_one())
    coverage.add(seen)
    connection.execute(update(passes).where(row).values(coverage=coverage.as_row()))


def _keep_rejects(connection: Connection, run: Run, batch: Sequence[Page], progress: Progress, *,
                  now: datetime) -> None:
    rows = [{"run_id": run.id, "spider": run.spider, "key": storable_key(reject.key), "url": page.url, "reason": reject.reason,
             "data": reject.data, "at": now} for page in batch for reject in page.rejects]
    if rows:
        connection.execute(insert(rejects), rows)
        progress.rejected += len(rows)


def _queue_downloads(connection: Connection, run: Run, batch: Sequence[Page], now: datetime) -> None:
    """Each URL once a spider; a later pass asks again, and the download finds out whether it changed.

    One that is set aside is no longer asked for until its time has come.
    """
    wanted = {download.url: download for page in batch for download in page.downloads}
    if not wanted:
        return
    statement = insert_of(connection)(downloads)
    aside = and_(downloads.c.failed_passes >= SET_ASIDE_AFTER, downloads.c.not_before > now,
                 downloads.c.not_before <= now + LONGEST_REST)  # beyond it the clock was set back
    statement = statement.on_conflict_do_update(
        index_elements=["spider", "url_sha1"],
        where=downloads.c.pass_id < run.pass_id,
        set_={name: statement.excluded[name] for name in (
            "pass_id", "item_key", "name", "referer", "headers", "sha256_wanted", "requested_at")}
        | {"state": case((aside, DownloadState.FAILED.value), else_=statement.excluded.state),
           "not_before": case((aside, downloads.c.not_before)),
           "error": case((aside, downloads.c.error), else_=""), "attempt": 0})
    connection.execute(statement, [
        {"spider": run.spider, "url": d.url, "pass_id": run.pass_id, "item_key": d.item_key, "name": d.name,
         "referer": d.referer, "headers": [list(pair) for pair in d.headers], "sha256_wanted": d.sha256,
         "state": DownloadState.WAITING.value, "requested_at": now}
        for d in wanted.values()])
