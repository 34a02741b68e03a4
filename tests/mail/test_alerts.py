"""Tests that each problem is reported once when it starts and once when it ends, with a rate limit."""

from __future__ import annotations

import email
import json
import re
from collections.abc import Sequence
from datetime import UTC, timedelta
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from threading import Barrier, Thread
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select, update

from pipeline.mail.alerts import check
from pipeline.mail.render.log_tail import TAIL_LINES, tail
from pipeline.model import MessageState, Outcome
from pipeline.store.database.schema import runs
from pipeline.store.health.proxy_health import PoolHealth, ProxyHealth
from pipeline.store.mail import alerts
from pipeline.store.mail import outbox as stored
from pipeline.store.mail.alerts import AlertCondition, AlertKind
from pipeline.store.session_files import PROXIES, files_of
from tests.mail.conftest import NOW
from tests.mail.html_features import JUDGED, features_of

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
    assert mail["Subject"] == "[alert] books failed 3 times in a row: the login was not proved"
    assert stored.get(store, message_id)[0].recipients == ("ops@example.com",)
    assert mail["Auto-Submitted"] == "auto-generated"
    text = text_of(mail)
    assert "* books failed 3 times in a row\n  books.test: the login was not proved\n" in text
    assert f"Last successful run: run {good.id}, Sun 22 Nov 2026" in text
    assert f"Last run: run {run_id}, Sun 22 Nov 2026" in text
    assert "  Tried: 3 runs" in text
    assert "  What to do\n  1. `pipeline try books`" in text
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
    assert "Duration: 1 hr 4" in text_of(over)
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
    assert over["Subject"] == "[alert] books is suspect; books no longer fails, but its last run is suspect"
    assert "succeeds again" not in text_of(over)
    assert text_of(over).count("\n  `items.each` matched nothing on 3 pages\n") == 2
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
    assert "Since: Sun 22 Nov 2026 06:00 (2 hr)" in text_of(mail)
    assert "Last successful run: never" in text_of(mail)
    clock.forward(minutes=10)
    fail(site, 3)
    assert look(late=[AlertCondition("news", AlertKind.LATE, due), AlertCondition("books", AlertKind.LATE, due)]) is not None
    assert mails(store)[1]["Subject"].startswith("[alert] books failed 3 times in a row")
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
    assert mail["Subject"] == "[alert] 25 spiders failed: s0, s1, s2, …"
    assert "and 5 more" in text_of(mail)
    for name in names[25:]:
        clock.forward(seconds=30)
        fail(site, 3, spider=name)
        assert look(with_settings=many) is None
    clock.forward(minutes=5)
    assert look(with_settings=many) is not None
    assert mails(store)[1]["Subject"] == "[alert] 5 spiders failed: s25, s26, s27, …"


def test_a_flapping_spider_is_reported_at_most_once_an_hour(store, site, look, clock) -> None:
    for _ in range(6 * 3):
        clock.forward(minutes=5)
        site.at = clock()
        fail(site, 3)
        look()
        clock.forward(minutes=5)
        site.at = clock()
        site.run({"1": BOOK})
        look()
    started = sum("in a row" in mail["Subject"] for mail in mails(store))
    assert 0 < started <= 3
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
        together.wait(20)
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
    assert mails(store)[0]["Subject"] == "[告警] books 连续失败 3 次：the login was not proved"


