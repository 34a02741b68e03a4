"""Fixtures: a site with a login, and sessions opened from settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline.session import Session, open_session
from pipeline.settings import load
from tests.servers.site import PASSWORD, USER, Site, start_site

OpenSession = Callable[..., Session]


@pytest.fixture
def site() -> Iterator[Site]:
    with start_site() as started:
        yield started


@pytest.fixture
def open_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenSession:
    """Opens the session of spider `s` from settings as a user would write them, without the start.

    before: tables ahead of the spider; login: the lines of its login table, with user and password filled in.
    """
    monkeypatch.setenv("SITE_PASSWORD", PASSWORD)

    def opened(start: str, spider: str = "", *, login: str = "", before: str = "", cookies: str = "") -> Session:
        if "hosts" not in spider and (port := urlsplit(start).port):  # these sites have two names
            spider = f'hosts = ["127.0.0.1:{port}", "localhost:{port}"]\n{spider}'
        text = f'{before}\n[spiders.s]\nstart = "{start}"\n{spider}\n'
        if login:
            if "fields" not in login:
                login += f'\nfields = {{ user = "{USER}", pass = {{ env = "SITE_PASSWORD" }} }}'
            if "check =" not in login:
                login += "\ncheck = \"a[href*='logout']\""
            text += f"[spiders.s.login]\n{login}\n"
        if cookies:
            text += f"[spiders.s.cookies]\n{cookies}\n"
        file = tmp_path / "settings.toml"
        file.write_text(text, "utf-8")
        settings = load(file)
        return open_session("s", settings.spiders["s"], settings)

    return opened
