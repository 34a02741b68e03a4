"""Tests of messages in the outbox: how they are shown, tried again and marked as seen."""

from __future__ import annotations

from sqlalchemy import insert

from pipeline.model import (
    MessageState,
)
from pipeline.store.database.schema import recipients
from pipeline.store.mail import outbox
from tests.heartbeat.http.console.world import HTML, LEAK, page, press, proof_of


def test_a_digest_is_shown_as_it_was_sent_in_a_sandbox(browser, world):
    world.fill()
    assert "[books] 40 new" in page(browser, "/outbox?state=sent").text_content()
    frame, = page(browser, f"/messages/{world.sent}").cssselect("iframe")
    assert frame.get("sandbox") == ""
    body = browser.get(browser.base + frame.get("src"), timeout=10)
    assert body.text == HTML
    policy = body.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox;")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert body.headers["X-Frame-Options"] == "SAMEORIGIN"


def test_a_parked_message_is_retried(browser, world):
    world.fill()
    press(browser, "/outbox", f"/messages/{world.parked}/retry")
    assert outbox.get(world.store, world.parked)[0].state is MessageState.WAITING
    assert world.woken == ["mail"]
    again = browser.post(f"{browser.base}/messages/{world.sent}/retry", data=proof_of(browser), timeout=10)
    assert again.status_code == 409


def test_a_refused_address_is_marked_as_seen(browser, world):
    world.fill()
    with world.store.write() as connection:
        connection.execute(insert(recipients).values(message_id=world.sent, address="gone@<b>.example", state="refused", code=550, answer=LEAK))
    press(browser, "/outbox", f"/messages/{world.sent}/seen")
    again = browser.post(f"{browser.base}/messages/{world.sent}/seen", data=proof_of(browser), timeout=10)
    assert again.status_code == 409
