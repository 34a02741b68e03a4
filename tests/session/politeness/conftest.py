"""Host limits in lock files and in PostgreSQL: a test that uses `new_limits` runs on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pipeline.session.politeness.database_limits import DatabaseLimits
from pipeline.session.politeness.file_limits import FileLimits
from pipeline.session.politeness.host_limits import HostLimits
from pipeline.store import open_store
from tests.servers.postgres import Postgres


@pytest.fixture(params=["files", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def new_limits(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], HostLimits]]:
    """Returns limits as a further process of a run has them."""
    if request.param == "files":
        yield lambda: FileLimits(tmp_path)
        return
    server: Postgres = request.getfixturevalue("postgres")
    with ExitStack() as opened:
        store = opened.enter_context(closing(open_store(tmp_path, server.new_database(request.getfixturevalue("migrated")))))

        def new() -> HostLimits:
            limits = DatabaseLimits(store)
            opened.callback(limits.release)
            return limits
        yield new
