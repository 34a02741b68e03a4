"""Commit crawled pages in one transaction: items and their changes, rejected items, links, downloads.

If a process is killed before it commits a page, the page is fetched again; a committed page is not fetched again.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, case, func, insert, select, update

from pipeline.model import (
    ChangeKind,
    DownloadState,
    FrontierState,
    Json,
    Page,
    PageOutcome,
    Progress,
    Reject,
    Request,
    Run,
)
from pipeline.store.crawl import members
from pipeline.store.crawl.compare import Comparison, Coverage
from pipeline.store.crawl.frontier import REDIRECTED_HOST, Queued, add_to_frontier
from pipeline.store.crawl.members import Member
from pipeline.store.database.bulk import Each, Ready, insert_of, insert_rows, is_one_of, ready
from pipeline.store.database.column_types import storable_key
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
)
from pipeline.store.files.download_queue import LONGEST_REST, SET_ASIDE_AFTER
from pipeline.store.runs import leases

_PLAIN = Comparison()
_MOST_SEEN = 50_000
_LONGEST_SEEN = 300
_NOTHING: dict[str, Json] = {}
_COVERAGE = select(passes.c.coverage).where(passes.c.id == bindparam("row"))
_SET_COVERAGE = update(passes).where(passes.c.id == bindparam("row")).values(coverage=bindparam("new", type_=passes.c.coverage.type))


@dataclass
class Committed:
    """The result of a commit.

    progress: the numbers to add to the counters of the run.
    queued: the requests that were added to the frontier.
    news: the file keys of the saved pages on which a change was found.
    forgotten: the ids of tentative requests (found on pages that were not committed) that were removed from the frontier.
    changed: the numbers of the pages, in the batch, on which a change was found.
    """

    progress: Progress = field(default_factory=Progress)
    queued: list[Queued] = field(default_factory=list)
    news: set[str] = field(default_factory=set)
    forgotten: set[int] = field(default_factory=set)
    changed: frozenset[int] = frozenset()


class SeenRequests:
    """A cache of limited size for requests that are already in the frontier of a pass.

    Most links of a site appear on all pages of the site, so the cache saves many queries. The cache holds only plain GET requests,
    because the URL alone identifies such a request.
    """

    def __init__(self) -> None:
        self._urls: set[str] = set()

    def unseen(self, requests: Iterable[Request]) -> list[Request]:
        """Return the requests that are not known to be in the frontier."""
        return [request for request in requests if request.url not in self._urls or not _is_plain(request)]

    def add(self, requests: Iterable[Request]) -> None:
        """Remember that these requests are in the frontier."""
        for request in requests:
            if len(self._urls) < _MOST_SEEN and len(request.url) <= _LONGEST_SEEN and _is_plain(request):
                self._urls.add(request.url)


def _is_plain(request: Request) -> bool:
    return request.method == "GET" and not (request.meta or request.body or request.dont_filter)


@dataclass(frozen=True)
class MemberCommit:
    """What a member of a run, one of several processes that commit pages, stores with its pages.

    report: its report without its progress (see pipeline.store.crawl.members). cookies: the cookies that responses to it have set;
    None if there are no new ones.
    """

    member: Member
    report: Mapping[str, Json]
    cookies: bytes | None = None


def commit_pages(store: Store, run: Run, batch: Sequence[Page], *, now: datetime, comparison: Comparison = _PLAIN,
                 seen: SeenRequests | None = None, settled: Sequence[int] = (), by: MemberCommit | None = None,
                 archived: Progress | None = None, archived_as: Callable[[str], str] = str) -> Committed:
    """Commit the pages in one transaction. Raises LeaseLostError, StoreError, DiskFullError.

    comparison: how items are compared with their stored versions.
    seen: a cache of requests that are already in the frontier; pass the same object to each call for one pass.
    settled: the ids of tentative requests that were found on these pages; the commit turns them into waiting requests.
    by: the member that commits the pages; None if only the process that holds the run's lease commits pages.
    archived: counters to add to those of this commit.
    archived_as: returns the URL under which the archive has a page that it has under another one, because something in the URL is redacted.
    """
    done = Committed(progress=replace(archived or Progress()))
    seen = seen or SeenRequests()
    links = seen.unseen(link for page in batch for link in page.links)
    with store.write(spider=run.spider) as connection:
        leases.verify(connection, runs, run.id, owner=run.lease_owner)  # a member knows the lease of its run
        seen_items, done.news, changed_on = _store_items(connection, run, batch, done.progress, now=now, comparison=comparison, archived_as=archived_as)
        _add_coverage(connection, run, batch, [comparison.without_pictures(data) for data in seen_items] if comparison.pictures else seen_items)
        _keep_rejects(connection, run, batch, done.progress, now=now)
        if links:
            done.queued = add_to_frontier(connection, run.pass_id, links)
        _queue_downloads(connection, run, batch, now)
        if settled:
            connection.execute(update(frontier).where(
                is_one_of(connection, frontier.c.id, settled), frontier.c.state == FrontierState.TENTATIVE.value,
            ).values(state=FrontierState.WAITING.value))
        _finish_pages(connection, run, batch, done.progress, changed_on)
        done.changed = frozenset(changed_on)
        if by is not None:
            done.progress.waiting = len(done.queued) - sum(page.frontier_id is not None for page in batch)
            members.record(connection, by.member, by.report, committed=done.progress, cookies=by.cookies)
            done.progress.waiting = 0
    seen.add(links)
    return done


def _finish_pages(connection: Connection, run: Run, batch: Sequence[Page], progress: Progress, changed_on: Mapping[int, int]) -> None:
    """Record the pages as done. changed_on: how many items are new or changed on a page, by its number in the batch."""
    rows = [(page, changed_on.get(number, 0)) for number, page in enumerate(batch) if page.url]  # items of start() and errbacks have no URL
    fetched = [page for page, _ in rows]
    insert_rows(connection, pages, len(fetched), pass_id=run.pass_id, run_id=run.id,
                url=Each(page.url for page in fetched), status=Each(page.status for page in fetched),
                fetched_at=Each(page.fetched_at for page in fetched),
                size_bytes=Each(page.size_bytes for page in fetched), items=Each(len(page.items) for page in fetched),
                outcome=Each(_outcome(page) for page in fetched), changes=Each(count for _, count in rows),
                error=Each(page.error for page in fetched),
                duration_ms=Each(None if page.duration_s is None else round(page.duration_s * 1000) for page in fetched))
    ends = [{"row": page.frontier_id, "end_status": page.status, "end_error": page.error,
             "end_state": page.end_state.value}
            for page in batch if page.frontier_id is not None]
    if ends:
        connection.execute(
            update(frontier).where(frontier.c.id == bindparam("row")).values(
                state=bindparam("end_state"), status=bindparam("end_status"), error=bindparam("end_error"), member_id=None), ends)
    for page in batch:
        if page.redirected_host and page.frontier_id is not None:  # stored for the next run of the pass
            own = frontier.c.id == page.frontier_id
            request = dict(connection.execute(select(frontier.c.request).where(own)).scalar_one())
            request["meta"] = {**request.get("meta", {}), REDIRECTED_HOST: page.redirected_host}
            connection.execute(update(frontier).where(own).values(request=request))
    progress.pages += len(fetched)
    progress.pages_failed += sum(1 for page in batch if page.error)


def _outcome(page: Page) -> str:
    failed = page.error and page.outcome is not PageOutcome.FORBIDDEN
    return PageOutcome.FAILED.value if failed else page.outcome.value


class _NewChange(NamedTuple):
    """A change that is to be written to the database."""

    key: str
    kind: ChangeKind
    before: dict[str, Json]
    after: dict[str, Json]


@dataclass
class _Compared:
    """The items of a commit, sorted by the result of their comparison with the stored items.

    altered: stored items with a change to report. quiet: stored items with a difference that is too small to report.
    unchanged: ids of stored items without any difference. changes: the changes to report. duplicates: the number of items that
    the pass had already seen. seen: the fields of the other items.
    """

    altered: list[dict[str, Any]] = field(default_factory=list)
    quiet: list[dict[str, Any]] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    changes: list[_NewChange] = field(default_factory=list)
    duplicates: int = 0
    seen: list[dict[str, Json]] = field(default_factory=list)


def _store_items(connection: Connection, run: Run, batch: Sequence[Page], progress: Progress, *, now: datetime,
                 comparison: Comparison, archived_as: Callable[[str], str]) -> tuple[list[dict[str, Json]], set[str], Counter[int]]:
    """Compare the items of the pages with the stored items, and write the differences.

    If several items in one pass have the same key, only the first of them counts. Returns the fields of the items that the pass had
    not seen before, the file keys of the saved pages on which a change was found, and the number of changes on each page of the batch.
    """
    found: dict[str, dict[str, Json]] = {}
    files: dict[str, str] = {}
    archived: dict[str, str] = {}
    begins: list[int] = []  # how many items were found before each page
    for page in batch:
        begins.append(len(found))
        for item in page.items:
            if found.setdefault(storable_key(item.key), item.data) is not item.data:
                progress.duplicates += 1
                continue
            if page.file_key:
                files[storable_key(item.key)] = page.file_key
            if page.exchanges:
                archived[storable_key(item.key)] = archived_as(page.exchanges[-1].url)
    if not found:
        return [], set(), Counter()
    compared = _compare(run, found, _known_items(connection, run.spider, found), now, comparison)
    _write_items(connection, run, compared, now)
    _write_changes(connection, run, compared.changes, now, files=files, archived=archived)
    progress.duplicates += compared.duplicates
    progress.unchanged += len(compared.unchanged) + len(compared.quiet)
    progress.items += len(compared.seen)
    for kind, count in Counter(change.kind for change in compared.changes).items():
        setattr(progress, kind.value, getattr(progress, kind.value) + count)
    changed = {change.key for change in compared.changes}
    changed_on = Counter(bisect_right(begins, place) - 1 for place, key in enumerate(found) if key in changed)
    return compared.seen, {files[key] for key in changed if key in files}, changed_on


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
                    kept = comparison.kept(reported, data)
                    compared.quiet.append({"row": row.id, "new_data": data, "kept": None if kept == data else kept})
                continue
            kind = ChangeKind.CHANGED if row.present else ChangeKind.BACK
            before = comparison.before(reported, data)
            compared.altered.append({"row": row.id, "new_data": data})
        compared.changes.append(_NewChange(key, kind, before, data))
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


def _write_changes(connection: Connection, run: Run, new_changes: Sequence[_NewChange], now: datetime, *, files: Mapping[str, str],
                   archived: Mapping[str, str]) -> None:
    """Write the changes, and insert the new items.

    files: maps the key of an item to the file key of the saved page on which the item was found. archived: to the URL of its archived page.
    """
    after = ready(connection, changes.c.after, (change.after for change in new_changes))
    insert_rows(connection, changes, len(new_changes), run_id=run.id, spider=run.spider, at=now,
                key=Each(change.key for change in new_changes), kind=Each(change.kind.value for change in new_changes),
                before=Each(change.before for change in new_changes) if any(change.before for change in new_changes) else _NOTHING, after=after,
                page_key=Each(files.get(change.key, "") for change in new_changes) if files else "",
                page_url=Each(archived.get(change.key, "") for change in new_changes) if archived else "")
    new = [(change.key, data) for change, data in zip(new_changes, after, strict=True) if change.kind is ChangeKind.NEW]
    insert_rows(connection, items, len(new), spider=run.spider, key=Each(key for key, _ in new),
                data=Ready(data for _, data in new), present=True, first_seen_at=now, changed_at=now, pass_id=run.pass_id)


def _add_coverage(connection: Connection, run: Run, batch: Sequence[Page], seen: list[dict[str, Json]]) -> None:
    if not seen and not any(page.counts or page.obstacle for page in batch):
        return
    coverage = Coverage.of_row(connection.execute(_COVERAGE, {"row": run.pass_id}).scalar_one())
    coverage.add(seen)
    coverage.add_pages(batch)
    connection.execute(_SET_COVERAGE, {"row": run.pass_id, "new": coverage.as_row()})


def _keep_rejects(connection: Connection, run: Run, batch: Sequence[Page], progress: Progress, *,
                  now: datetime) -> None:
    """Store the rejected items that the pass has not rejected before: an item may be on several pages, or in several runs."""
    found: dict[str, dict[str, Any]] = {}
    for page in batch:
        for reject in page.rejects:
            key = storable_key(reject.key) or _key_of_reject(reject, page)
            found.setdefault(key, {"run_id": run.id, "spider": run.spider, "key": key, "url": page.url, "reason": reject.reason,
                                   "data": reject.data, "at": now})
    if not found:
        return
    of_pass = select(runs.c.id).where(runs.c.pass_id == run.pass_id)
    known = set(connection.execute(select(rejects.c.key).where(
        rejects.c.run_id.in_(of_pass), is_one_of(connection, rejects.c.key, list(found)))).scalars())
    rows = [row for key, row in found.items() if key not in known]
    if rows:
        connection.execute(insert(rejects), rows)
        progress.rejected += len(rows)


def _key_of_reject(reject: Reject, page: Page) -> str:
    """Return a text that identifies a rejected item without a key: by its fields or, if it has none, by its page and the reason."""
    said = json.dumps(reject.data or [page.url, reject.reason], sort_keys=True)
    return f"(no key) {hashlib.sha256(said.encode('utf-8', 'replace')).hexdigest()[:32]}"


def _queue_downloads(connection: Connection, run: Run, batch: Sequence[Page], now: datetime) -> None:
    """Queue the downloads that the pages requested, at most once for each URL in a pass of a spider.

    A later pass queues the URL again, and the download then checks whether the file has changed. If the download of a URL failed in
    several passes in a row, passes skip the URL for a while: its row keeps the failure and the time until which it is skipped.
    """
    wanted = {download.url: download for page in batch for download in page.downloads}
    if not wanted:
        return
    statement = insert_of(connection)(downloads)
    aside = and_(downloads.c.failed_passes >= SET_ASIDE_AFTER, downloads.c.not_before > now,
                 downloads.c.not_before <= now + LONGEST_REST)  # a later time means that the clock was set back
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


def progress_so_far(store: Store, run: Run) -> Progress:
    """Return the progress that a run has committed, counted from the run's rows in the database.

    After the process of a run was killed, a new process continues the run from these numbers, because the killed process may not
    have reported its latest progress.
    """
    figures = replace(run.progress)
    with store.read() as connection:
        of_it = connection.execute(select(func.count(), func.coalesce(func.sum(pages.c["items"]), 0)).where(
            pages.c.run_id == run.id)).one()
        kinds: dict[str, int] = {row[0]: row[1] for row in connection.execute(select(changes.c.kind, func.count()).where(
            changes.c.run_id == run.id).group_by(changes.c.kind))}
        figures.rejected = connection.execute(select(func.count()).select_from(rejects).where(
            rejects.c.run_id == run.id)).scalar_one()
    figures.pages, figures.items = int(of_it[0]), int(of_it[1])
    figures.new, figures.changed, figures.back = (kinds.get(kind, 0) for kind in (ChangeKind.NEW, ChangeKind.CHANGED, ChangeKind.BACK))
    figures.unchanged = max(0, figures.items - figures.new - figures.changed - figures.back)
    return figures
