"""Tests of what holds for every page: secrets, scraped text, languages, paths that do not exist."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import quote

import requests
from lxml import html

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.client import HeartbeatClient
from pipeline.heartbeat.protocols.commands import COMMANDS
from tests.heartbeat.http.console.world import EVERY_SECRET, LEAK, page


def test_scraped_text_is_never_markup(browser, world):
    first, failed = world.fill()
    for path in ("/", "/spiders/books", f"/runs/{first.id}", f"/runs/{failed.id}", "/digests", "/outbox",
                 f"/messages/{world.parked}"):
        answer = browser.get(browser.base + path, timeout=10)
        assert not html.fromstring(answer.content).xpath("//script[not(@src)]"), path
        assert "\x1b" not in answer.text


def test_the_pages_are_in_the_language_of_the_settings(browser, world):
    world.fill()
    table = world.settings.pipeline.model_copy(update={"language": "zh"})
    world.settings = world.settings.model_copy(update={"pipeline": table})
    found = page(browser, "/")
    assert found.get("lang") == "zh"
    assert "最近一次运行失败" in found.text_content()


def test_missing_pages_are_404(browser):
    for path in ("/spiders/none", "/runs/99", "/runs/99/events", "/runs/x", "/messages/99", "/messages/99/body",
                 "/spiders/..%2f..%2fetc", "/runs/-1", "/runs/" + "9" * 40):
        assert browser.get(browser.base + path, timeout=10).status_code == 404, path


def test_no_configured_secret_is_in_any_answer(start, world):
    """Of any page there is, of any line and datagram; and of what is refused."""
    first, failed = world.fill()
    world.run("live", 5, None, pages=3)
    leaking = world.message("[books] as it was sent", f"<p>{escape(LEAK)}</p>")
    heartbeat = start(source=world, actions=world.actions, access=AccessPolicy(world.token), udp=True)
    places = {"name": ["books", "idle", "nobody"], "id": [first.id, failed.id, world.sent, world.parked, leaking, 999]}
    routes = {resource.canonical for resource in heartbeat.http_app.router.resources()}
    paths = {re.sub("{.*}", str(value), route) for route in routes
             for value in next((places[name] for name in places if f"{{{name}}}" in route), [""])}
    assert len(paths) > 40
    paths -= {"/events"}  # it does not end; its rows are those of the overview
    bearer = {"Authorization": f"Bearer {world.token.reveal()}"}
    answers = []
    with requests.Session() as session:
        session.trust_env = False
        for path in sorted(paths):
            for method, headers in (("GET", bearer), ("GET", {}), ("GET", {"Host": f"{LEAK.split()[0]}.example"}), ("POST", bearer)):
                if method == "POST" and path.endswith("/events"):
                    continue
                with session.request(method, f"http://127.0.0.1:{heartbeat.address[1]}{path}", headers=headers, timeout=30,
                                     stream=True, allow_redirects=False) as found:
                    answers.append(f"{found.headers} {found.text}")
    client = HeartbeatClient(*heartbeat.address)
    lines = [*(name for name in COMMANDS if name != "quit"), "spider books", "spider nobody", "token x"]
    answers += [client.ask(line) for line in lines]
    answers += [client.ask_datagram(line) for line in ("health", "spiders", "runs")]
    assert sum("****" in answer for answer in answers) > 8, "something was there to be masked"
    for answer in answers:
        for secret in (*EVERY_SECRET, world.token.reveal()):
            assert secret not in answer
            assert escape(secret) not in answer
            assert quote(secret, safe="") not in answer


def test_files_of_data_dir_are_not_served(browser, world):
    world.fill()
    for path in ("/var/heartbeat-token", "/heartbeat-token", "/logs/runs/1.log", "/templates/base.html",
                 "/messages/../heartbeat-token", "/downloads/books/0.pdf"):
        assert browser.get(browser.base + path, timeout=10).status_code == 404
