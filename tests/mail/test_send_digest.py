"""`pipeline digest NAME --send` after a process was killed while it built the digest."""

from __future__ import annotations

from datetime import timedelta

from pipeline.cli.deliveries import send_digest
from pipeline.store import Store
from tests.mail.conftest import NOW, SettingsFrom, Site, claimed


def test_runs_that_ended_after_an_unfinished_claim_are_sent_too(store: Store, site: Site, settings_from: SettingsFrom) -> None:
    settings = settings_from()
    site.run({"a": {"title": "First"}})
    claimed(store, settings, now=NOW - timedelta(days=1))  # its process is killed here, and its lease has expired
    site.run({"a": {"title": "First"}, "b": {"title": "Second"}})
    said: list[str] = []
    assert send_digest(store, settings, "morning", say=said.append) == 0
    text = "\n".join(said)
    assert "First" in text
    assert "Second" in text
    said.clear()
    assert send_digest(store, settings, "morning", say=said.append) == 0
    assert said == ["morning: no ended runs to report"]
