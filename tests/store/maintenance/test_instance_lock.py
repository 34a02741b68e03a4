"""Tests of the lock of a data_dir, and of the check after an unclean stop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store.maintenance.instance_lock import LOCK, hold_instance_lock


@pytest.mark.parametrize("word", ["kept", "lost to a full disk"])
def test_a_second_service_is_told_which_process_holds_the_lock(tmp_path: Path, word: str) -> None:
    with hold_instance_lock(tmp_path):
        if word != "kept":
            os.truncate(tmp_path / LOCK, 0)
        with pytest.raises(StoreError, match=rf"data_dir is in use by another `pipeline serve` \(pid {os.getpid()}\b"), hold_instance_lock(tmp_path):
            pass


def test_after_a_clean_stop_the_next_start_checks_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_instance_lock(tmp_path) as unclean:
            assert not unclean


@pytest.mark.parametrize("word", ["pid 1, since 2026-11-22 12:00:00 UTC", ""])
def test_after_a_kill_each_start_checks_until_a_check_succeeds(tmp_path: Path, word: str) -> None:
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


def test_a_lock_file_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    with pytest.raises(StoreError, match=r"serve\.lock: the lock file cannot be opened: Is a directory; correct"), hold_instance_lock(tmp_path):
        pass
