"""Settings that a worker reads from a URL."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.service.reload import Reloader
from pipeline.service.settings_source import SettingsSource
from pipeline.service.state import ServiceState
from pipeline.store import open_store
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


def test_a_reload_that_the_web_server_prevented_is_made_up_for(site: PageSite, folder: Path) -> None:
    async def work(state: ServiceState, reloader: Reloader) -> None:
        site.pages["/node.toml"] = Answer(status=503)
        await reloader.reload()
        assert "cannot be read" in state.settings_error
        site.pages["/node.toml"] = Answer(SETTINGS)
        await reloader.check()
        assert not state.settings_error, "the server answers again, and the status is still degraded"

    site.pages["/node.toml"] = Answer(SETTINGS)
    source = SettingsSource(f"{site.url}/node.toml")
    settings = source.load()
    with closing(open_store(folder / "var")) as store:
        state = ServiceState(store, settings)
        asyncio.run(work(state, Reloader(state, lambda fresh: None, source)))


@pytest.mark.parametrize("url", ["https://[::1/s.toml", "file:///etc/passwd", "s3://me:secret@bucket/s.toml", "https://me:secret@127.0.0.1:1/s.toml?key=secret"])
def test_a_url_that_cannot_be_used_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        SettingsSource(url).load()
    assert "secret" not in str(refused.value)
