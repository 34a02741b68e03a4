"""Tests of the pages of digests: sent, left out, asked of the language model, muted, previewed."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import requests
from sqlalchemy import insert

from pipeline.heartbeat.http.console.mail.previews import KeptPreviews
from pipeline.heartbeat.http.operations.service_actions import PreviewedMail
from pipeline.settings import load
from pipeline.store.database.schema import ai_requests
from pipeline.store.mail import digest_mutes, digests
from pipeline.store.mail.judgements import Judgement, keep_judgements
from tests.heartbeat.conftest import NOW
from tests.heartbeat.http.console.mail.built.conftest import EVIL, SETTINGS, page, submit, text_of
from tests.mail.conftest import Site


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
