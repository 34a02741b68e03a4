"""Tests of what the service does on request of the API: reload, check, suggest, preview and send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline.heartbeat.token import load_or_create_token
from pipeline.store import open_store
from pipeline.store.mail import digest_mutes
from tests.servers.pages import PageSite
from tests.servers.program import Program, eventually

Ask = Callable[..., requests.Response]
SETTINGS = """
[spiders.books]
start = "{url}/"
robots = false
[spiders.books.items]
each = "li"
key = ["name"]
[spiders.books.items.fields]
name = "b"
[digests.daily]
spiders = ["books"]
to = ["me@example.com"]
schedule = "daily at 07:00"
[mail]
maildir = "mails"
from = "me@example.com"
"""


@pytest.fixture
def ask(program: Program, site: PageSite) -> Iterator[Ask]:
    """Sends requests to the API of a service with one ended run."""
    books = "".join(f'<li><b>Book {number}</b> <a href="/{number}">more</a> <i>{number} €</i></li>' for number in range(12))
    site.pages = {"/": f"<html><title>Books</title><body><ul>{books}</ul>"}
    program.write(SETTINGS.format(url=site.url))
    assert program.run("run", "books").returncode == 0
    program.serve()
    token = load_or_create_token(program.data).reveal()

    def ask(method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, f"http://127.0.0.1:{program.port}/api/v1{path}", headers={"Authorization": f"Bearer {token}"}, timeout=90, **options)

    yield ask
    assert program.stop() == 0


def test_the_settings_are_checked_and_reloaded(ask: Ask, program: Program) -> None:
    settings = program.folder / "settings.toml"
    settings.write_text(settings.read_text() + '[digests.weekly]\nspiders = ["books"]\nto = ["me@example.com"]\n')
    checked, printed = ask("POST", "/check").json(), program.run("check")
    assert checked["valid"]
    assert len(checked["lines"]) > 1
    assert sorted(checked["lines"]) == sorted((printed.stdout + printed.stderr).splitlines()), "each line, not only the first"
    draft = ask("POST", "/check", json={"toml": '[spiders.films]\nstart = "https://films.example/"\nproxy = "none"\n'}).json()
    assert not draft["valid"]
    assert "films" in "".join(draft["lines"])
    assert ask("POST", "/check", json={"toml": '[spiders.films]\nstart = "https://films.example/"\nitems.fields.title = "h1"\n'}).json()["valid"]
    settings.write_text(settings.read_text().replace("port = ", 'late_after = "1h"\nport = ') + '\n[spiders.films]\nstart = "https://films.example/"\nitems.fields.title = "h1"\n')
    reloaded = ask("POST", "/reload").json()
    assert reloaded == {"changed": ["heartbeat.late_after", "spiders.films", "digests.weekly"], "waiting": [], "problems": []}
    assert [spider["name"] for spider in ask("GET", "/spiders").json()["items"]] == ["books", "films"]
    settings.write_text("[spiders")
    assert "is not valid TOML" in ask("POST", "/reload").json()["problems"][0]


def test_a_page_is_suggested_from_but_not_a_private_one(ask: Ask, site: PageSite) -> None:
    refused = ask("POST", "/suggest", json={"url": f"{site.url}/"})
    assert refused.status_code == 422
    assert "private" in refused.json()["detail"]
    for url in ("http://169.254.169.254/latest/meta-data/", "http://[::ffff:127.0.0.1]/", "http://localhost:1/", "http://0x7f.1/"):
        assert ask("POST", "/suggest", json={"url": url}).status_code == 422, url
    for url in ("file:///etc/passwd", "gopher://127.0.0.1/", "-x"):
        assert ask("POST", "/suggest", json={"url": url}).status_code == 400, url
    found = ask("POST", "/suggest", json={"url": f"{site.url}/", "spider": "books"}).json()
    assert found["proposals"][0]["count"] == 12
    assert "[spiders.books]" in found["proposals"][0]["toml"]


def test_a_digest_is_previewed_and_sent_now_also_while_it_is_muted(ask: Ask, program: Program) -> None:
    mail, = ask("GET", "/digests/daily/preview").json()["mails"]
    assert (mail["recipients"], mail["attachments"], mail["has_news"]) == ("me@example.com", [], True)
    assert "Book 11" in mail["text"]
    assert "<html" in mail["html"]
    assert ask("PUT", "/digests/daily/mute", json={"until": "2999-01-01T00:00:00Z"}).status_code == 200
    assert ask("POST", "/digests/daily/messages").json() == {"digest": "daily", "id": 1, "state": "building", "runs": 1}
    mails = Path(program.data, "mails", "new")
    assert eventually(lambda: mails.exists() and list(mails.iterdir()))
    again = ask("POST", "/digests/daily/messages")
    assert (again.status_code, again.json()["state"]) == (200, "nothing to report")
    assert ask("POST", "/outbox/1/again", json={"recipients": ["other@example.com"]}).status_code == 409
    assert ask("POST", "/outbox/1/again", json={"recipients": ["me@example.com"]}).json() == {"digest": "daily", "runs": 1}
    assert eventually(lambda: len(list(mails.iterdir())) == 2), "also while it is muted"
    assert ask("GET", "/outbox/2").json()["subject"].endswith("(sent again)")
    store = open_store(program.data)
    assert digest_mutes.unmute(store, "daily")
    store.close()
