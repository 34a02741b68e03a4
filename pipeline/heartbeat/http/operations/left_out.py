"""The changes that a digest leaves out by `only_if`, for pages and the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.settings import DigestTable
from pipeline.store import Store
from pipeline.store.console import left_out as queries
from pipeline.store.console.left_out import LeftOutChange
from pipeline.store.mail.judgements import question_hash


@dataclass(frozen=True)
class LeftOutRow:
    """A change that a digest leaves out. question: the `only_if` by which it was judged; "" if the settings no longer have it."""

    found: LeftOutChange
    question: str


def questions_of(table: DigestTable) -> list[str]:
    """Return the `only_if` of a digest and of its groups, each once."""
    return list(dict.fromkeys(each.only_if for each in (table, *table.groups) if each.only_if))


def left_out_rows(store: Store, name: str, table: DigestTable, *, limit: int, before: int | None = None, digest_id: int | None = None) -> list[LeftOutRow] | None:
    """Return changes that a digest leaves out, those that were judged last first; None if there is no digest `digest_id` of this name.

    before: the id of the last judgement before. digest_id: only changes of the runs that this digest reports.
    """
    run_ids: Sequence[int] | None = None
    if digest_id is not None and (run_ids := queries.runs_of_digest(store, digest_id, name)) is None:
        return None
    texts = {question_hash(question): question for question in questions_of(table)}
    found = queries.left_out_page(store, name, limit=limit, before=before, run_ids=run_ids)
    return [LeftOutRow(each, texts.get(each.question_hash, "")) for each in found]
