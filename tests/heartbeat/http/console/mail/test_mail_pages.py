"""Tests of the pages of digests, the outbox and messages, with real messages of a built digest."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from lxml import html
from sqlalchemy import insert, select, update

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.http.console.mail.previews import KeptPreviews
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.http.operations.digests import again_offer
from pipeline.heartbeat.http.operations.message_file import attachments_of, body_of, chunks_of
from pipeline.heartbeat.http.operations.messages import trouble_of
from pipeline.heartbeat.http.operations.service_actions import PreviewedMail
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.heartbeat.token import load_or_create_token
from pipeline.mail.digests.build import build
from pipeline.model import Message, MessageState, RecipientResult
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.access import api_tokens
from pipeline.store.database.schema import ai_requests, audit_log, messages, recipients
from pipeline.store.database.schema import digests as claims
from pipeline.store.mail import digest_mutes, digests, outbox
from pipeline.store.mail.judgements import Judgement, keep_judgements
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


def test_the_page_of_a_digest_says_what_it_has_asked_the_language_model(browser, world):
    assert "Language model" not in text_of(page(browser, "/digests/daily"))
    file = Path(world.settings.file)
    file.write_text(SETTINGS.replace("[digests.daily]\n", "[digests.daily]\nsummary = true\n")
                    + '[ai]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\nprice_input = 2.0\ncurrency = "EUR"\n')
    world.settings = load(file)
    for days, digest, tokens, error in ((40, "daily", 10**6, ""), (3, "daily", 1_500_000, ""), (2, "other", 7, "no"), (1, "daily", 0, "the language model did not answer in time")):
        with world.store.write() as connection:
            connection.execute(insert(ai_requests).values(digest=digest, purpose="summary", model="m", state="failed" if error else "done", input_tokens=tokens,
                                                          output_tokens=0, error=error, started_at=NOW - timedelta(days=days), ended_at=NOW - timedelta(days=days)))
    found = text_of(page(browser, "/digests/daily"))
    assert "Language model2 requests in 30 days, 1,500,000 tokens, 3.00 EUR; failed requests: 1. Last error: the language model did not answer in time, " in found
    assert "Language model" not in text_of(page(browser, "/digests/empty"))


def test_the_page_of_the_digests_lists_each_with_spiders_schedule_and_recipients(browser, world):
    world.answered(world.first, 250)
    digest_mutes.mute(world.store, "empty", until=NOW + timedelta(days=1))
    daily, empty = [" ".join(row.text_content().split()) for row in page(browser, "/digests").cssselect("tbody tr")]
    assert "reader@example.com, boss@example.com, group@example.com" in daily
    assert "books" in daily
    assert "muted until 2026-11-23" in empty


def test_a_digest_shows_what_was_sent_to_whom_with_which_attachments_by_pages(browser, world, monkeypatch):
    monkeypatch.setattr("pipeline.heartbeat.http.console.mail.digests.ROWS", 1)
    world.answered(world.first, 250)
    found = page(browser, "/digests/daily")
    assert "nothing: no run has ended since the last digest" in text_of(found)
    row, = found.cssselect("tbody tr")
    assert "group@example.com" in row.text_content()
    older = page(browser, found.cssselect("nav.pages a[rel=next]")[0].get("href"))
    row, = older.cssselect("tbody tr")
    assert "boss@example.com, reader@example.com" in " ".join(row.text_content().split())
    assert re.search(r"daily-2026-11-2\d\.csv, katalog für 2026 \(目录\)\.pdf", row.text_content())
    assert not older.cssselect("nav.pages a[rel=next]")
    assert page(browser, "/digests/daily?after=9999-1").cssselect("tbody tr")
    missing = page(browser, "/digests/none", status=404)
    assert "There is no such page" in text_of(missing)
    assert missing.cssselect("header nav"), "from there a person can go on"


def test_what_a_digest_leaves_out_is_listed_with_what_the_model_said(browser, world, monkeypatch):
    monkeypatch.setattr("pipeline.heartbeat.http.console.mail.left_out.ROWS", 2)
    world.settings = with_only_if(world, "it is not old")
    Site(world.store, at=NOW, slots=7).run({str(number): {"title": f"Book {number}", "note": EVIL} for number in range(2, 6)})
    found = list(digests.changes_of(world.store, [2]))
    own, of_other = [Judgement(found[0].id, "0", False, f"It is old {EVIL}"), Judgement(found[1].id, "0", True, "new"), Judgement(found[2].id, "0", False, "old")], \
        [Judgement(found[3].id, "0", False, "large")]
    keep_judgements(world.store, "daily", "it is not old", own, now=NOW)
    keep_judgements(world.store, "daily", "it is small", of_other, now=NOW)  # as the settings were before
    keep_judgements(world.store, "daily", "it is not old", [Judgement(found[2].id, "1", True, "new again")], now=NOW)  # it became another change
    digest = page(browser, "/digests/daily")
    assert "Only if“it is not old”" in text_of(digest)
    assert "Summary“which are new?”" in text_of(digest)
    assert digest.xpath("//a[@href='/digests/daily/left-out']/text()") == ["2 changes"]
    keep_judgements(world.store, "daily", "it is not old", [Judgement(found[1].id, "1", False, "old after all")], now=NOW)
    first = page(browser, "/digests/daily/left-out")
    assert [row.text_content() for row in first.xpath("//tbody/tr/th | //tbody/tr/td[3]")] == ["Book 3", "Book 5"]
    assert "old after all" in text_of(first)
    assert "largeto a condition that the settings no longer have" in text_of(first)
    second = page(browser, first.xpath("//a[@rel='next']/@href")[0])
    assert "It is old <script>alert(1)</script>\\u202e" in text_of(second)
    assert "Book 2" in text_of(second)
    _, of_mail = world.built("slot 2"), page(browser, "/digests/daily/left-out?of=2")
    assert "Book 3" in text_of(of_mail)
    assert "Book 3" not in text_of(page(browser, "/digests/daily/left-out?of=1"))
    page(browser, "/digests/daily/left-out?of=99", status=404)

    def asked(path, status=200):
        answer = requests.get(f"{browser.base}/api/v1/digests/daily/left-out{path}", headers={"Authorization": f"Bearer {world.token.reveal()}"}, timeout=10)
        assert answer.status_code == status
        return answer.json()

    assert [(each["change"]["key"], each["question"], each["reason"]) for each in asked("?limit=2")["items"]] == [
        ("3", "it is not old", "old after all"), ("5", None, "large")]
    assert len(asked("?digest_id=2")["items"]) == 3
    assert asked("?digest_id=1")["items"] == []
    assert asked("?digest_id=99", 404)["type"].endswith("not-found")


def with_only_if(world, condition):
    file = world.settings.folder / "settings.toml"
    file.write_text(SETTINGS.replace('schedule = "daily', f'only_if = "{condition}"\nsummary = "which are new?"\nschedule = "daily') + '[ai]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "none"\n')
    return load(file)


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


def test_a_digest_is_muted_for_a_time_and_unmuted(browser, world):
    submit(browser, "/digests/daily", "/digests/daily/mute", hours="72")
    assert digest_mutes.muted_until(world.store, now=NOW) == {"daily": NOW + timedelta(days=3)}
    submit(browser, "/digests/daily", "/digests/daily/unmute")
    assert digest_mutes.muted_until(world.store, now=NOW) == {}
    submit(browser, "/digests/daily", "/digests/daily/mute", until="2026-12-24T08:00")
    assert "muted until 2026-12-24 08:00" in text_of(page(browser, "/digests/daily")), "a time in the zone of the pages"
    submit(browser, "/digests/daily", "/digests/daily/unmute")
    submit(browser, "/digests/daily", "/digests/daily/mute", until="2026-12-24T08:00-05:00")  # as a script may give it
    assert digest_mutes.muted_until(world.store, now=NOW)["daily"].isoformat()[:16] == "2026-12-24T13:00"
    submit(browser, "/digests/daily", "/digests/daily/unmute")
    for wrong in ({"until": "2020-01-01T00:00"}, {"until": "soon"}, {"hours": "1"}):
        assert submit(browser, "/digests/daily", "/digests/daily/mute", **wrong).status_code == 409


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


def test_previews_are_kept_for_their_frames_only_a_few_and_for_some_minutes():
    at = [0.0]
    kept = KeptPreviews(lambda: at[0])
    keys = [kept.add("daily", [PreviewedMail("daily", str(number))]) for number in range(10)]
    assert kept.find("daily", keys[9], 0).text == "9"
    assert kept.find("other", keys[9], 0) is None
    assert kept.find("daily", keys[9], 1) is None
    assert kept.find("daily", keys[0], 0) is None, "only the last eight"
    large = [kept.add("daily", [PreviewedMail("daily", "", "x" * (17 * 2**20))]) for _ in range(2)]
    assert [kept.find("daily", key, 0) is not None for key in large] == [False, True]
    at[0] = 601.0
    assert kept.find("daily", large[1], 0) is None
