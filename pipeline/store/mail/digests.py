"""Digests: each digest claims the runs that it will report, so that it reports each run exactly once.

A claim survives a crash: the next process continues with the same runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, case, distinct, exists, func, insert, select, update

from pipeline.model import (
    Again,
    Change,
    ChangeKind,
    DigestClaim,
    DownloadState,
    DraftMessage,
    MessageState,
    Outcome,
    Rebuild,
    Run,
    StoredFile,
)
from pipeline.store.crawl.items import change_of
from pipeline.store.database.bulk import paged
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import (
    changes,
    digest_runs,
    digests,
    download_files,
    downloads,
    messages,
    rejects,
    runs,
)
from pipeline.store.mail.outbox import insert_messages, rebuild_of
from pipeline.store.runs import jobs, leases
from pipeline.store.runs.slots import run_of

CLAIM_TTL = timedelta(minutes=1)
"""The duration of the lease of a claim. After a node has died, its digests wait this long at most until another node renders them."""
_WELL = (Outcome.SUCCEEDED.value, Outcome.STOPPED.value)
_NUMBER = re.compile(r"\d+")
AGAIN = "again "
"""The beginning of the slot key of a digest that is sent again because a person asked for it."""
FIRST_PAUSE = timedelta(seconds=15)
"""The pause after the first failure to render the digest of a claim. The pause doubles with each further failure."""


def claim(store: Store, name: str, spiders: Sequence[str], slot_key: str, *, owner: str | None, now: datetime,
          scheduled: bool = False, even_empty: bool = False, repeats: bool = True,
          ttl: timedelta = CLAIM_TTL) -> DigestClaim | None:
    """Claim all ended runs of the spiders that this digest has not reported yet, and return the claim.

    Returns None if there is nothing to report. If the digest has an unfinished claim whose lease is free or belongs to `owner`,
    that claim is returned instead, with the same id and runs. A postponed claim is not returned until its pause is over; runs
    that ended in the meantime get another claim.

    owner: the owner of the claim's lease. None means that any process will build the digest: the new claim has no lease, but a job, and
    unfinished claims are left to their jobs.
    slot_key: the text that identifies the slot, or the reason for the digest if it has no schedule.
    scheduled: whether `slot_key` identifies a slot. A slot is claimed only once, even if there is nothing to report.
    even_empty: whether to create a claim even if there are no runs to report, for a mail that says so.
    repeats: if False, do not claim runs that only repeat failures that the digest has already reported. These runs are reported
    together with the next news.
    """
    with store.write(durable=True) as connection:
        if owner is not None:
            unfinished = leases.take(connection, digests, (digests.c.name == name) & digests.c.closed_at.is_(None),
                                     owner=owner, now=now, ttl=ttl, order_by=[digests.c.id], own_too=True)
            if unfinished:
                return _stored_claim(connection, unfinished[0])
        if scheduled and connection.execute(select(digests.c.id).where(
                digests.c.name == name, digests.c.slot_key == slot_key).limit(1)).first() is not None:
            return None  # this slot was already claimed, perhaps by another service
        run_ids = connection.execute(_untold(name, spiders)).scalars().all()
        if not repeats and run_ids and _only_repeats(connection, name, run_ids):
            return None
        if not run_ids and not even_empty:
            if scheduled:
                connection.execute(insert(digests).values(
                    name=name, slot_key=slot_key, created_at=now, closed_at=now))
            return None
        lease = {"lease_owner": owner, "lease_until": now + ttl, "attempt": 1} if owner is not None else {}
        row = connection.execute(insert(digests).values(name=name, slot_key=slot_key, created_at=now, **lease).returning(digests)).one()
        if run_ids:
            connection.execute(insert(digest_runs), [
                {"name": name, "run_id": run_id, "digest_id": row.id} for run_id in run_ids])
        if owner is None:
            jobs.defer_digest(connection, row.id, name)
        return _claim(row, run_ids)


def take_oldest(store: Store, digest_id: int, *, owner: str, now: datetime, ttl: timedelta = CLAIM_TTL) -> DigestClaim | None:
    """Lease the oldest unfinished claim with the same digest as this claim, and return it.

    Returns None if there is none, or if it is leased: who builds it then builds the newer claims, too. This may be another job of this
    process. Claims that are postponed are passed over.
    """
    with store.write(durable=True) as connection:
        name = select(digests.c.name).where(digests.c.id == digest_id).scalar_subquery()
        postponed = (digests.c.lease_owner == "") & ~leases.free(digests, leases.shared_time(connection, now))
        oldest = connection.execute(select(digests.c.id).where(
            digests.c.name == name, digests.c.closed_at.is_(None), ~postponed).order_by(digests.c.id).limit(1)).scalar()
        if oldest is None or not leases.take(connection, digests, digests.c.id == oldest, owner=owner, now=now, ttl=ttl):
            return None
        return _stored_claim(connection, oldest)


@dataclass(frozen=True)
class WaitingClaim:
    """An unfinished claim that no process builds. at: when it is to be built; None means now."""

    id: int
    name: str
    at: datetime | None


def waiting_claims(store: Store, *, now: datetime) -> list[WaitingClaim]:
    """Return the unfinished claims that no process builds, the oldest first. now: the result of leases.shared_time()."""
    wanted = select(digests.c.id, digests.c.name, digests.c.lease_until).where(
        digests.c.closed_at.is_(None), leases.free(digests, now) | (digests.c.lease_owner == "")).order_by(digests.c.id)
    with store.read() as connection:
        return [WaitingClaim(row.id, row.name, row.lease_until if row.lease_until is not None and row.lease_until > now else None)
                for row in connection.execute(wanted)]


def claim_rebuild(store: Store, *, owner: str, now: datetime, ttl: timedelta = CLAIM_TTL) -> DigestClaim | None:
    """Claim a digest that is to be built again because a mail server refused one of its messages; None if there is none."""
    with store.write(durable=True) as connection:
        found = leases.take(connection, digests, digests.c.rebuild.is_not(None) & digests.c.closed_at.is_(None),
                            owner=owner, now=now, ttl=ttl, order_by=[digests.c.id], own_too=True)
        return _stored_claim(connection, found[0]) if found else None


def claim_again(store: Store, name: str, again: Again, *, owner: str, now: datetime, ttl: timedelta = CLAIM_TTL) -> DigestClaim:
    """Create a claim that reports runs again, and return it.

    No run is claimed, so the digest will report its unreported runs as before. If the process is killed, the claim is built later, like
    every unfinished claim.
    """
    with store.write(durable=True) as connection:
        row = connection.execute(insert(digests).values(
            name=name, slot_key=f"{AGAIN}{now.isoformat()}", created_at=now, lease_owner=owner, lease_until=now + ttl, attempt=1,
            again=asdict(again)).returning(digests)).one()
        return _claim(row, again.run_ids, again=again)


def request_again(store: Store, name: str, again: Again, *, key: str, now: datetime) -> int | None:
    """Create a claim as `claim_again` does, but one that any process builds; return its id.

    key: identifies the request. If there is a claim with this key, None is returned and nothing is created, so that a form that is submitted
    twice does not send a digest twice.
    """
    slot_key = f"{AGAIN}{key}"
    with store.write(durable=True) as connection:
        if connection.execute(select(digests.c.id).where(digests.c.name == name, digests.c.slot_key == slot_key).limit(1)).first() is not None:
            return None
        created: int = connection.execute(insert(digests).values(
            name=name, slot_key=slot_key, created_at=now, again=asdict(again)).returning(digests.c.id)).scalar_one()
        jobs.defer_digest(connection, created, name)
        return created


def reported_runs(store: Store, digest_id: int) -> tuple[int, ...]:
    """Return the ids of the runs that a digest reports; () if retention has deleted them."""
    with store.read() as connection:
        row = connection.execute(select(digests.c.again).where(digests.c.id == digest_id)).first()
        if row is not None and row.again is not None:
            return tuple(row.again["run_ids"])
        return tuple(_runs_of_claim(connection, digest_id))


def last_sent(store: Store, name: str) -> tuple[datetime, tuple[int, ...]] | None:
    """Return when the runs of the last sent digest of this name were claimed, and the ids of these runs; None if none is stored.

    A digest is sent if a mail server or a notification channel accepted at least one of its messages. Digests that were sent again are left out.
    """
    first = func.coalesce(digests.c.rebuild_of, digests.c.id)
    on_request = select(digests.c.id).where(digests.c.name == name, digests.c.again.is_not(None))
    wanted = select(first).join(messages, messages.c.digest_id == digests.c.id).where(
        digests.c.name == name, messages.c.state == MessageState.SENT.value, first.not_in(on_request),
    ).order_by(first.desc()).limit(1)
    with store.read() as connection:
        row = connection.execute(select(digests).where(digests.c.id == wanted.scalar_subquery())).first()
        return (row.created_at, tuple(_runs_of_claim(connection, row.id))) if row is not None else None


def _runs_of_claim(connection: Connection, digest_id: int) -> Sequence[int]:
    return connection.execute(select(digest_runs.c.run_id).where(
        digest_runs.c.digest_id == digest_id).order_by(digest_runs.c.run_id)).scalars().all()


def _stored_claim(connection: Connection, digest_id: int) -> DigestClaim:
    row = connection.execute(select(digests).where(digests.c.id == digest_id)).one()
    rebuild = rebuild_of(row)
    first = row.id if rebuild is None else rebuild.digest_id
    requested = connection.execute(select(digests.c.again).where(digests.c.id == first)).scalar()
    if requested is not None:
        again = Again(tuple(requested["run_ids"]), tuple(requested["recipients"]))
        return _claim(row, again.run_ids, rebuild, again)
    return _claim(row, _runs_of_claim(connection, first), rebuild)


def _claim(row: Row[Any], run_ids: Sequence[int], rebuild: Rebuild | None = None, again: Again | None = None) -> DigestClaim:
    return DigestClaim(row.id, row.name, row.slot_key, row.created_at, tuple(run_ids), row.attempt, rebuild, again)


def _ended(spiders: Sequence[str]) -> Select[Any]:
    return select(runs.c.id).where(runs.c.spider.in_(list(spiders)), runs.c.ended_at.is_not(None),
                                   runs.c.outcome != Outcome.SKIPPED.value).order_by(runs.c.id)


def _untold(name: str, spiders: Sequence[str]) -> Select[Any]:
    return _ended(spiders).where(~exists().where(digest_runs.c.name == name, digest_runs.c.run_id == runs.c.id))


def _only_repeats(connection: Connection, name: str, run_ids: Sequence[int]) -> bool:
    """Return whether the runs only repeat problems that this digest has already reported.

    This is the case if the runs found nothing new, and each of them failed, or is suspect, in the same way as the run that this digest
    last reported for the same spider.
    """
    told: dict[str, tuple[str, ...] | None] = {}
    for run in connection.execute(select(runs).where(runs.c.id.in_(run_ids))):
        if run.spider not in told:
            last = connection.execute(
                select(runs.c.outcome, runs.c.error_kind, runs.c.suspect, runs.c.error).join(digest_runs, digest_runs.c.run_id == runs.c.id)
                .where(digest_runs.c.name == name, runs.c.spider == run.spider).order_by(runs.c.id.desc()).limit(1)).first()
            told[run.spider] = _problem_of(last) if last is not None else None
        is_well = run.outcome in _WELL and not run.suspect
        if is_well or _problem_of(run) != told[run.spider] or run.progress.get("downloads"):
            return False
    return connection.execute(select(changes.c.id).where(changes.c.run_id.in_(run_ids)).limit(1)).first() is None


def _problem_of(run: Any) -> tuple[str, ...]:
    """Return what is the same in two runs, given as rows of `runs`, with the same problem. The reasons why runs are suspect differ in their numbers."""
    return run.outcome, run.error_kind, _NUMBER.sub("", run.error) if run.suspect else ""


def untold(store: Store, name: str, spiders: Sequence[str]) -> list[int]:
    """Return the ids of the ended runs of the spiders that this digest has not reported yet."""
    with store.read() as connection:
        return list(connection.execute(_untold(name, spiders)).scalars())


def ended_since(store: Store, spiders: Sequence[str], since: datetime) -> list[int]:
    """Return the ids of the spiders' runs that ended at `since` or later.

    Runs that were already reported are included.
    """
    with store.read() as connection:
        return list(connection.execute(_ended(spiders).where(runs.c.ended_at >= since)).scalars())


def unfinished(store: Store) -> list[str]:
    """Return the names of the digests that have an open claim."""
    with store.read() as connection:
        return list(connection.execute(select(digests.c.name).where(
            digests.c.closed_at.is_(None)).distinct()).scalars())


def oldest_unfinished(store: Store, name: str, *, now: datetime) -> int | None:
    """Return the id of the oldest open claim of a digest that is not postponed; None if there is none."""
    with store.read() as connection:
        postponed = (digests.c.lease_owner == "") & ~leases.free(digests, leases.shared_time(connection, now))
        return connection.execute(select(func.min(digests.c.id)).where(digests.c.name == name, digests.c.closed_at.is_(None), ~postponed)).scalar()


def renew(store: Store, digest_id: int, *, owner: str, now: datetime, ttl: timedelta = CLAIM_TTL) -> bool:
    with store.write() as connection:
        return leases.renew(connection, digests, digest_id, owner=owner, now=now, ttl=ttl)


def put_off(store: Store, claim: DigestClaim, error: str, *, owner: str, now: datetime) -> None:
    """Record why the digest of a claim could not be rendered, and postpone the claim for longer each time.

    The longest pause is leases.LONGEST. Runs that end during the pause get another claim. Nothing is written if another process
    has taken the claim.
    """
    pause = min(FIRST_PAUSE * 2 ** min(claim.attempt - 1, 16), leases.LONGEST)
    with store.write(durable=True) as connection:
        until = leases.shared_time(connection, now) + pause
        connection.execute(update(digests).where(digests.c.id == claim.id, digests.c.lease_owner == owner).values(
            error=error, lease_owner="", lease_until=until))
        jobs.defer_digest(connection, claim.id, claim.name, at=until)


def give_back(store: Store, claim: DigestClaim, *, owner: str, until: datetime) -> None:
    """Let any process build a claim from the time `until` on. No newer claim of the same digest is built before it."""
    with store.write(durable=True) as connection:
        connection.execute(update(digests).where(digests.c.id == claim.id, digests.c.lease_owner == owner).values(lease_until=until))
        jobs.defer_digest(connection, claim.id, claim.name, at=until)


def close(store: Store, digest_id: int, drafts: Sequence[DraftMessage], *, owner: str, now: datetime,
          error: str = "") -> list[int]:
    """Put the messages of a claim into the outbox and close the claim, in one transaction.

    drafts: the messages; empty if there is nothing to report. The runs of the claim count as reported in both cases.
    error: why the messages could not be rendered completely; "" if they are complete.
    Returns the ids of the messages. Raises LeaseLostError.
    """
    with store.write(durable=True) as connection:
        leases.end(connection, digests, digest_id, owner=owner, closed_at=now, error=error)
        return insert_messages(connection, drafts, now=now, digest_id=digest_id)


def runs_of(store: Store, run_ids: Sequence[int]) -> list[Run]:
    with store.read() as connection:
        return [run_of(row) for row in connection.execute(
            select(runs).where(runs.c.id.in_(list(run_ids))).order_by(runs.c.id))]


def changes_of(store: Store, run_ids: Sequence[int], *, kind: ChangeKind | None = None) -> Iterator[Change]:
    """Yield the changes that these runs found, in the order in which they were found, read in batches.

    kind: only changes of this kind; None means all kinds.
    """
    wanted = select(changes).where(changes.c.run_id.in_(list(run_ids)))
    if kind is not None:
        wanted = wanted.where(changes.c.kind == kind.value)
    return map(change_of, paged(store, wanted, changes.c.id))


def change_history(store: Store, spider: str, keys: Sequence[str], *, limit: int = 5000) -> list[Change]:
    """Return the newest `limit` changes of these items, the oldest first."""
    with store.read() as connection:
        rows = connection.execute(select(changes).where(
            changes.c.spider == spider, changes.c.key.in_(list(keys))).order_by(changes.c.id.desc()).limit(limit)).all()
    return [change_of(row) for row in reversed(rows)]


_REJECTED = case((rejects.c.key == "", rejects.c.url.concat(" ").concat(rejects.c.reason)), else_=rejects.c.key)
"""SQL that identifies a rejected item. Earlier versions stored no key for an item without a key."""


@dataclass(frozen=True)
class RejectCount:
    """How many items of a spider were rejected for one reason, and the URL of a page with such an item."""

    spider: str
    reason: str
    count: int
    url: str


def reject_counts(store: Store, run_ids: Sequence[int], *, limit: int = 200) -> list[RejectCount]:
    """Return how many items these runs rejected, by spider and reason, the most frequent first."""
    count = func.count(distinct(_REJECTED))
    wanted = select(rejects.c.spider, rejects.c.reason, count.label("count"), func.min(rejects.c.url).label("url")).where(
        rejects.c.run_id.in_(list(run_ids))).group_by(rejects.c.spider, rejects.c.reason).order_by(
        count.desc(), rejects.c.spider, rejects.c.reason).limit(limit)
    with store.read() as connection:
        return [RejectCount(row.spider, row.reason, row._mapping["count"], row.url) for row in connection.execute(wanted)]


def reject_totals(store: Store, run_ids: Sequence[int]) -> dict[str, int]:
    """Return how many items these runs rejected, by spider. An item that several runs rejected counts once."""
    wanted = select(rejects.c.spider, func.count(distinct(_REJECTED))).where(
        rejects.c.run_id.in_(list(run_ids))).group_by(rejects.c.spider)
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(wanted)}


def has_new_rejects(store: Store, spider: str, run_ids: Sequence[int]) -> bool:
    """Return whether these runs rejected an item that the previous run did not reject for that reason.

    spider: the spider to which all these runs belong.
    """
    before = select(func.max(runs.c.id)).where(runs.c.spider == spider, runs.c.id < min(run_ids), runs.c.ended_at.is_not(None),
                                               runs.c.outcome != Outcome.SKIPPED.value).scalar_subquery()
    what = select(rejects.c.key, rejects.c.url, rejects.c.reason)
    fresh = what.where(rejects.c.run_id.in_(list(run_ids))).except_(what.where(rejects.c.run_id == before))
    with store.read() as connection:
        return connection.execute(fresh.limit(1)).first() is not None


@dataclass(frozen=True)
class FailedFiles:
    """The files that the last pass of a spider requested but could not download.

    count: number of these files. errors: the errors of the first few, which name the URLs. before: number of files that the run before failed to
    download.
    """

    spider: str
    count: int
    errors: tuple[str, ...]
    before: int


def failed_files(store: Store, run: Run, run_ids: Sequence[int], *, shown: int) -> FailedFiles:
    """Return the files that a pass could not download. run: the last run of the pass. run_ids: all runs that the digest reports."""
    failed = (downloads.c.spider == run.spider) & (downloads.c.pass_id == run.pass_id) & (downloads.c.state == DownloadState.FAILED.value)
    before = select(func.max(runs.c.id)).where(runs.c.spider == run.spider, runs.c.id.not_in(list(run_ids)), runs.c.id < run.id,
                                               runs.c.outcome == Outcome.SUCCEEDED.value)
    with store.read() as connection:
        count = connection.execute(select(func.count()).select_from(downloads).where(failed)).scalar_one()
        errors = tuple(connection.execute(select(downloads.c.error).where(failed).order_by(downloads.c.id).limit(shown)).scalars())
        earlier = connection.execute(before).scalar_one_or_none()
    known = runs_of(store, [earlier]) if earlier is not None else []
    return FailedFiles(run.spider, count, errors, sum(run.progress.downloads_failed for run in known))


def files_of(store: Store, run_ids: Sequence[int]) -> list[StoredFile]:
    """Return the files that these runs downloaded, in the order in which they were downloaded."""
    with store.read() as connection:
        rows = connection.execute(select(download_files, downloads.c.referer).join(downloads).where(
            download_files.c.run_id.in_(list(run_ids))).order_by(download_files.c.id)).all()
    return [StoredFile(row.id, row.spider, row.run_id, row.url, row.key, row.name, row.size_bytes, row.sha256,
                       row.content_type, row.fetched_at, row.referer) for row in rows]
