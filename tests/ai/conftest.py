"""Fixtures of the tests of the language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.ai.budget import Budget
from pipeline.ai.language_model import LanguageModel
from pipeline.settings import Settings, load
from pipeline.settings.masking import Mask
from pipeline.store import Store, open_store
from pipeline.store.database.schema import ai_requests
from tests.servers.language_model import LanguageModelServer

SPIDERS = '[spiders.books]\nstart = "http://site.test/"\n[digests.morning]\nspiders = ["books"]\nto = ["me@example.com"]\n'


@pytest.fixture(scope="module")
def opened_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(tmp_path_factory.mktemp("ai") / "var")
    yield opened
    opened.close()


@pytest.fixture
def store(opened_store: Store) -> Store:
    """A store without requests to the language model."""
    with opened_store.write() as connection:
        connection.execute(ai_requests.delete())
    return opened_store


@pytest.fixture
def settings_from(tmp_path: Path) -> Callable[[str], Settings]:
    """Settings with one spider, one digest and what a test adds."""
    def made(text: str, *, spiders: str = SPIDERS) -> Settings:
        path = tmp_path / "settings.toml"
        path.write_text(f"{spiders}\n{text}", "utf-8")
        return load(path)

    return made


@pytest.fixture
def model_of(store: Store, settings_from: Callable[[str], Settings]) -> Callable[..., LanguageModel]:
    """The language model of a server, which waits only milliseconds between attempts."""
    def made(server: LanguageModelServer, more: str = "", **options: Any) -> LanguageModel:
        settings = settings_from(server.settings(more))
        assert settings.ai is not None
        budget = Budget(store, limit=settings.ai.max_tokens_per_day, zone=settings.zone, digest="morning", model=settings.ai.model)
        return LanguageModel(settings.ai, budget, Mask.of(settings), first_delay_s=0.01, **options)

    return made
