"""Tests of who may open the pages and press their buttons."""

from __future__ import annotations

import os
import stat

import pytest
import requests

from pipeline.errors import HeartbeatError
from pipeline.heartbeat.token import TOKEN_FILE, Token, load_or_create_token
from pipeline.store.runs import paused_spiders
from tests.heartbeat.conftest import NOW
from tests.heartbeat.http.console.world import proof_of


def test_the_token_is_created_once_and_readable_by_its_owner_only(tmp_path):
    first = load_or_create_token(tmp_path)
    assert len(first.reveal()) >= 40
    assert load_or_create_token(tmp_path).reveal() == first.reveal()
    assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [TOKEN_FILE]
    assert first.reveal() not in repr(first)


def test_an_empty_token_file_is_refused(tmp_path):
    (tmp_path / TOKEN_FILE).write_text("\n")
    with pytest.raises(HeartbeatError, match="too short"):
        load_or_create_token(tmp_path)


def test_the_link_sets_a_cookie_that_scripts_and_other_sites_cannot_use_and_leaves_no_token_in_the_address(port, world):
    answer = requests.get(f"http://127.0.0.1:{port}/?token={world.token.reveal()}", timeout=10, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert world.token.reveal() not in cookie


@pytest.mark.parametrize("path", ["/spiders/books", "/runs/1", "/runs/1/events", "/digests", "/outbox", "/messages/1",
                                  "/messages/1/body"])
def test_pages_with_scraped_content_need_the_token(port, world, path):
    world.fill()
    for options in ({}, {"headers": {"Authorization": "Bearer wrong"}}, {"cookies": {world.token.cookie_name: "wrong"}}):
        answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=10, **options)
        assert answer.status_code == 403
        assert "pipeline url" in answer.text
    opened = requests.get(f"http://127.0.0.1:{port}{path}", timeout=10, stream=True,
                          headers={"Authorization": f"Bearer {world.token.reveal()}"})
    assert opened.status_code == 200
    opened.close()


def test_a_wrong_token_is_refused_and_the_right_one_can_be_entered(port, world):
    assert requests.get(f"http://127.0.0.1:{port}/?token=wrong", timeout=10).status_code == 403
    answer = requests.post(f"http://127.0.0.1:{port}/enter", data={"token": world.token.reveal()}, timeout=10,
                           allow_redirects=False)
    assert answer.status_code == 303


def test_status_health_and_metrics_need_no_token_on_this_machine(port):
    for path in ("/", "/healthz", "/livez", "/readyz", "/status.json", "/metrics"):
        assert requests.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code in (200, 503)


def test_another_site_cannot_press_a_button(browser, world, port):
    action = f"{browser.base}/spiders/books/pause"
    proof = proof_of(browser)
    for data, headers in (({}, {}), ({"proof": "0"}, {}), (proof, {"Origin": "http://evil.example"}),
                          (proof, {"Origin": "null"}), (proof, {"Origin": f"http://127.0.0.1:{port + 1}"}),
                          (proof, {"Sec-Fetch-Site": "same-site"}), (proof, {"Sec-Fetch-Site": "cross-site"})):
        assert browser.post(action, data=data, headers=headers, timeout=10).status_code == 403
    assert requests.post(action, data=proof, timeout=10).status_code == 403, "no cookie"
    assert browser.get(action, timeout=10).status_code == 405
    assert not paused_spiders.paused_spiders(world.store, now=NOW)


def test_a_script_with_the_token_needs_no_form(port, world):
    answer = requests.post(f"http://127.0.0.1:{port}/spiders/idle/run", timeout=10, allow_redirects=False,
                           headers={"Authorization": f"Bearer {world.token.reveal()}"})
    assert answer.status_code == 303
    unknown = requests.post(f"http://127.0.0.1:{port}/spiders/none/run", timeout=10,
                            headers={"Authorization": f"Bearer {world.token.reveal()}"})
    assert (unknown.status_code, unknown.text) == (409, "error: settings.toml: spiders: no spider named 'none'\n")


def test_two_services_on_one_host_do_not_accept_each_others_cookies():
    assert Token("a" * 40).cookie_name != Token("b" * 40).cookie_name
