"""Tests that a summary is stored once with its digest, and deleted with it, on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import delete, insert

from pipeline.model import ModelSummary, SummaryClaim
from pipeline.store.database.schema import digests
from pipeline.store.mail.model_summaries import answer_to, find, keep

NOW = datetime(2026, 11, 30, 8, tzinfo=UTC)
FIRST = ModelSummary((SummaryClaim("Zwölf Preise fielen 价格.", (3, 1)),), (3, 1, 2), "tiny-3b", "localhost:8080", 12)


def test_the_first_summary_of_a_language_stays_and_goes_with_its_digest(store) -> None:
    with store.write() as connection:
        number = connection.execute(insert(digests).values(name="morning", slot_key="s1", created_at=NOW).returning(digests.c.id)).scalar_one()
    assert find(store, number, 0, "en") is None
    assert keep(store, number, 0, "en", FIRST) == FIRST
    assert keep(store, number, 0, "en", ModelSummary(problem="the server is down")) == FIRST
    assert keep(store, number, 1, "en", ModelSummary(problem="the server is down")) == ModelSummary(problem="the server is down")
    assert find(store, number, 0, "en") == FIRST
    assert find(store, number, 0, "de") is None, "another language is another summary"
    assert keep(store, number, 0, "de", ModelSummary(read=1)) == ModelSummary(read=1)
    assert find(store, number, 0, "en") is None
    with store.write() as connection:
        connection.execute(delete(digests).where(digests.c.id == number))
    assert find(store, number, 1, "en") is None


def test_the_newest_complete_answer_to_the_same_question_is_found_for_a_digest_that_is_sent_again(store) -> None:
    with store.write() as connection:
        numbers = list(connection.execute(insert(digests).values([
            {"name": name, "slot_key": f"s{n}", "created_at": NOW} for n, name in enumerate(("morning", "morning", "evening"))]).returning(digests.c.id)).scalars())
    keep(store, numbers[0], 0, "en", FIRST, asked="a")
    keep(store, numbers[1], 0, "en", ModelSummary(problem="the server is down"), asked="a")
    keep(store, numbers[2], 0, "en", ModelSummary(read=1), asked="b")
    assert [answer_to(store, name, asked) for name, asked in (("morning", "a"), ("morning", "b"), ("evening", "a"))] == [FIRST, None, None]
