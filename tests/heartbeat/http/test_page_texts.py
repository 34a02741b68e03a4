"""Tests of the pages' languages.

Each text of a template has a translation with the same placeholders, and no translation is left over.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from pipeline.heartbeat.http import console
from pipeline.heartbeat.http.console.items.items import SORTS
from pipeline.heartbeat.http.console.mail.digests import MUTE_HOURS
from pipeline.heartbeat.http.console.render.renderer import FIGURES
from pipeline.heartbeat.http.console.spiders.spider import PAUSE_HOURS
from pipeline.languages import PAGE_LANGUAGES
from pipeline.languages.page_texts import FOLDER
from pipeline.model import REBUILD_STEPS, ChangeKind, DownloadState, MessageState, Outcome, PageOutcome
from pipeline.store.files.log_lines import LEVELS

TEMPLATES = Path(console.__file__).parent / "templates"
BY_VALUE = {"ok", "degraded", "failing", "paused", "running", "trouble first", "name", "next run", "last run", "just now", "now", "{span} ago",
            "in {span}", "{n} d", "{n} h", "{n} min", "{n} s", "waiting to start", "on the site", "all",
            "Show the proposed rules", "Show what the rules matched", "Show the runs", *SORTS.values(), *PAUSE_HOURS.values(), *MUTE_HOURS.values(), *MessageState, *REBUILD_STEPS, *DownloadState, *ChangeKind, "stopping…", "schedule", "manual", "catch-up", "after", "resume", "retry",
            *LEVELS, *(outcome.value.replace("_", " ") for outcome in PageOutcome), *(name.replace("_", " ") for name in FIGURES), *(outcome.value.replace("_", " ") for outcome in Outcome)}
"""Texts that code chooses."""


def texts_of_templates() -> set[str]:
    source = "".join(path.read_text("utf-8") for path in sorted(TEMPLATES.rglob("*.html")))
    return set(re.findall(r'\bt\("([^"]+)"', source)) | {f"{{n}} {noun}" for noun in re.findall(r'\bn\([^"}]*(?:"items"\])?[^"}]*, "([^"]+)"\)', source)}


@pytest.mark.parametrize("language", PAGE_LANGUAGES[1:])
def test_every_text_of_the_pages_is_translated_and_no_translation_is_left_over(language: str) -> None:
    found = tomllib.loads((FOLDER / f"{language}.toml").read_text("utf-8"))
    assert found.keys() == texts_of_templates() | BY_VALUE
    for english, text in found.items():
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", english)), english


def test_each_template_with_a_form_that_changes_something_hides_it_from_those_who_may_only_read() -> None:
    forms = {path.name: path.read_text("utf-8") for path in TEMPLATES.rglob("*.html") if path.name not in ("base.html", "locked.html") and '<form method="post"' in path.read_text("utf-8")}
    assert [name for name, text in forms.items() if "may_act" not in text] == []
