"""A digest in the outbox, a server for its pages, and a browser that has signed in."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import requests
from lxml import html
from sqlalchemy import select, update

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.heartbeat.token import load_or_create_token
from pipeline.mail.digests.build import build
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.database.schema import digests as claims
from pipeline.store.database.schema import messages, recipients
from pipeline.store.mail import digests
from tests.heartbeat.conftest import NOW, STARTED
from tests.mail.conftest import Site
from tests.servers.loop import loop_thread

EVIL = "<script>alert(1)</script>\u202e"
SETTINGS = """
[mail]
from = "Pipeline <pipeline@example.com>"
[spiders.books]
start = "http://site.test/"
items.fields.title = "h1"
[digests.daily]
spiders = ["books"]
to = ["Reader <reader@example.com>", "boss@example.com"]
schedule = "daily at 07:00"
attach = ["csv", "downloads"]
[[digests.daily.groups]]
to = ["group@example.com"]
[digests.empty]
spiders = ["books"]
to = ["nobody@example.com"]
"""
PDF = bytes(range(256)) * 1200  # more than one piece of a message file
NAME = "katalog für 2026 (目录).pdf"


class World:
    """A digest in the outbox: a message for two recipients, and one for a group."""

    def __init__(self, folder):
        (folder / "settings.toml").write_text(SETTINGS)
        self.settings = load(folder / "settings.toml")
        self.store = open_store(folder / "var")
        self.now = NOW
        self.woken = []
        self.actions = OperationsContext(self.store, lambda: self.settings, lambda: self.now, on_mail=lambda: self.woken.append("mail"))
        self.token = load_or_create_token(folder / "var")
        Site(self.store, at=NOW - timedelta(hours=1)).run({"1": {"title": f"Attic {EVIL}", "price": 12}}, files=[(NAME, PDF, "application/pdf")])
        self.first, self.of_group = self.built("slot 1")

    def built(self, slot):
        claim = digests.claim(self.store, "daily", ["books"], slot, owner="test", now=NOW)
        return build(self.store, self.settings, claim, owner="test", now=NOW).message_ids

    def set(self, number, **values):
        with self.store.write() as connection:
            connection.execute(update(messages).where(messages.c.id == number).values(**values))

    def answered(self, number, code, text="", **values):
        """The mail server has replied with this code for all recipients."""
        state = "accepted" if code == 250 else "refused"
        with self.store.write() as connection:
            connection.execute(update(recipients).where(recipients.c.message_id == number).values(state=state, code=code, answer=text))
        self.set(number, state="sent" if code == 250 else "parked", sent_at=NOW if code == 250 else None, **values)

    async def status(self):
        return build_snapshot(self.store, self.settings, DueTimes({}, STARTED, NOW), version="1.2.3", mask=self.actions.mask)

    def requested(self):
        """The digests that were requested again: the recipients of each."""
        with self.store.read() as connection:
            return [tuple(row.again["recipients"]) for row in connection.execute(select(claims).where(claims.c.again.is_not(None)))]


@pytest.fixture
def run():
    """One event loop is enough for pages; tests/heartbeat/http/test_app.py runs on both."""
    with loop_thread(asyncio.new_event_loop) as run:
        yield run


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.store.close()


@pytest.fixture
def port(start, world):
    return start(source=world, actions=world.actions, access=AccessPolicy(world.token)).address[1]


def signed_in(port, token):
    session = requests.Session()
    session.trust_env = False
    session.base = f"http://127.0.0.1:{port}"
    assert session.post(f"{session.base}/enter", data={"token": token}, timeout=10).status_code == 200
    return session


@pytest.fixture
def browser(port, world):
    with signed_in(port, world.token.reveal()) as session:
        yield session


def page(browser, path, status=200):
    answer = browser.get(browser.base + path, timeout=10)
    assert answer.status_code == status, answer.text
    found = html.fromstring(answer.content)
    assert not found.xpath("//script[not(@src)]"), path
    return found


def submit(browser, path, action, **changed):
    form = next(form for form in page(browser, path).forms if form.action == action)
    data = [(name, value) for name, value in form.form_values() if name not in changed]
    data += [(name, value) for name, values in changed.items() for value in ([values] if isinstance(values, str) else values)]
    return browser.post(browser.base + action, data=data, headers={"Origin": browser.base}, timeout=10, allow_redirects=False)


def text_of(found):
    return " ".join(found.cssselect("main")[0].text_content().split())
