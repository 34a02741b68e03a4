"""Delete old runs, changes, page records, messages, logs and saved pages, as [retention] says.

Transactions are small, so that no other process waits long, and an interrupted deletion continues the next time. Data that
a digest has yet to report, that the outbox has yet to send or that an open pass needs is never deleted. The last runs of a
spider, its last successful run and its last complete pass are always kept, because the next pass is compared with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    union_all,
    update,
)

from pipeline.model import PICTURE, PICTURES, MessageState, Outcome, PagePicture
from pipeline.settings import Settings
from pipeline.store.access import api_requests, audit_log, console_sessions
from pipeline.store.ai import requests as model_requests
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import (
    UNSEEN,
    alerts,
    changes,
    deliveries,
    digest_runs,
    digests,
    download_files,
    frontier,
    items,
    messages,
    pages,
    passes,
    recipients,
    rejects,
    run_members,
    runs,
    slots,
)
from pipeline.store.files.file_store import FileStore
from pipeline.store.files.local_files import LocalFiles
from pipeline.store.mail.refused_addresses import SETTLED

LAST_RUNS = 20
"""The number of a spider's last runs that are always kept, because the heartbeat shows them."""
BATCH = 1000
"""The maximum number of rows that one transaction deletes. Such a transaction takes some milliseconds."""


@dataclass(frozen=True)
class RetentionRule:
    """Which records to keep: records that are younger than `age`, but at most the newest `count` records.

    None means no limit.
    """

    age: timedelta | None = None
    count: int | None = None

    def __bool__(self) -> bool:
        return self.age is not None or self.count is not None


@dataclass(frozen=True)
class RetentionRules:
    """The rules of [retention].

    runs: the rule for the runs of each spider.
    pages: the rule for the records of fetched pages, and for the saved pages in each folder.
    messages: the rule for sent and dropped messages.
    logs: the rule for the log files in each folder.
    waiting: maps each digest in the settings to the names of its spiders. Runs that one of these digests has yet to report are kept.
    """

    runs: RetentionRule = field(default_factory=RetentionRule)
    pages: RetentionRule = field(default_factory=RetentionRule)
    messages: RetentionRule = field(default_factory=RetentionRule)
    logs: RetentionRule = field(default_factory=RetentionRule)
    waiting: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> RetentionRules:
        keep = {name: RetentionRule(timedelta(seconds=table.age) if table.age is not None else None, table.count)
                for name, table in settings.retention}
        return cls(**keep, waiting={name: digest.spiders for name, digest in settings.digests.items()})

    def without_ages(self) -> RetentionRules:
        return RetentionRules(runs=RetentionRule(None, self.runs.count), pages=RetentionRule(None, self.pages.count),
                     messages=RetentionRule(None, self.messages.count), logs=RetentionRule(None, self.logs.count), waiting=self.waiting)


@dataclass
class PruneResult:
    runs: int = 0
    pages: int = 0
    messages: int = 0
    files: int = 0

    def __bool__(self) -> bool:
        return self != PruneResult()

    def __str__(self) -> str:
        parts = ((self.runs, "runs"), (self.pages, "fetched pages"), (self.messages, "messages"), (self.files, "files"))
        return ", ".join(f"{count} {name}" for count, name in parts if count)


class _StoppedError(Exception):
    """Raised when the caller of `prune` wants to stop; the next call of `prune` deletes the rest."""


def prune(store: Store, rules: RetentionRules, *, now: datetime, by_age: bool = True, go_on: Callable[[], bool] = lambda: True) -> PruneResult:
    """Delete what the rules do not keep, and return how much was deleted.

    Raises StoreError, DiskFullError.
    by_age: whether the clock is plausible (clock_trust.py); if False, only the counts of the rules are applied.
    go_on: a function that is called after each transaction; it may wait, and the deletion ends if it returns False.
    """
    done = PruneResult()
    pruner = _Pruner(store, rules if by_age else rules.without_ages(), now, go_on, done)
    try:
        pruner.messages()
        pruner.runs()
        pruner.frontier()
        pruner.pages()
        pruner.files()
        if by_age:
            pruner.audit_log()
            pruner.console_sessions()
            pruner.api_requests()
            pruner.model_requests()
    except _StoppedError:
        pass
    return done


