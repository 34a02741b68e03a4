"""Fixtures of the tests of the summary of a digest by a language model."""

from __future__ import annotations

import email
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest

from pipeline.store import Store
from pipeline.store.mail import outbox
from tests.mail.conftest import text_of
from tests.servers.language_model import AskedModel, LanguageModelServer

Numbers = Sequence[int]


def answer(claims: Mapping[str, Numbers] | Sequence[tuple[str, Numbers]], order: Numbers = ()) -> str:
    """What a model answers: sentences with the numbers of records."""
    pairs = claims.items() if isinstance(claims, Mapping) else claims
    return json.dumps({"claims": [{"text": text, "items": list(items)} for text, items in pairs], "order": list(order)})


@dataclass
class Model:
    """A server whose answer a test chooses: a text, or a function of the request."""

    url: str = ""
    says: Any = field(default_factory=lambda: answer({"The first change matters most.": [1]}, [1]))
    asked: list[AskedModel] = field(default_factory=list)

    def __call__(self, request: AskedModel) -> Any:
        self.asked.append(request)
        return self.says(request) if callable(self.says) else self.says

    def settings(self, keys: str = "") -> str:
        """The table [ai], to be written behind the table of a digest."""
        return f'[ai]\nbase_url = "{self.url}"\nmodel = "tiny-3b"\nretries = 0\n{keys}\n'


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[LanguageModelServer, Model]]:
    model = Model()
    with LanguageModelServer(model) as started:
        model.url = started.url
        yield started, model


@pytest.fixture
def model(server: tuple[LanguageModelServer, Model]) -> Model:
    fresh = Model()
    server[1].says, server[1].asked = fresh.says, []
    return server[1]


def mails_of(store: Store, message_ids: Sequence[int]) -> list[EmailMessage]:
    found = []
    for message_id in message_ids:
        stored = outbox.get(store, message_id)
        assert stored is not None
        found.append(email.message_from_bytes(store.files.path(stored[0].file_key).read_bytes(), policy=default))
    return found


def lines_of(mail: EmailMessage) -> list[str]:
    return text_of(mail).replace("\r\n", "\n").split("\n")


Says = Callable[[AskedModel], str]
