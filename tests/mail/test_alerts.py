"""Tests that each problem is reported once when it starts and once when it ends, with a rate limit."""

from __future__ import annotations

import email
from collections.abc import Sequence
from datetime import timedelta
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from threading import Barrier, Thread

import pytest

from pipeline.mail.alerts import TAIL_LINES, check, tail
from pipeline.model import MessageState, Outcome
from pipeline.store.mail import alerts
from pipeline.store.mail import outbox as stored
from pipeline.store.mail.alerts import AlertCondition, AlertKind
from tests.mail.conftest import NOW

BOOK = {"title": "A Light in the Attic"}
ALERTS = '[alerts]\nto = ["Ops <ops@example.com>"]\n'


@pytest.fixture
def settings(settings_from):
    return settings_from(digest=ALERTS, spiders=("books", "news"))


@pytest.fixture
def look(store, settings, clock, tmp_path):
    """Evaluates the alerts; the id of a message, or None."""
    def now(*, late: Sequence[AlertCondition] = (), with_settings=settings) -> int | None:
        return check(store, with_settings, late=late, log_of=lambda run_id: tmp_path / f"{run_id}.log", now=clock())

    return now


def mails(store) -> list[EmailMessage]:
    found = stored.list_messages(store, (MessageState.WAITING,))
    return [email.message_from_bytes(store.files.path(message.file_key).read_bytes(), policy=default) for message in found]


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return part.get_content().replace("\r\n", "\n")


def fail(site, times: int = 1, **options) -> None:
    for _ in range(times):
        site.run(None, outcome=Outcome.FAILED, error="books.test: the login was not proved", **options)


def test_three_failures_in_a_row_are_reported_once_and_their_end_once(store, site, look, clock, tmp_path) -> None:
    good = site.run({"1": BOOK})
    fail(site, 2)
    assert look() is None
    fail(site)
    run_id = good.id + 3
    (tmp_path / f"{run_id}.log").write_text("first\nGET /login\nfailed <b>here</b>\x1b[31m\n", "utf-8")
    message_id = look()
    assert message_id is not None
    mail, = mails(store)
    assert mail["Subject"] == "[alert] books failed 3 times in a row"
    assert stored.get(store, message_id)[0].recipients == ("ops@example.com",)
    assert mail["Auto-Submitted"] == "auto-generated"
    text = text_of(mail)
    assert "Message: books.test: the login was not proved" in text
    assert f"Last successful run: run {good.id}, 2026-11-22" in text
    assert f"Last run: run {run_id}, 2026-11-22" in text
    assert "  | GET /login\n  | failed <b>here</b>" in text
    assert "\x1b" not in text
    assert "&lt;b&gt;here&lt;/b&gt;" in text_of(mail, "html")
    for _ in range(5):
        clock.forward(minutes=10)
        fail(site)
        assert look() is None
    site.run({"1": BOOK})
    assert look() is not None
    over = mails(store)[1]
    assert over["Subject"] == "[alert] books succeeds again"
    assert "Duration: 1 h 4" in text_of(over)
    clock.forward(days=1)
    assert look() is None


def test_a_suspect_run_is_a_problem_until_items_are_found_again(store, site, look, clock) -> None:
    site.run({"1": BOOK})
    site.run({})
    assert look() is not None
    assert "books is suspect: no items were found, although the spider had 1 item before" in mails(store)[0]["Subject"]
    clock.forward(hours=1)
    fail(site)  # a failure says nothing about the items
    assert look() is None
    site.run({"1": BOOK})
    assert look() is not None
    assert mails(store)[1]["Subject"] == "[alert] books is no longer suspect"


def test_failures_that_end_in_a_suspect_run_are_not_reported_as_success(store, site, look, clock) -> None:
    fail(site, 3)
    assert look() is not None
    clock.forward(minutes=10)
    site.run({}, doubt="`items.each` matched nothing on 3 pages")
    assert look() is not None
    over = mails(store)[1]
    assert over["Subject"] == ("[alert] books is suspect: `items.each` matched nothing on 3 pages, books no longer fails, but its last run is suspect")
    assert "succeeds again" not in text_of(over)
    assert text_of(over).count("Message: `items.each` matched nothing on 3 pages") == 2
    clock.forward(hours=2)
    fail(site, 3)
    assert look() is not None
    clock.forward(hours=2)
    site.run({}, doubt="`items.each` matched nothing on 3 pages")
    assert look() is not None
    assert mails(store)[3]["Subject"] == "[alert] books no longer fails, but its last run is suspect"
    clock.forward(minutes=10)
    site.run({"1": BOOK})
    assert look() is not None
    assert mails(store)[4]["Subject"] == "[alert] books is no longer suspect"


def test_a_spider_that_is_removed_or_still_fails_is_not_reported_as_success(store, site, look, settings_from) -> None:
    fail(site, 3)
    site.run({}, spider="news", doubt="the feed has no entry")
    assert look() is not None
    less = settings_from(digest=ALERTS + "after = 5\nevery = \"0s\"\n", spiders=("books",))
    assert look(with_settings=less) is not None
    assert mails(store)[1]["Subject"] == "[alert] news is no longer in the settings"
    assert look(with_settings=less) is None
    site.run({"1": BOOK})
    assert look(with_settings=less) is not None
    assert mails(store)[2]["Subject"] == "[alert] books succeeds again"


