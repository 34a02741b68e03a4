"""The changes that digests have left out because of `only_if`, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, exists, false, func, select

from pipeline.model import Change
from pipeline.store.console.mail import digest_of
from pipeline.store.crawl.items import change_of
from pipeline.store.database.bulk import is_one_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import changes, judgements
from pipeline.store.mail.digests import reported_runs


@dataclass(frozen=True)
class LeftOutChange:
    """A change that a digest leaves out. id: of the judgement. question_hash: of the `only_if`. reason: what the model says, as plain text."""

    id: int
    change: Change
    question_hash: str
    reason: str
    judged_at: datetime


_later = judgements.alias("later")
_replaced = exists().where(
    _later.c.digest == judgements.c.digest, _later.c.question_hash == judgements.c.question_hash, _later.c.change_id == judgements.c.change_id,
    _later.c.id > judgements.c.id)
"""Whether the change was judged again, because it added up to something else with other runs."""


def runs_of_digest(store: Store, digest_id: int, name: str) -> tuple[int, ...] | None:
    """Return the ids of the runs that a digest reports, also if it was built again; None if it is not one of this name, or is no longer stored."""
    digest = digest_of(store, digest_id)
    return reported_runs(store, digest.id) if digest is not None and digest.name == name else None


def left_out_page(store: Store, name: str, *, limit: int, before: int | None = None, run_ids: Sequence[int] | None = None) -> list[LeftOutChange]:
    """Return changes that the digest `name` leaves out, those that were judged last first.

    before: the id of the last judgement before. run_ids: only changes that these runs found; None means all.
    """
    with store.read() as connection:
        wanted = _of_digest(connection, select(judgements.c.id, judgements.c.change_id, judgements.c.question_hash, judgements.c.reason, judgements.c.judged_at), name, run_ids)
        if before is not None:
            wanted = wanted.where(judgements.c.id < before)
        rows = connection.execute(wanted.order_by(judgements.c.id.desc()).limit(limit)).all()
        found = {row.id: change_of(row) for row in connection.execute(
            select(changes).where(is_one_of(connection, changes.c.id, [row.change_id for row in rows])))}
    return [LeftOutChange(row.id, found[row.change_id], row.question_hash, row.reason, row.judged_at) for row in rows if row.change_id in found]


def left_out_count(store: Store, name: str, *, run_ids: Sequence[int] | None = None) -> int:
    """Return how many changes the digest `name` leaves out. run_ids: only changes that these runs found; None means all."""
    with store.read() as connection:
        return int(connection.execute(_of_digest(connection, select(func.count(judgements.c.change_id.distinct())), name, run_ids)).scalar_one())


def _of_digest(connection: Connection, wanted: Select[Any], name: str, run_ids: Sequence[int] | None) -> Select[Any]:
    wanted = wanted.where(judgements.c.digest == name, judgements.c.told == false(), ~_replaced)
    if run_ids is None:
        return wanted
    return wanted.join(changes, changes.c.id == judgements.c.change_id).where(is_one_of(connection, changes.c.run_id, list(run_ids)))
