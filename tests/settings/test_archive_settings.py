"""Tests of the settings of the archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import SpiderArchiveTable, load

SPIDER = '[spiders.s]\nstart = "https://site.example/"\n'


def table(folder: Path, line: str) -> SpiderArchiveTable | None:
    (folder / "settings.toml").write_text(f"{SPIDER}{line}\n", "utf-8")
    return load(folder / "settings.toml").spiders["s"].archive


@pytest.mark.parametrize(("line", "what"), [
    ("", None), ("archive = false", None), ("archive = true", "all"), ('archive = "all"', "all"), ('archive = "changed"', "changed"),
    ("archive = {}", "all"), ('archive.redact_headers = "X-Key"', "all")])
def test_the_setting_says_what_is_archived(line: str, what: str | None, tmp_path: Path) -> None:
    found = table(tmp_path, line)
    assert (found.what if found else None) == what


@pytest.mark.parametrize(("line", "why"), [
    ("archive = 3", 'should be true, false, "changed" or a table'), ('archive = "everything"', 'should be true, false, "changed" or a table'),
    ('archive.redact_headers = ["Cookie: x"]', "'Cookie: x' is not the name of a header"), ('archive.redact_params = [""]', "a name is empty"),
    ('archive.redact_headers = "*"', "'*' is not the name of a value"), ('archive.redact_fields = ["*"]', "'*' is not the name of a value"),
    ('archive.keep = "99999999d"', "'99999999d' is longer than 100 years"),
    ('archive.what = "new"', "spiders.s.archive.what")])
def test_a_wrong_value_is_named(line: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"(?s)spiders\.s\.archive") as raised:
        table(tmp_path, line)
    assert why in str(raised.value)


def test_an_archive_without_its_extra_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.settings.models.extraction.find_spec", lambda module: None)
    with pytest.raises(SettingsError, match=r"crawl-to-inbox\[archive\]"):
        table(tmp_path, "archive = true")