def test_lateness_is_reported_with_its_due_time_and_not_in_addition_to_failing(store, site, look, clock) -> None:
    due = NOW - timedelta(hours=2)
    assert look(late=[AlertCondition("news", AlertKind.LATE, due)]) is not None
    mail, = mails(store)
    assert "news is late" in mail["Subject"]
    assert "Since: 2026-11-22 06:00:00 UTC" in text_of(mail)
    assert "Last successful run: never" in text_of(mail)
    clock.forward(minutes=10)
    fail(site, 3)
    assert look(late=[AlertCondition("news", AlertKind.LATE, due), AlertCondition("books", AlertKind.LATE, due)]) is not None
    assert mails(store)[1]["Subject"] == "[alert] books failed 3 times in a row"
    clock.forward(minutes=10)
    assert look() is not None
    assert mails(store)[2]["Subject"] == "[alert] news is no longer late"


def test_many_problems_share_one_mail_and_the_next_mail_waits(store, site, look, clock, settings_from) -> None:
    names = [f"s{number}" for number in range(30)]
    many = settings_from(digest=ALERTS, spiders=names)
    for name in names[:25]:
        fail(site, 3, spider=name)
    assert look(with_settings=many) is not None
    mail, = mails(store)
    assert mail["Subject"] == ("[alert] s0 failed 3 times in a row, s1 failed 3 times in a row, "
                               "s2 failed 3 times in a row, and 22 more")
    assert "and 5 more" in text_of(mail)
    for name in names[25:]:
        clock.forward(seconds=30)
        fail(site, 3, spider=name)
        assert look(with_settings=many) is None
    clock.forward(minutes=5)
    assert look(with_settings=many) is not None
    assert "s25 failed 3 times in a row" in mails(store)[1]["Subject"]


def test_a_flapping_spider_is_reported_at_most_once_an_hour(store, site, look, clock) -> None:
    started = 0
    for _ in range(24 * 6):
        clock.forward(minutes=5)
        site.at = clock()
        fail(site, 3)
        look()
        clock.forward(minutes=5)
        site.at = clock()
        site.run({"1": BOOK})
        look()
    started = sum("in a row" in mail["Subject"] for mail in mails(store))
    assert started <= 24
    assert len(mails(store)) == 2 * started


def test_without_recipients_there_is_no_alert_and_a_removed_spider_ends_its_alert(store, site, look, clock, settings_from) -> None:
    fail(site, 3)
    assert look(with_settings=settings_from()) is None
    assert mails(store) == []
    assert look() is not None
    clock.forward(hours=1)
    assert look(with_settings=settings_from(digest=ALERTS, spiders=("news",))) is not None
    assert mails(store)[1]["Subject"] == "[alert] books is no longer in the settings"


def test_two_services_at_the_same_moment_send_one_alert(store, site, settings, tmp_path) -> None:
    fail(site, 3)
    together = Barrier(4)

    def evaluate() -> None:
        together.wait(10)
        check(store, settings, late=[], log_of=lambda _: tmp_path / "none", now=NOW)

    threads = [Thread(target=evaluate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(mails(store)) == 1


def test_a_kill_between_rendering_and_recording_loses_no_alert(store, site, look, monkeypatch) -> None:
    fail(site, 3)

    class KilledError(Exception):
        pass

    def killed(*_arguments: object, **_options: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(alerts, "enqueue_alert", killed)
        with pytest.raises(KilledError):
            look()
    assert mails(store) == []
    assert look() is not None
    assert len(mails(store)) == 1


def test_secrets_are_masked_in_message_and_log(store, site, look, settings_from, tmp_path) -> None:
    (tmp_path / "secret").write_text("correct horse")
    settings = settings_from(digest=ALERTS + '[spiders.books.login]\nurl = "http://site.test/login"\ncheck = "a"\n'
                             'fields = { username = "me", password = { file = "secret" } }\n')
    for _ in range(3):
        run = site.run(None, outcome=Outcome.FAILED, error="refused: password=correct horse")
    (tmp_path / f"{run.id}.log").write_text("sent correct horse\n")
    assert look(with_settings=settings) is not None
    whole = mails(store)[0].as_string() + text_of(mails(store)[0]) + text_of(mails(store)[0], "html")
    assert "correct horse" not in whole
    assert "password=****" in whole


def test_an_alert_in_chinese(store, site, look, settings_from) -> None:
    fail(site, 3)
    assert look(with_settings=settings_from(digest=ALERTS + 'language = "zh"\n')) is not None
    assert mails(store)[0]["Subject"] == "[告警] books 连续失败 3 次"


def test_the_tail_of_a_huge_log_is_short_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 100 + b"\n" + b"line\n" * 500_000 + b"\xff last\n")
    lines = tail(tmp_path / "log").split("\n")
    assert len(lines) == TAIL_LINES
    assert lines[-1] == "\ufffd last"
    assert tail(tmp_path / "none") == ""


def test_a_recipient_whose_address_is_not_ascii_gets_an_alert_of_their_own(store, site, look, settings_from) -> None:
    mixed = settings_from(digest='[alerts]\nto = ["ops@example.com", "jürgen@example.com", "Ü <on-call@example.com>"]\n')
    fail(site, 3)
    assert look(with_settings=mixed) is not None
    messages = stored.list_messages(store, (MessageState.WAITING,))
    assert [set(message.recipients) for message in messages] == [{"ops@example.com", "on-call@example.com"}, {"jürgen@example.com"}]
    assert len({mail["Message-ID"] for mail in mails(store)}) == 2
    assert look(with_settings=mixed) is None
