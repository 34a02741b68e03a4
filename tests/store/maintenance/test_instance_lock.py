"""One service on a data_dir: who comes second is told who holds it, and nobody begins on what a kill may have damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store.maintenance.instance_lock import LOCK, hold_instance_lock


@pytest.mark.parametrize("word", ["kept", "lost to a full disk"])
def test_the_second_is_told_who_holds_it(tmp_path: Path, word: str) -> None:
    with hold_instance_lock(tmp_path):
        if word != "kept":
            os.truncate(tmp_path / LOCK, 0)
        with pytest.raises(StoreError, match=rf"holds this data_dir \(pid {os.getpid()}\b"), hold_instance_lock(tmp_path):
            pass


def test_the_first_and_who_comes_after_an_orderly_end_have_nothing_to_look_for(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_instance_lock(tmp_path) as unclean:
            assert not unclean


@pytest.mark.parametrize("word", ["pid 1, since 2026-11-22 12:00:00 UTC", ""])
def test_after_a_kill_each_start_looks_until_one_has_seen_that_all_is_well(tmp_path: Path, word: str) -> None:
    (tmp_path / LOCK).write_text(word)
    def look(found: str) -> None:
        with hold_instance_lock(tmp_path) as unclean:
            assert unclean
            if found:
                raise StoreError(found)

    with pytest.raises(StoreError, match="damaged"):
        look("the database is damaged")
    look("")
    with hold_instance_lock(tmp_path) as unclean:
        assert not unclean
