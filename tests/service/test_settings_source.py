"""Settings that a worker reads from a URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.service.settings_source import SettingsSource
from tests.servers.pages import Answer, PageSite

SETTINGS = b"[spiders.s]\nstart = 'http://127.0.0.1/'\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where the copy of the settings is
    return tmp_path


def test_settings_are_read_from_this_machine_also_by_a_redirect(site: PageSite) -> None:
    site.pages["/node.toml"] = Answer(SETTINGS)
    site.pages["/moved.toml"] = Answer(status=302, headers={"Location": "/node.toml"})
    source = SettingsSource(f"{site.url}/moved.toml")
    assert list(source.load().spiders) == ["s"]
    assert source.fetch() is False, "unchanged settings were taken for new ones"


@pytest.mark.parametrize(("path", "message"), [
    ("http://settings.example/node.toml", "settings are read only from https"),
    ("/unprotected.toml", "redirects to http://settings.example/node.toml, and settings are read only from https"),
    ("/circle.toml", "redirects more than 5 times"),
    ("/missing.toml", "the web server answers 404"),
])
def test_settings_that_others_could_change_are_refused(site: PageSite, folder: Path, path: str, message: str) -> None:
    site.pages["/unprotected.toml"] = Answer(status=302, headers={"Location": "http://user:secret@settings.example/node.toml"})
    site.pages["/circle.toml"] = Answer(status=302, headers={"Location": "/circle.toml"})
    with pytest.raises(UsageError) as refused:
        SettingsSource(path if "://" in path else site.url + path).load()
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)
    assert not list(folder.iterdir())
