"""Tests of the pages of messages and of the outbox, with real messages of a built digest."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update

from pipeline.heartbeat.http.operations.digests import again_offer
from pipeline.heartbeat.http.operations.message_file import attachments_of, body_of, chunks_of
from pipeline.heartbeat.http.operations.messages import trouble_of
from pipeline.model import Message, MessageState, RecipientResult
from pipeline.store.access import api_tokens
from pipeline.store.database.schema import audit_log, recipients
from pipeline.store.mail import digests, outbox
from tests.heartbeat.conftest import NOW
from tests.heartbeat.http.console.mail.built.conftest import EVIL, NAME, PDF, page, signed_in, submit, text_of


def test_a_message_is_shown_as_recipients_see_it_and_its_attachments_are_downloaded(browser, world):
    found = page(browser, f"/messages/{world.first}")
    assert found.cssselect("iframe")[0].get("sandbox") == ""
    links = found.cssselect("a[download]")
    assert [link.text for link in links][1] == NAME
    loaded = [browser.get(browser.base + link.get("href"), timeout=10) for link in links]
    assert loaded[1].content == PDF
    assert loaded[0].content.startswith(b'"change","spider"')
    assert {(answer.headers["Content-Type"], answer.headers["Content-Disposition"][:10]) for answer in loaded} == {("application/octet-stream", "attachment")}
    assert browser.head(browser.base + links[1].get("href"), timeout=10).headers["Content-Length"] == str(len(PDF))
    assert browser.get(f"{browser.base}/messages/{world.first}/attachments/3", timeout=10).status_code == 404
    world.store.files.remove(outbox.get(world.store, world.first)[0].file_key)
    assert "was deleted" in text_of(page(browser, f"/messages/{world.first}"))


def test_the_files_of_messages_are_read_as_a_mail_client_reads_them(world, tmp_path):
    stored = world.store.files.path(outbox.get(world.store, world.first)[0].file_key)
    csv, pdf = attachments_of(stored)
    assert pdf.size_bytes == len(PDF) == sum(map(len, chunks_of(stored, pdf)))
    assert csv.size_bytes == len(b"".join(chunks_of(stored, csv)))
    shown, kind = body_of(stored)
    assert (kind, "Attic" in shown, "<script>" in shown) == ("text/html", True, False)
    plain = tmp_path / "plain.eml"
    for content, body in ((b"Subject: x\r\n\r\ntext", "text"), (b"Subject: x", ""), (b"\r\n", ""), (b"", ""), (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b", "")):
        plain.write_bytes(content)
        assert (attachments_of(plain), (body_of(plain) or ("",))[0].strip()) == ([], body)


def test_a_digest_is_sent_again_to_chosen_recipients_once_however_often_the_form_is_submitted(browser, world):
    world.answered(world.first, 250)
    ask = f"/messages/{world.first}/again"
    boxes = page(browser, ask).cssselect("input[type=checkbox]")
    assert [(box.get("value"), box.get("checked") is not None) for box in boxes] == [
        ("reader@example.com", True), ("boss@example.com", True), ("group@example.com", False)]
    form = {"key": "k" * 22, "to": ["boss@example.com"]}
    assert submit(browser, ask, ask, **form).headers["Location"].startswith("/digests/daily?said=again&")
    assert submit(browser, ask, ask, **form).headers["Location"].startswith("/digests/daily?said=already&")
    assert world.requested() == [("boss@example.com",)]
    assert re.search("It was sent again already: [^,]+, boss@example.com", text_of(page(browser, ask))), "another request is made knowingly"
    assert submit(browser, ask, ask, whom="everyone").headers["Location"].startswith("/digests/daily?said=again&")
    assert world.requested()[1] == ()
    for wrong in ({"to": ["other@example.com"]}, {"to": []}, {"key": ""}, {"whom": "x"}):
        refused = submit(browser, ask, ask, **wrong)
        assert refused.status_code == 409
        assert "Go back" in refused.text
    assert len(world.requested()) == 2
    assert "Being built since" in text_of(page(browser, "/digests/daily?said=again"))


def test_a_channel_is_no_recipient_who_is_missing_in_the_settings(world):
    offer = again_offer(world.store, world.settings, world.first, ["env:OPS", "boss@example.com", "gone@example.com"], 1, now=NOW)
    assert (offer.chosen, offer.gone) == ({"boss@example.com"}, ("gone@example.com",))


def test_what_cannot_be_sent_again_says_why(browser, world):
    world.answered(world.first, 250)
    world.settings = world.settings.model_copy(update={"digests": {}})
    assert "is no longer in the settings" in text_of(page(browser, f"/messages/{world.first}/again", status=409))
    world.set(world.first, digest_id=None)
    assert "belongs to none" in text_of(page(browser, f"/messages/{world.first}/again", status=409))


def test_the_outbox_is_filtered_by_state_and_paged(browser, world, monkeypatch):
    monkeypatch.setattr("pipeline.heartbeat.http.console.mail.outbox.ROWS", 1)
    found = page(browser, "/outbox")
    assert [row.cssselect("a")[0].get("href") for row in found.cssselect("tbody tr")] == [f"/messages/{world.of_group}"]
    assert page(browser, found.cssselect("nav.pages a[rel=next]")[0].get("href")).cssselect("tbody tr a")[0].get("href") == f"/messages/{world.first}"
    world.answered(world.first, 250, created_at=datetime.now(UTC) - timedelta(days=8, hours=5))
    assert "8 d ago" in text_of(page(browser, "/outbox?state=sent"))
    assert page(browser, "/outbox?state=sent").cssselect("tbody tr a")[0].get("href") == f"/messages/{world.first}"
    assert "None." in text_of(page(browser, "/outbox?state=dropped"))


def test_parked_messages_are_retried_all_at_once_dropped_and_built_again_after_a_confirmation(browser, world):
    for number in (world.first, world.of_group):
        world.answered(number, 552, "5.3.4 too large", last_error="552 5.3.4 too large")
    assert "Build it again with less" in text_of(page(browser, f"/messages/{world.first}"))
    assert "0 waiting and 2 parked" in text_of(page(browser, "/outbox/retry"))
    submit(browser, "/outbox/retry", "/outbox/retry")
    assert [outbox.get(world.store, number)[0].state for number in (world.first, world.of_group)] == [MessageState.WAITING] * 2
    world.answered(world.first, 552, "5.3.4 too large")
    assert "built again with no attachments" in text_of(page(browser, f"/messages/{world.first}/rebuild"))
    submit(browser, f"/messages/{world.first}/rebuild", f"/messages/{world.first}/rebuild")
    assert digests.unfinished(world.store) == ["daily"]
    drop = f"/messages/{world.of_group}/drop"
    assert "Recipients who have not got it: 1" in text_of(page(browser, drop))
    submit(browser, drop, drop)
    assert outbox.get(world.store, world.of_group)[0].state is MessageState.DROPPED
    found = page(browser, drop)
    assert "sent or dropped already" in text_of(found)
    again = browser.post(browser.base + drop, data={"proof": found.forms[0].fields["proof"]}, headers={"Origin": browser.base}, timeout=10)
    assert (again.status_code, "cannot be dropped" in again.text) == (409, True)
    with world.store.read() as connection:
        outcomes = [(row.action, row.target, row.outcome) for row in connection.execute(select(audit_log).order_by(audit_log.c.id))][1:]
    assert outcomes[:3] == [("retry", "outbox", "done"), ("rebuild", f"message {world.first}", "done"), ("drop", f"message {world.of_group}", "done")]
    assert outcomes[3][2].startswith("failed: error: outbox: message")


def test_a_refused_address_names_its_digests_and_is_marked_as_seen(browser, world):
    with world.store.write() as connection:
        connection.execute(insert(recipients).values(message_id=world.first, address="gone@example.com", state="refused", code=550, answer=f"no such user {EVIL}"))
        connection.execute(update(recipients).where(recipients.c.address == "group@example.com").values(state="refused", code=550))
    rows = [" ".join(row.text_content().split()) for row in page(browser, "/outbox").cssselect("table[aria-labelledby=refused] tbody tr")]
    assert ["no digest any more" in row for row in rows] == [False, True]
    assert submit(browser, "/outbox", f"/messages/{world.first}/seen").status_code == 303
    rows = page(browser, "/outbox").cssselect("table[aria-labelledby=refused] tbody tr")
    assert [row.cssselect("th")[0].text for row in rows] == ["group@example.com"]


@pytest.mark.parametrize(("state", "code", "text", "error", "trouble"), [
    ("parked", 550, "5.1.1 no such user", "", "address"), ("parked", 553, "", "", "address"), ("parked", 550, "rejected", "", "address"),
    ("parked", 552, "", "", "content"), ("parked", 550, "5.7.1 spam", "", "content"), ("parked", 554, "no", "", "content"),
    ("parked", 0, "", "mail.example.com: 535 5.7.8 wrong password", "login"), ("waiting", 0, "", "connection refused", "other"),
    ("waiting", 0, "", "", ""), ("sent", 550, "5.1.1 no", "", "address"), ("dropped", 552, "", "552", "")])
def test_a_message_says_what_to_do_about_its_trouble(state, code, text, error, trouble):
    message = Message(1, 1, "", "", "", (), "", 1, MessageState(state), 1, NOW, NOW, None, error)
    assert trouble_of(message, [RecipientResult("a@example.com", accepted=False, code=code, text=text, retry=code < 500)]) == trouble


def test_a_session_that_may_only_read_sees_no_buttons_and_can_press_none(port, world):
    world.answered(world.first, 250)
    created = api_tokens.create(world.store, "reader", "read", now=NOW)
    with signed_in(port, created) as reader:
        for path in ("/", "/spiders/books", "/spiders/books/items/1", "/digests", "/digests/daily", "/outbox", f"/messages/{world.of_group}", f"/messages/{world.first}", "/settings"):
            assert {form.action for form in page(reader, path).forms if form.method == "POST"} == {"/sign-out"}, path
        assert "may only read" in text_of(page(reader, f"/messages/{world.of_group}/drop"))
        proof = page(reader, "/").forms[-1].fields.get("proof", "") or page(reader, "/digests").forms[0].fields["proof"]
        for path in (f"/messages/{world.of_group}/drop", "/outbox/retry", "/digests/daily/mute", f"/messages/{world.first}/again"):
            assert reader.post(reader.base + path, data={"proof": proof}, headers={"Origin": reader.base}, timeout=10).status_code == 403