class _Pruner:
    def __init__(self, store: Store, rules: RetentionRules, now: datetime, go_on: Callable[[], bool], done: PruneResult) -> None:
        self._store = store
        self._rules = rules
        self._now = now
        self._go_on = go_on
        self._done = done

    # Messages

    def messages(self) -> None:
        keep = self._rules.messages
        if not keep:
            return
        # The newest message is kept, because SQLite would otherwise reuse its id. So is the newest message that was refused for an address,
        # until a person has seen this.
        unseen = select(func.max(recipients.c.message_id)).where(UNSEEN).group_by(recipients.c.address)
        ended = and_(or_(messages.c.state.in_((MessageState.SENT.value, MessageState.DROPPED.value)), SETTLED),
                     messages.c.id < select(func.max(messages.c.id)).scalar_subquery(), messages.c.id.not_in(unseen))
        at = func.coalesce(messages.c.sent_at, messages.c.created_at, type_=messages.c.created_at.type)
        old = self._beyond(keep, at, messages.c.id, ended)
        while rows := self._some(select(messages.c.id, messages.c.file_key, messages.c.digest_id).where(ended, old)):
            for row in rows:  # the files first: without its row, a file would never be deleted
                self._remove_files_of(row.file_key)
            ids = [row.id for row in rows]
            with self._store.write() as connection:
                for table in (recipients, deliveries):
                    connection.execute(delete(table).where(table.c.message_id.in_(ids)))
                self._done.messages += connection.execute(delete(messages).where(messages.c.id.in_(ids))).rowcount
            self._check_stop()
        self._digests()

    def _digests(self) -> None:
        """Delete the digests of which neither a message nor a run is left, and the files of these digests.

        The last digest of each name is kept.
        """
        last = select(func.max(digests.c.id)).group_by(digests.c.name)
        over = and_(digests.c.closed_at.is_not(None), digests.c.id.not_in(last),
                    ~exists().where(messages.c.digest_id == digests.c.id),
                    ~exists().where(digest_runs.c.digest_id == digests.c.id))
        while ids := [row.id for row in self._some(select(digests.c.id).where(over))]:
            for number in ids:
                self._remove(f"messages/{number}-")
            with self._store.write() as connection:
                connection.execute(delete(digests).where(digests.c.id.in_(ids)))
            self._check_stop()

    def _remove_files_of(self, key: str) -> None:
        """Delete the file of a message, and the HTML file that shows the message in a browser."""
        if key:
            self._store.files.remove(key)
            self._store.files.remove(str(PurePosixPath(key).with_suffix(".html")))

    def _remove(self, prefix: str) -> None:
        """Delete the files whose keys begin with `prefix`."""
        for found in self._store.files.list(prefix):
            self._store.files.remove(found.key)

    # Runs

    def runs(self) -> None:
        keep = self._rules.runs
        if not keep:
            return
        with self._store.read() as connection:
            spiders = connection.execute(select(runs.c.spider).distinct()).scalars().all()
        for spider in spiders:
            with self._store.read() as connection:
                stay = self._last(connection, spider)
            ended = and_(runs.c.spider == spider, runs.c.ended_at.is_not(None))
            old = self._beyond(keep, runs.c.ended_at, runs.c.id, ended)
            gone = select(runs.c.id).where(ended, old, runs.c.id.not_in(stay), runs.c.id.not_in(self._needed(spider)),
                                           ~exists().where(passes.c.id == runs.c.pass_id, passes.c.closed_at.is_(None)))
            while ids := [row.id for row in self._some(gone, limit=100)]:
                for table in (changes, rejects, pages):
                    self._delete(table, table.c.run_id.in_(ids))
                with self._store.write() as connection:
                    connection.execute(delete(digest_runs).where(digest_runs.c.run_id.in_(ids)))
                    connection.execute(delete(run_members).where(run_members.c.run_id.in_(ids)))
                    connection.execute(update(download_files).where(download_files.c.run_id.in_(ids)).values(run_id=None))
                    self._done.runs += connection.execute(delete(runs).where(runs.c.id.in_(ids))).rowcount
                self._check_stop()
            self._passes(spider)
        if keep.age is not None:
            self._delete(alerts, and_(alerts.c.over_at.is_not(None), alerts.c.over_at < self._now - keep.age))
        self._digests()

    def _passes(self, spider: str) -> None:
        """Delete the passes and slots of the spider that have no run.

        The newest slot is kept, because it records what was due last.
        """
        empty = and_(passes.c.spider == spider, passes.c.closed_at.is_not(None), ~exists().where(runs.c.pass_id == passes.c.id))
        while ids := [row.id for row in self._some(select(passes.c.id).where(empty), limit=100)]:
            for table in (pages, frontier):
                self._delete(table, table.c.pass_id.in_(ids))
            self._delete(passes, passes.c.id.in_(ids))
        newest = select(func.max(slots.c.due_at)).where(slots.c.spider == spider).scalar_subquery()
        oldest_run = select(func.min(runs.c.created_at)).where(runs.c.spider == spider).scalar_subquery()
        self._delete(slots, and_(slots.c.spider == spider, slots.c.due_at < newest, slots.c.claimed_at < oldest_run,
                                 ~exists().where(passes.c.slot_id == slots.c.id),
                                 ~exists().where(runs.c.slot_id == slots.c.id)))

    def _last(self, connection: Connection, spider: str) -> list[int]:
        """Return the ids of the runs that are always kept.

        These are the newest runs, the last complete run, the last successful run, and the last successful run that is not suspect.
        """
        own = and_(runs.c.spider == spider, runs.c.ended_at.is_not(None))
        newest = connection.execute(select(runs.c.id).where(own).order_by(runs.c.id.desc()).limit(LAST_RUNS)).scalars().all()
        of_note = (runs.c.outcome == Outcome.SUCCEEDED.value, runs.c.complete,
                   and_(runs.c.outcome == Outcome.SUCCEEDED.value, runs.c.suspect.is_(False)))
        return [*newest, *(found for each in of_note if (found := connection.execute(
            select(func.max(runs.c.id)).where(own, each)).scalar()) is not None)]

    def _needed(self, spider: str) -> Select[Any]:
        """Return SQL for the runs of the spider that must be kept for digests.

        These are the runs that a digest has yet to report, and the runs in a digest whose messages have yet to be sent.
        """
        own = select(runs.c.id).where(runs.c.spider == spider, runs.c.ended_at.is_not(None),
                                      runs.c.outcome != Outcome.SKIPPED.value)
        parts = [own.where(runs.c.id.not_in(select(digest_runs.c.run_id).where(digest_runs.c.name == name)))
                 for name, spiders in self._rules.waiting.items() if spider in spiders]
        unsent = select(messages.c.digest_id).where(messages.c.digest_id.is_not(None), messages.c.state.in_(
            (MessageState.WAITING.value, MessageState.PARKED.value)), ~SETTLED)
        claimed_by = func.coalesce(digests.c.rebuild_of, digests.c.id)
        parts.append(select(digest_runs.c.run_id).join(digests, claimed_by == digest_runs.c.digest_id).where(
            or_(digests.c.closed_at.is_(None), digests.c.id.in_(unsent))))
        with self._store.read() as connection:
            requested = connection.execute(select(digests.c.again).where(
                digests.c.again.is_not(None), or_(digests.c.closed_at.is_(None), digests.c.id.in_(unsent)))).scalars().all()
        parts.append(select(runs.c.id).where(runs.c.id.in_([run_id for again in requested for run_id in again["run_ids"]])))
        found = union_all(*parts).subquery()
        return select(found.c[0])

    def audit_log(self) -> None:
        while audit_log.delete_old(self._store, now=self._now):
            self._check_stop()

    def console_sessions(self) -> None:
        while console_sessions.delete_expired(self._store, now=self._now):
            self._check_stop()

    def api_requests(self) -> None:
        while api_requests.delete_old(self._store, now=self._now):
            self._check_stop()

    def model_requests(self) -> None:
        while model_requests.delete_old(self._store, now=self._now):
            self._check_stop()

    # Frontiers, fetched pages, and files

    def frontier(self) -> None:
        """Delete the frontiers of closed passes, from which nothing will be fetched any more."""
        closed = select(passes.c.id).where(passes.c.closed_at.is_not(None))
        self._delete(frontier, frontier.c.pass_id.in_(closed))

    def pages(self) -> None:
        keep = self._rules.pages
        if not keep:
            return
        over = exists().where(passes.c.id == pages.c.pass_id, passes.c.closed_at.is_not(None))
        old = self._beyond(keep, pages.c.fetched_at, pages.c.id, pages.c.id > 0)
        self._done.pages += self._delete(pages, and_(over, old))

    def files(self) -> None:
        self._old_files(self._store.files, "logs/", self._rules.logs, frozenset())
        if self._store.files.is_remote:  # the logs of this node
            self._old_files(LocalFiles(self._store.data_dir), "logs/", self._rules.logs, frozenset())
        if self._rules.pages:
            self._old_files(self._store.files, "pages/", self._rules.pages, self._pages_to_tell())
            self._old_files(self._store.files, f"{PICTURES}/", self._rules.pages, self._pictures_in_use())

    def _pages_to_tell(self) -> set[str]:
        """Return the keys of the saved pages that a digest has yet to attach."""
        spiders = sorted({spider for each in self._rules.waiting.values() for spider in each})
        with self._store.read() as connection:
            return {key for spider in spiders for key in connection.execute(
                select(changes.c.page_key).where(changes.c.page_key != "", changes.c.run_id.in_(self._needed(spider))
                                                 ).distinct()).scalars()}

    def _pictures_in_use(self) -> set[str]:
        """Return the keys of the pictures of pages with which the next pictures are compared, or which a digest has yet to show."""
        keys: set[str] = set()
        for spider in {found.key.split("/")[1] for found in self._store.files.list(f"{PICTURES}/") if found.key.count("/") > 1}:
            with self._store.read() as connection:
                stored = connection.execute(select(items.c.data, items.c.reported).where(items.c.spider == spider)).all()
                told = connection.execute(select(changes.c.before, changes.c.after).where(
                    changes.c.spider == spider, changes.c.run_id.in_(self._needed(spider)))).all()
            for row in (*stored, *told):
                keys.update(picture.file for data in row if (picture := PagePicture.of((data or {}).get(PICTURE), spider)) is not None)
        return keys

    def _old_files(self, files: FileStore, prefix: str, keep: RetentionRule, still: Collection[str]) -> None:
        """Delete the files that the rule does not keep in each folder. still: the keys of files that must be kept."""
        if not keep:
            return
        folders = defaultdict(list)
        for found in files.list(prefix):
            folders[found.key.rpartition("/")[0]].append((found.modified_at, found.key))
        for dated in folders.values():
            for place, (at, key) in enumerate(sorted(dated, reverse=True)):
                is_old = keep.age is not None and at < self._now - keep.age
                if (is_old or (keep.count is not None and place >= keep.count)) and key not in still:
                    files.remove(key)
                    self._done.files += 1
            self._check_stop()

    # Shared

    def _beyond(self, keep: RetentionRule, at: Any, row_id: Any, among: ColumnElement[bool]) -> ColumnElement[bool]:
        """Return SQL for the rows that a rule does not keep.

        These are the rows that are older than `keep.age`, and all rows in `among` except the newest `keep.count` rows.
        """
        parts = []
        if keep.age is not None:
            parts.append(at < self._now - keep.age)
        if keep.count is not None:
            with self._store.read() as connection:
                last = connection.execute(select(row_id).where(among).order_by(row_id.desc()).offset(keep.count)
                                          .limit(1)).scalar()
            if last is not None:
                parts.append(row_id <= last)
        return or_(*parts) if parts else row_id < 0

    def _some(self, wanted: Select[Any], *, limit: int = BATCH) -> Sequence[Any]:
        with self._store.read() as connection:
            return connection.execute(wanted.limit(limit)).all()

    def _delete(self, table: Table, where: ColumnElement[bool]) -> int:
        deleted = 0
        while ids := [row.id for row in self._some(select(table.c.id).where(where))]:
            with self._store.write() as connection:
                deleted += connection.execute(delete(table).where(table.c.id.in_(ids), where)).rowcount
            self._check_stop()
        return deleted

    def _check_stop(self) -> None:
        if not self._go_on():
            raise _StoppedError

