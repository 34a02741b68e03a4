"""The program of the service tests.

On SQLite, and for some tests also on PostgreSQL with procrastinate.

With TEST_DISPATCHERS=all, every test of a service runs on both, except those that are marked `sqlite`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.program import Program

SHARED = "postgresql procrastinate"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "dispatcher" not in metafunc.fixturenames:
        return
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    both = "dispatchers" in marks or (os.environ.get("TEST_DISPATCHERS") == "all" and "sqlite" not in marks)
    shared = [pytest.param(SHARED, marks=pytest.mark.needs("postgres"))] if both else []
    metafunc.parametrize("dispatcher", ["sqlite local", *shared])


@pytest.fixture
def dispatcher() -> str:
    """The database and the dispatcher of the service."""
    raise AssertionError("pytest_generate_tests sets it")


@pytest.fixture
def program(request: pytest.FixtureRequest, dispatcher: str, tmp_path: Path, free_port: int) -> Iterator[Program]:
    found = Program(tmp_path, free_port)
    if dispatcher == SHARED:
        found.environment["DATABASE"] = request.getfixturevalue("postgres").new_database(request.getfixturevalue("migrated"))
        found.pipeline = 'database = { env = "DATABASE" }\n'
    yield found
    found.close()
