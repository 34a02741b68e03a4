"""Judgements: whether a change meets the `only_if` of a digest, as a language model answered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from pipeline.store.database.bulk import Each, insert_rows, is_one_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import judgements

Subject = tuple[int, str]
"""What was judged: the id of a change, and the hash of what the model was shown of it."""


@dataclass(frozen=True)
class Judgement:
    """The answer of a language model for one change. content_hash: of the fields that it was shown. reason: of the model, as plain text."""

    change_id: int
    content_hash: str
    told: bool
    reason: str

    @property
    def subject(self) -> Subject:
        return self.change_id, self.content_hash


def question_hash(question: str) -> str:
    """Return the hash of an `only_if`. White space does not distinguish two questions."""
    return hashlib.sha256(" ".join(question.split()).encode()).hexdigest()


def stored_judgements(store: Store, digest: str, question: str, subjects: Iterable[Subject]) -> dict[Subject, Judgement]:
    """Return those of the judgements that are stored. digest: name of the digest. question: its `only_if`."""
    with store.read() as connection:
        return _stored(connection, digest, question, subjects)


def keep_judgements(store: Store, digest: str, question: str, found: Sequence[Judgement], *, now: datetime) -> dict[Subject, Judgement]:
    """Store judgements, and return what is stored: for what another process has judged before, the judgement of that process."""
    with store.write(durable=True) as connection:
        insert_rows(connection, judgements, len(found), new_only=True, digest=digest, question_hash=question_hash(question),
                    change_id=Each(each.change_id for each in found), content_hash=Each(each.content_hash for each in found),
                    told=Each(each.told for each in found), reason=Each(each.reason for each in found), judged_at=now)
        return _stored(connection, digest, question, [each.subject for each in found])


def _stored(connection: Connection, digest: str, question: str, subjects: Iterable[Subject]) -> dict[Subject, Judgement]:
    wanted = set(subjects)
    rows = connection.execute(select(judgements).where(
        judgements.c.digest == digest, judgements.c.question_hash == question_hash(question),
        is_one_of(connection, judgements.c.change_id, sorted({change_id for change_id, _ in wanted}))))
    found = (Judgement(row.change_id, row.content_hash, row.told, row.reason) for row in rows)
    return {each.subject: each for each in found if each.subject in wanted}
