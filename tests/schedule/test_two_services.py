"""A seeded sample of two services that start at once on the same data; `make torture` runs a hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.schedule.torture import torture
from tests.servers.postgres import Postgres


def test_two_services_that_start_at_once_never_have_two_passes_of_one_slot(tmp_path: Path) -> None:
    tally = torture(tmp_path, rounds=4)
    assert tally["slots"] >= 40
    assert tally["runs started"] >= 40


@pytest.mark.needs("postgres")
def test_two_services_that_start_at_once_on_postgresql_never_have_two_passes_of_one_slot(tmp_path: Path, postgres: Postgres) -> None:
    assert torture(tmp_path, rounds=2, url=postgres.new_database())["slots"] >= 20
