"""Tests that every answer of a server, good or hostile, gives an instance of the schema or a ModelError in time."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel
from sqlalchemy import select

from pipeline.ai.language_model import LanguageModel
from pipeline.ai.prompt import Record
from pipeline.store import Store
from pipeline.store.database.schema import ai_requests
from tests.servers.language_model import Answer, LanguageModelServer

ModelOf = Callable[..., LanguageModel]
GOOD = '{"title": "Two books", "items": [1, 2]}'
RECORDS = [Record(1, "new (books): Emma\nprice: 12"), Record(2, "new (books): Middlemarch")]


class Told(BaseModel):
    title: str
    items: list[int]


def _ask(model: LanguageModel) -> Told:
    return model.ask("test", "Say which books are new.", RECORDS, Told)


def test_an_answer_is_an_instance_of_its_schema_and_its_tokens_are_recorded(model_of: ModelOf, store: Store) -> None:
    with LanguageModelServer(lambda _: Answer(GOOD, chunks=3, usage=(321, 45))) as server:
        model = model_of(server)
        assert _ask(model) == Told(title="Two books", items=[1, 2])
    asked = server.requests[0]
    assert asked.records == {1: "new (books): Emma\nprice: 12", 2: "new (books): Middlemarch"}
    assert "Say which books are new." in asked.system
    assert "Emma" not in asked.system, "what a site wrote is only in the message with the data"
    assert asked.schema["required"] == ["title", "items"]
    assert (asked.json["model"], asked.json["max_tokens"], asked.json["temperature"], asked.json["stream"]) == ("test-model", 2000, 0, True)
    assert (model.input_tokens, model.output_tokens, model.host) == (321, 45, server.host)
    with store.read() as connection:
        row = connection.execute(select(ai_requests)).one()
    assert (row.digest, row.purpose, row.model, row.state, row.input_tokens, row.output_tokens, row.error) == (
        "morning", "test", "test-model", "done", 321, 45, "")
