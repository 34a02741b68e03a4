"""Tests of "Go back" on the pages of errors.

It leads to a page that exists, whatever the action was about.
"""

from __future__ import annotations

import re

import pytest
import requests
from sqlalchemy import update

from pipeline.heartbeat.access import AccessPolicy
from pipeline.store.database.schema import runs
from tests.heartbeat.http.console.world import page, press, proof_of, stored_items

# Where each action leads back to if what it is about is gone. A new action needs a line here, and in pipeline/heartbeat/http/console/pages_above.py.
BACK = {
    "/spiders/{name}/items/{id}/forget": "/spiders/books/items",
    "/messages/{id}/retry": "/outbox", "/messages/{id}/drop": "/outbox", "/messages/{id}/rebuild": "/outbox", "/messages/{id}/again": "/outbox",
    "/messages/{id}/seen": "/outbox",
    "/digests/{name}/send": "/digests", "/digests/{name}/mute": "/digests", "/digests/{name}/unmute": "/digests",
    "/runs/{id}/stop": "/",
    "/spiders/{name}/run": "/", "/spiders/{name}/pause": "/", "/spiders/{name}/resume": "/", "/spiders/{name}/clear-cookies": "/",
    "/spiders/{name}/try": "/", "/spiders/{name}/save": "/", "/spiders/{name}/mend": "/", "/spiders/{name}/apply": "/",
    "/new-spider/suggest": "/new-spider", "/new-spider/draft": "/new-spider", "/new-spider/try": "/new-spider", "/new-spider/save": "/new-spider",
    "/settings/reload": "/settings",
}
ALWAYS_DONE = {"/outbox/retry", "/enter", "/sign-out"}


@pytest.fixture(autouse=True)
def opened(browser):
    browser.opened = set()


@pytest.fixture
def heartbeat(start, world):
    return start(source=world, actions=world.actions, access=AccessPolicy(world.token))


@pytest.fixture
def port(heartbeat):
    return heartbeat.address[1]


def back_from(browser, answer: requests.Response) -> str:
    """The page to which the page of an error leads back, which must exist; each is opened once."""
    link = re.search(r'<p><a href="([^"]*)">(Go back|Overview)</a></p>', answer.text)
    assert link is not None, answer.text
    assert (link[2] == "Overview") == (link[1] == "/")
    if link[1] not in browser.opened:
        page(browser, link[1])
        browser.opened.add(link[1])
    return link[1]


def test_every_action_on_something_that_is_gone_leads_back_to_a_page_that_exists(browser, world, heartbeat):
    world.fill()
    actions = {route.resource.canonical for route in heartbeat.http_app.router.routes()
               if route.method == "POST" and not route.resource.canonical.startswith("/api/")}
    assert actions == BACK.keys() | ALWAYS_DONE
    proof = proof_of(browser)
    for action, back in BACK.items():
        path = action.replace("{name}", "books" if "/items/" in action else "nobody").replace("{id}", "99999")
        for form, statuses in ((proof, (404, 409, 422)), ({}, (403,))):
            answer = browser.post(browser.base + path, data=form, headers={"Origin": browser.base}, timeout=10, allow_redirects=False)
            assert answer.status_code in statuses, (path, answer.status_code)
            if 'class="draft"' not in answer.text and 'class="fields"' not in answer.text:  # a form for a new spider is shown again, with what was wrong
                assert back_from(browser, answer) == back, path


def test_an_item_that_was_forgotten_before_leads_back_to_the_items_and_without_a_spider_to_the_overview(browser, world):
    stored_items(world)
    own = next(link.get("href") for link in page(browser, "/spiders/books/items").cssselect("th a") if re.fullmatch(r"/spiders/books/items/\d+", link.get("href")))
    form = {"data": proof_of(browser), "headers": {"Origin": browser.base}, "timeout": 10, "allow_redirects": False}
    assert press(browser, own, f"{own}/forget").status_code == 303
    again = browser.post(f"{browser.base}{own}/forget", **form)
    assert "What this button acts on was deleted" in again.text
    reloaded = browser.get(browser.base + own, timeout=10)
    assert (again.status_code, reloaded.status_code) == (404, 404)
    assert back_from(browser, again) == back_from(browser, reloaded) == "/spiders/books/items"
    world.settings = world.settings.model_copy(update={"spiders": {}, "digests": {}})
    with world.store.write() as connection:
        connection.execute(update(runs).values(spider="former"))
    browser.opened.clear()
    assert back_from(browser, browser.post(f"{browser.base}{own}/forget", **form)) == "/"


def test_what_still_exists_is_the_page_that_an_error_leads_back_to(browser, world):
    first, _ = world.fill()
    form = proof_of(browser) | {"hours": "5", "until": "soon", "reason": ""}
    for action in ("/spiders/books/pause", "/digests/books/mute", f"/runs/{first.id}/stop", f"/messages/{world.sent}/drop"):
        answer = browser.post(browser.base + action, data=form, headers={"Origin": browser.base}, timeout=10)
        assert answer.status_code == 409
        assert back_from(browser, answer) == action.rpartition("/")[0]