def test_the_end_of_a_log_of_json_is_plain_text_in_the_zone_of_the_reader(tmp_path: Path) -> None:
    own, foreign = tmp_path / "spiders" / "mine.py", "/usr/lib/python3.12/site-packages/scrapy/core/scraper.py"
    traceback = f'Traceback (most recent call last):\n  File "{foreign}", line 8, in call\n    await it\n  File "{own}", line 6, in parse\n    x = 1 / 0\nZeroDivisionError: no'
    entries = [{"level": "info", "part": "scrapy.core.engine", "message": "Spider opened"},
               {"level": "info", "part": "pipeline.session", "message": "\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link"},
               {"level": "error", "part": "scrapy", "message": "it failed\nin two lines", "traceback": traceback}]
    (tmp_path / "log").write_text("".join(json.dumps({"time": "2026-11-22T06:59:58.123+00:00", **entry}) + "\n" for entry in entries) + "Killed\n[1, 2]\n", "utf-8")
    assert tail(tmp_path / "log", ZoneInfo("Asia/Shanghai"), [tmp_path]).split("\n") == [
        "14:59:58 red link", "14:59:58 error: it failed", "  in two lines", '  File "spiders/mine.py", line 6, in parse', "  x = 1 / 0", "  ZeroDivisionError: no", "Killed", "[1, 2]"]


def test_a_secret_at_the_end_of_a_long_line_of_the_log_is_masked_before_the_line_is_cut(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"{'x' * 290} correct horse battery\n", "utf-8")
    shown = tail(tmp_path / "log", ZoneInfo("UTC"), mask=lambda text: text.replace("correct horse battery", "****"))
    assert shown == f"{'x' * 290} ****"


@pytest.mark.parametrize(("error", "kind", "outcome", "steps"), [
    ("http://a.test/: the host name cannot be resolved; check the URL and the network", "FetchError", Outcome.FAILED,
     ["Check the URL and the network", "`pipeline try books`"]),
    ("spiders.books.login: the site asks for a captcha; log in with a browser and import its cookies: `pipeline cookies import`", "LoginError", Outcome.FAILED,
     ["Log in with a browser", "`pipeline login books`"]),
    ("http://p.test: the proxy refused the user name or password; correct this proxy's user and password in [proxies]", "ProxyError", Outcome.FAILED,
     ["Correct this proxy's", "`pipeline check --connect`"]),
    ("no space left on the disk; free some disk space; the next run resumes the download where it stopped", "DiskFullError", Outcome.FAILED,
     ["Free some disk space", "`pipeline prune`"]),
    ("the run did not finish within time_limit = 60 s", "SpiderError", Outcome.TIMED_OUT, ["Increase `time_limit`"]),
    ("the process of the run ended unexpectedly with signal 9; see 7.log in data_dir/logs/runs", "SpiderError", Outcome.KILLED, ["See 7.log", "`pipeline doctor`"]),
    ("", "", Outcome.ABANDONED, ["Nothing, if the machine"]),
    ("KeyError: 'x'", "SpiderError", Outcome.FAILED, ["`pipeline try books` runs the spider's code"]),
    ("something new", "NewError", Outcome.FAILED, ["`pipeline try books` shows"]),
])
def test_each_kind_of_failure_has_its_own_advice(store, site, look, settings_from, *, error: str, kind: str, outcome: Outcome, steps: list[str]) -> None:
    site.run(None, outcome=outcome, error=error, error_kind=kind)
    assert look(with_settings=settings_from(digest=ALERTS + "after = 1\n")) is not None
    told = re.findall(r"^  \d\. (.*)$", text_of(mails(store)[0]), re.MULTILINE)
    for step in steps:
        assert any(line.startswith(step) for line in told), told
    assert told[-1] == "When the cause is gone, `pipeline run books` runs the spider at once"
    assert error == "" or error.partition("; ")[0].lower() in text_of(mails(store)[0]).lower()


def test_the_advice_about_a_spider_in_python_names_no_command_that_tries_rules(store, site, look, settings_from) -> None:
    settings = settings_from(digest=f'{ALERTS}after = 1\n[spiders.books]\nspider = "spiders.books:Books"\n', spiders=("news",))
    site.run(None, outcome=Outcome.FAILED, error="KeyError: 'x'", error_kind="SpiderError")
    assert look(with_settings=settings) is not None
    assert "1. `pipeline run books --dry-run` runs the spider" in text_of(mails(store)[0])
    assert "pipeline try" not in text_of(mails(store)[0])


