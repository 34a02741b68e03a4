"""The settings with which commands ask the heartbeat, although other parts of the file have problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import load_for_heartbeat

INVALID = "[spiders.s]\nstart = 3\n"
BROKEN = "[spiders.s\n"
TABLES = "[pipeline]\ndata_dir = 'data'\n[heartbeat]\nport = 9999 # ours\n"


@pytest.mark.parametrize("text", [
    TABLES + INVALID, INVALID + TABLES, TABLES + BROKEN, BROKEN + TABLES,
    "heartbeat = { port = 9999 }\npipeline.data_dir = 'data'\n" + INVALID,
    "[ heartbeat ]\nport = 9999\n[\"pipeline\"]\ndata_dir = 'data'\n" + INVALID])
def test_the_tables_are_read_however_they_are_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.toml").write_text(text)
    settings, problems = load_for_heartbeat(tmp_path / "settings.toml")
    assert problems is not None
    assert (settings.heartbeat.port, settings.pipeline.data_dir) == (9999, "data")


@pytest.mark.parametrize("text", [
    "heartbeat = { port = 9999 }\n" + BROKEN, "heartbeat.port = 9999\n" + BROKEN, "[ heartbeat ]\nport = 9999\n" + BROKEN,
    "[heartbeat]\nport = 'many'\n" + BROKEN, "[heartbeat]\nport = \n"])
def test_tables_that_cannot_be_told_apart_from_the_broken_rest_are_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises(SettingsError):
        load_for_heartbeat(tmp_path / "settings.toml")
