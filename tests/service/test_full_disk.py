"""Tests of a really full disk while the service runs, where a small disk can be mounted."""

from __future__ import annotations

import pytest

from tests.download.torture import can_mount
from tests.servers.program import Program
from tests.service.full_disk import fill_at


@pytest.mark.skipif(not can_mount(), reason="a tmpfs can be mounted by root on Linux only")
def test_a_temporarily_full_disk_loses_nothing_and_nothing_is_reported_twice(program: Program) -> None:
    fill_at(program, ["a run begins", "a mail is accepted"])