def test_an_alert_says_what_was_tried_and_when_the_next_attempt_is_due(store, site, look, settings_from, tmp_path: Path) -> None:
    settings = settings_from(digest=ALERTS + '[proxies]\npool = ["http://a.test:1", "http://b.test:2"]\n[spiders.books]\nstart = "http://site.test/"\nproxy = "pool"\nretries = 4\n'
                             '[spiders.books.login]\nurl = "http://site.test/login"\ncheck = "a"\nfields = { username = "me" }\n', spiders=("news",))
    fail(site, 2, error_kind="ProxyError")
    with store.write() as connection:
        connection.execute(update(runs).values(reason="retry"))
    fail(site, error_kind="ProxyError")
    with store.write() as connection:
        last = dict(connection.execute(select(runs).order_by(runs.c.id)).mappings().first() or {})
        waiting = {"id": 99, "started_at": None, "ended_at": None, "outcome": None, "not_before": NOW + timedelta(hours=1)}
        connection.execute(insert(runs).values(**{**last, **waiting}))
    health = PoolHealth("http://a.test:1", {"http://b.test:2": ProxyHealth(3, NOW.timestamp() + 600), "http://a.test:1": ProxyHealth(1, 0)})
    files_of(store, "books").file(PROXIES).replace(health.to_json())
    assert look(with_settings=settings) is not None
    assert ("Tried: 3 runs, 2 of them automatic retries, each failed request up to 5 times, the login in each run, 1 proxy failed and is not used for now, "
            "next attempt at Sun 22 Nov 2026 09:00") in text_of(mails(store)[0])


def test_an_alert_names_the_time_zone_of_its_readers_and_links_to_the_pages(store, site, look, settings_from) -> None:
    fail(site, 3)
    zoned = settings_from(digest=ALERTS + 'timezone = "Asia/Shanghai"\n[heartbeat]\npublic_url = "https://crawl.example.com"\n')
    assert look(with_settings=zoned) is not None
    mail, = mails(store)
    assert "Times are those of Asia/Shanghai." in text_of(mail)
    assert mail["Date"].datetime.utcoffset() == timedelta(hours=8)
    assert '<a href="https://crawl.example.com/spiders/books"' in text_of(mail, "html")
    assert "\n  spider books: https://crawl.example.com/spiders/books\n" in text_of(mail)
    assert "mso-hide: all;\">pipeline try books shows" in text_of(mail, "html")
    assert features_of([text_of(mail, "html")]) <= JUDGED


def test_the_tail_of_a_huge_log_is_short_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 100 + b"\n" + b"line\n" * 500_000 + b"\xff last\n")
    lines = tail(tmp_path / "log", UTC).split("\n")
    assert len(lines) == TAIL_LINES
    assert lines[-1] == "\ufffd last"
    assert tail(tmp_path / "none", UTC) == ""
    (tmp_path / "log").write_bytes(b"line\n" + (b"x/" * 15_000 + b"\n") * 2)  # long words are read in linear time
    assert [len(line) for line in tail(tmp_path / "log", UTC).split("\n")] == [4, 300, 300]


def test_a_recipient_whose_address_is_not_ascii_gets_an_alert_of_their_own(store, site, look, settings_from) -> None:
    mixed = settings_from(digest='[alerts]\nto = ["ops@example.com", "jürgen@example.com", "Ü <on-call@example.com>"]\n')
    fail(site, 3)
    assert look(with_settings=mixed) is not None
    messages = stored.list_messages(store, (MessageState.WAITING,))
    assert [set(message.recipients) for message in messages] == [{"ops@example.com", "on-call@example.com"}, {"jürgen@example.com"}]
    assert len({mail["Message-ID"] for mail in mails(store)}) == 2
    assert look(with_settings=mixed) is None
