"""The store on SQLite and PostgreSQL: every test that uses `store` runs on both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.store import Store, open_store
from tests.empty_store import open_empty_store
from tests.servers.postgres import Postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = None
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.new_database(request.getfixturevalue("migrated"))
    opened = open_empty_store(tmp_path / "data") if url is None else open_store(tmp_path / "data", url)
    yield opened
    opened.close()


def failures_of_four_at_once(act: Callable[[], None]) -> list[BaseException]:
    """What four threads raise that do the same at the same time."""
    failures: list[BaseException] = []

    def acting() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=acting) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
