"""What a language model said about the changes of a digest, kept until the digest is deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from pipeline.model import ModelSummary, SummaryClaim
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import digests, model_summaries


def find(store: Store, digest_id: int, recipients_of: int, language: str) -> ModelSummary | None:
    """Return the summary for some recipients of a digest; None if there is none in this language.

    recipients_of: 0 for the recipients of the digest itself, 1 for its first group, and so on.
    """
    with store.read() as connection:
        return _find(connection, digest_id, recipients_of, language)


def answer_to(store: Store, digest: str, asked: str) -> ModelSummary | None:
    """Return the newest complete summary that answers the same about the same changes, of a digest that is sent again; None if there is none.

    digest: name of the digest. asked: identifies what the model was asked, as given to `keep`.
    """
    content = model_summaries.c.content
    with store.read() as connection:
        row = connection.execute(select(content).join(digests, digests.c.id == model_summaries.c.digest_id).where(
            digests.c.name == digest, content["asked"].as_string() == asked, content["problem"].as_string() == "",
        ).order_by(model_summaries.c.digest_id.desc()).limit(1)).first()
    return _summary(row.content) if row is not None else None


def keep(store: Store, digest_id: int, recipients_of: int, language: str, summary: ModelSummary, *, asked: str = "") -> ModelSummary:
    """Store a summary, unless another process has stored one; return what is stored. A summary in another language is replaced.

    asked: identifies the question and the changes, for `answer_to`.
    """
    with store.write(durable=True) as connection:
        found = _find(connection, digest_id, recipients_of, language)
        if found is not None:
            return found
        connection.execute(delete(model_summaries).where(_is_of(digest_id, recipients_of)))
        connection.execute(insert(model_summaries).values(
            digest_id=digest_id, recipients_of=recipients_of, content=asdict(summary) | {"language": language, "asked": asked}, created_at=datetime.now(UTC)))
    return summary


def _is_of(digest_id: int, recipients_of: int) -> Any:
    return (model_summaries.c.digest_id == digest_id) & (model_summaries.c.recipients_of == recipients_of)


def _find(connection: Connection, digest_id: int, recipients_of: int, language: str) -> ModelSummary | None:
    row = connection.execute(select(model_summaries.c.content).where(
        _is_of(digest_id, recipients_of))).first()
    return _summary(row.content) if row is not None and row.content["language"] == language else None


def _summary(content: Mapping[str, Any]) -> ModelSummary:
    claims = tuple(SummaryClaim(claim["text"], tuple(claim["change_ids"])) for claim in content["claims"])
    return ModelSummary(claims, tuple(content["order"]), content["model"], content["host"], content["read"], content["problem"])
