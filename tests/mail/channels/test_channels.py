"""Tests that texts reach notification channels, and that one that is down delays nothing else.

The services are real local servers.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline.errors import MailError
from pipeline.languages import wording
from pipeline.mail.alerts import check
from pipeline.mail.channels.delivery import ChannelDelivery
from pipeline.mail.channels.from_settings import channels_of, open_channel
from pipeline.mail.channels.text import ChannelText
from pipeline.mail.outbox import DeliveryAttempt, DeliveryLoop, RetryPolicy, deliver_due
from pipeline.mail.transports.apprise_process import fitted, plain
from pipeline.mail.transports.channel import ChannelTransport
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.model import DraftMessage, MessageState, Outcome
from pipeline.settings.fields.secret import Secret
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import NOW, Site, built
from tests.servers.commands import ForkedProcess, forked_python
from tests.servers.pages import Answer, PageSite
from tests.servers.smtp import SmtpServer

POLICY = RetryPolicy(5 * 86400.0)
MORE = wording("en").more
TEXT = ChannelText.of("2 new", ["New: one", "New: two"], total=5, more=MORE, link="https://pages.example.com/")
SECRET_PATH = "/services/T0AAAA/B0BBBB/secret-cccc"


def enqueue_text(store, channel: str, number: int = 1) -> int:
    key = f"messages/{channel}-{number}.json"
    store.files.write(key, TEXT.as_bytes())
    return stored.enqueue(store, DraftMessage(f"<{channel}.{number}@x>", TEXT.subject, "me@x", (channel,), key, 1, channel=channel), now=NOW)


def answer_after(over: threading.Event) -> Answer:
    over.wait(30)
    return Answer("")


@pytest.fixture(scope="module")
def site() -> Iterator[PageSite]:
    with PageSite() as opened:
        yield opened


@pytest.fixture(scope="module")
def ask(site) -> Iterator[object]:
    """Sends TEXT to a URL whose {host} is the site's; all texts of the module go through one process."""
    url = ""
    transport = ChannelTransport("env:HOOK", lambda: url)

    def send(wanted: str, text: ChannelText = TEXT) -> str:
        nonlocal url
        url = wanted.format(host=site.host)
        return transport.send(text.as_dict())

    yield send
    transport.close()


@pytest.mark.parametrize(("url", "expected"), [
    ("json://{host}/hook", ("JSON", "/hook", {"title": "2 new", "message": "• New: one\n• New: two\nand 3 more\nhttps://pages.example.com/"})),
    ("ntfy://{host}/news", ("ntfy", "/", {"topic": "news", "title": "2 new", "message": "• New: one\n• New: two\nand 3 more\nhttps://pages.example.com/"})),
    ("mmost://{host}/abcdefabcdefabcdefabcdef12", ("Mattermost", "/hooks/abcdefabcdefabcdefabcdef12", {"text": "2 new\r\n• New: one\n• New: two\nand 3 more\nhttps://pages.example.com/"})),
    ("gotify://{host}/Abcdefghijklmno", ("Gotify", "/message", {"title": "2 new"})),
])
def test_a_text_arrives_in_the_form_of_the_service(url, expected, site, ask) -> None:
    service, path, body = expected
    site.pages[path] = Answer("{}")
    assert ask(url) == service
    assert site.asked[-1].path == path
    assert body.items() <= json.loads(site.asked[-1].body).items()


@pytest.mark.parametrize(("answer", "url", "expected"), [
    (Answer('{"error": "no_service"}', 404), "json://{host}/p", ('the service replied 404 Not Found: {"error": "no_service"}; check the URL', False, 0)),
    (Answer("<html>login</html>", 401), "json://{host}/p", ("the service replied 401 Unauthorized; check the URL and the token", False, 0)),
    (Answer("gone", 410), "ntfy://{host}/p", ("the service replied 410 Gone", False, 0)),
    (Answer("", 302, {"Location": "/other"}), "json://{host}/p", ("the service replied 302 Found; the service moved", False, 0)),
    (Answer("slow down", 429, {"Retry-After": "120"}), "json://{host}/p", ("the service replied 429 Too Many Requests: slow down", True, 120)),
    (Answer("", 429, {"Retry-After": "soon"}), "json://{host}/p", ("the service replied 429", True, 0)),
    (Answer("at work", 503), "json://{host}/p", ("the service replied 503 Service Unavailable: at work", True, 0)),
    (Answer("bad token secret-cccc", 500), "json://{host}/p?note=secret-cccc", ("the service replied 500 Internal Server Error: bad token ****", True, 0)),
    (Answer("", cut=0), "json://127.0.0.1:1/p", ("the connection failed: Connection refused", True, 0)),
    (Answer("x", 200, {"Content-Length": "5"}, cut=1), "json://{host}/p", ("the connection failed: IncompleteRead", True, 0)),
    (Answer(""), "jsons://{host}/p", ("the certificate cannot be verified", True, 0)),
    (Answer(""), "json://{host}/p?optional=yes&verify=no", ("verify=no in the URL of the channel turns the check of certificates off", False, 0)),
    (Answer("", 404), "json://{host}/p?optional=yes", ("the service replied 404 Not Found", False, 0)),
    (Answer(""), "nonsense", ("Apprise does not understand the URL of the channel", False, 0)),
    (Answer(""), "foo://{host}/p", ("Apprise does not understand the URL of the channel", False, 0)),
    (Answer(""), "syslog://", ("syslog:// shows texts on this machine only", False, 0)),
    (Answer(""), "macosx://", ("macosx:// shows texts on this machine only", False, 0)),
    (Answer(""), "ntfy://{host}/one/two", ("the URL of the channel has 2 targets", False, 0)),
])
def test_a_failure_has_a_reason_without_the_secret_and_says_whether_to_try_again(answer, url, expected, site, ask) -> None:
    error, retry, retry_after_s = expected
    site.pages |= {"/p": answer, "/": answer, "/other": Answer("")}
    with pytest.raises(MailError) as raised:
        ask(url)
    assert str(raised.value).startswith(f"env:HOOK: {error}")
    assert "secret" not in str(raised.value)
    assert (raised.value.retry, raised.value.retry_after_s) == (retry, retry_after_s)


def test_retry_after_may_be_a_date(site, ask) -> None:
    site.pages["/p"] = Answer("", 503, {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)})
    with pytest.raises(MailError) as raised:
        ask("json://{host}/p")
    assert 500 < raised.value.retry_after_s <= 600


def test_a_service_that_does_not_reply_is_given_up_by_the_url_and_by_the_limit_of_the_pipeline(site, ask) -> None:
    over = threading.Event()
    site.pages["/hang"] = lambda asked: answer_after(over)
    with pytest.raises(MailError, match="no reply within") as raised:
        ask("json://{host}/hang?rto=0.3")
    assert raised.value.retry
    hanging = ChannelTransport("env:HOOK", lambda: f"json://{site.host}/hang", timeout_s=1.0)
    with pytest.raises(MailError, match="the service did not take the text within 1 s"):
        hanging.send(TEXT.as_dict())
    hanging.close()
    over.set()


@pytest.mark.parametrize(("text", "markdown", "expected"), [
    ("@everyone and me@example.com", False, "@\u200beveryone and me@\u200bexample.com"),
    ("<!channel> <@U1> <users/all> 1 < 2", False, "<\u200b!channel> <\u200b@\u200bU1> <\u200busers/all> 1 < 2"),
    ("[Log in](http://bad.example) [CQ:at,qq=all] (met)all(met)", False,
     "[Log in]\u200b(http://bad.example) [\u200bCQ:at,qq=all] (\u200bmet)all(\u200bmet)"),
    ("**bold** `code` ~~x~~ ||spoiler||", False, "**bold** `code` ~~x~~ ||spoiler||"),
    ("[a](b) **bold** `code`", True, "\\[a\\]\u200b(b) \\*\\*bold\\*\\* \\`code\\`"),
    ("# large", True, r"\# large"),
    ("£31.82 → £32.32, 核桃木钟", True, "£31.82 → £32.32, 核桃木钟"),
])
def test_scraped_text_mentions_nobody_and_is_no_markup(text, markdown, expected) -> None:
    assert plain(text, escape_markdown=markdown) == expected


def test_what_a_site_writes_reaches_services_as_plain_text(site, ask) -> None:
    site.pages["/hooks/abcdefabcdefabcdefabcdef12"] = Answer("ok")
    ask("mmost://{host}/abcdefabcdefabcdefabcdef12", ChannelText.of("@all **free**", ["<!here> [x](http://bad.example)"], total=1, more=MORE))
    assert json.loads(site.asked[-1].body)["text"] == "@\u200ball \\*\\*free\\*\\*\r\n• <\u200b!here> \\[x\\]\u200b(http://bad.example)"


LONG = ChannelText.of("s" * 30, [f"line {n}" for n in range(10)], total=1500, more=MORE, link="https://p/")


@pytest.mark.parametrize(("title_limit", "body_limit", "line_limit", "title", "body"), [
    (100, 1000, 0, "s" * 30, "\n".join([*(f"line {n}" for n in range(10)), "and 1,490 more", "https://p/"])),
    (10, 60, 0, "sssssssss…", "line 0\nline 1\nline 2\nline 3\nline 4\nand 1,495 more\nhttps://p/"),
    (10, 1000, 4, "sssssssss…", "line 0\nline 1\nand 1,498 more\nhttps://p/"),
    (0, 70, 0, "s" * 30, "line 0\nand 1,499 more\nhttps://p/"),
    (0, 56, 0, "s" * 27 + "…", "line 0\nand 1,499 more"),
    (0, 30, 0, "", "s" * 19 + "…"),
])
def test_a_text_is_cut_to_the_limits_of_the_service_and_says_how_much_is_missing(title_limit, body_limit, line_limit, title, body) -> None:
    assert fitted(LONG.as_dict(), title_limit=title_limit, body_limit=body_limit, line_limit=line_limit) == (title, body)


def test_a_text_waits_while_the_service_fails_and_is_parked_when_the_url_is_refused(store, clock, site) -> None:
    answers = [Answer("", 500), Answer("", 429, {"Retry-After": "600"}), Answer("{}"), Answer("no_service", 404)]
    site.pages[SECRET_PATH] = lambda asked: answers.pop(0)
    transport = ChannelTransport("env:HOOK", lambda: f"json://{site.host}{SECRET_PATH}")
    first, second = enqueue_text(store, "env:HOOK", 1), 0

    def deliver() -> DeliveryAttempt:
        attempt, = deliver_due(store, transport, owner="me", now=clock, policy=POLICY, channel="env:HOOK")
        return attempt

    failed = deliver()
    assert (failed.state, failed.unreachable) == (MessageState.WAITING, True)
    clock.forward(minutes=2)
    asked_to_wait = deliver()
    assert asked_to_wait.next_attempt_at is not None
    assert (asked_to_wait.next_attempt_at - clock()).total_seconds() == 600
    clock.forward(minutes=10)
    assert str(deliver()) == f"message {first} “2 new”: delivered to env:HOOK"
    second = enqueue_text(store, "env:HOOK", 2)
    parked = deliver()
    transport.close()
    assert parked.state is MessageState.PARKED
    assert f"is parked: env:HOOK: the service replied 404 Not Found: no_service; check the URL and the token of the channel; to try again, run `pipeline outbox retry {second}`" in str(parked)
    assert stored.rebuild(store, second, now=NOW) is None
    store.close()
    assert not any(b"secret-cccc" in file.read_bytes() for file in store.data_dir.rglob("*") if file.is_file())


def test_a_text_whose_file_is_missing_waits_and_a_damaged_one_is_parked(store, clock) -> None:
    for number, kept in enumerate((False, True), 1):
        enqueue_text(store, "env:HOOK", number)
        file = store.files.path(stored.list_messages(store)[-1].file_key)
        file.write_bytes(b"{") if kept else file.unlink()
    transport = ChannelTransport("env:HOOK", lambda: "json://localhost")
    states = [deliver_due(store, transport, owner="me", now=clock, policy=POLICY, channel="env:HOOK")[0].state for _ in range(2)]
    assert states == [MessageState.WAITING, MessageState.PARKED]
    assert [message.last_error.partition(": ")[2] for message in stored.list_messages(store)] == [
        "the file with the text cannot be read: No such file or directory", "the file with the text cannot be read: it is damaged"]


def test_many_texts_arrive_once_each_in_order(store, clock, site) -> None:
    site.pages["/many"] = Answer("")
    before = len(site.asked)
    ids = [enqueue_text(store, "env:HOOK", number) for number in range(20)]
    transport = ChannelTransport("env:HOOK", lambda: f"json://{site.host}/many")
    attempts = deliver_due(store, transport, owner="me", now=clock, policy=POLICY, channel="env:HOOK")
    transport.close()
    assert [attempt.message.id for attempt in attempts] == ids
    assert {attempt.state for attempt in attempts} == {MessageState.SENT}
    assert len(site.asked) - before == 20


KILLED = """
import sys
from datetime import datetime
from pathlib import Path
from pipeline.mail.outbox import RetryPolicy, deliver_due
from pipeline.mail.transports.channel import ChannelTransport
from pipeline.store import open_store

store = open_store(Path(sys.argv[1]))
at = datetime.fromisoformat(sys.argv[3])
deliver_due(store, ChannelTransport("env:HOOK", lambda: sys.argv[2]), owner=store.owner, now=lambda: at, policy=RetryPolicy(1e6), channel="env:HOOK")
"""


def test_a_kill_after_the_service_took_a_text_sends_it_a_second_time_and_never_loses_it(store, clock, site) -> None:
    enqueue_text(store, "env:HOOK")
    process: ForkedProcess
    started = threading.Event()

    def kill(asked) -> Answer:
        assert started.wait(20)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
        return Answer("")

    site.pages["/kill"] = kill
    process = forked_python(KILLED, str(store.data_dir), f"json://{site.host}/kill", NOW.isoformat())
    started.set()
    process.wait(60)
    transport = ChannelTransport("env:HOOK", lambda: f"json://{site.host}/kill")
    site.pages["/kill"] = Answer("")
    assert deliver_due(store, transport, owner="next", now=clock, policy=POLICY, channel="env:HOOK") == []  # the lease has not expired
    clock.forward(minutes=3)
    again, = deliver_due(store, transport, owner="next", now=clock, policy=POLICY, channel="env:HOOK")
    transport.close()
    assert again.state is MessageState.SENT
    assert [asked.path for asked in site.asked].count("/kill") == 2


def test_a_channel_that_hangs_delays_neither_mails_nor_another_channel(store, enqueue, clock, site) -> None:
    over = threading.Event()
    site.pages |= {"/hang": lambda asked: answer_after(over), "/well": Answer("")}
    for number in range(3):
        enqueue_text(store, "env:HANGS", number)
        enqueue_text(store, "env:WELL", number)
    events: list[DeliveryAttempt] = []

    def loop_of(channel: str) -> DeliveryLoop:
        transport = ChannelTransport(channel, lambda: f"json://{site.host}/{'hang' if channel == 'env:HANGS' else 'well'}")
        return DeliveryLoop(store, transport, policy=POLICY, now=clock, on_attempt=events.append, on_error=pytest.fail, channel=channel)

    async def main(server: SmtpServer) -> None:
        mails = DeliveryLoop(store, SmtpTransport("127.0.0.1", server.port, security="none"), policy=POLICY, now=clock,
                             on_attempt=events.append, on_error=pytest.fail)
        channels = ChannelDelivery(store, loop_of, pytest.fail)
        running = [asyncio.create_task(channels.run()), asyncio.create_task(mails.run())]
        async with asyncio.timeout(60):
            while not any(asked.path == "/hang" for asked in site.asked):
                await asyncio.sleep(0.01)
        for number in range(20):
            enqueue(name=str(number))
            mails.wake()
        async with asyncio.timeout(60):
            while len(events) < 23:
                await asyncio.sleep(0.01)
        assert {event.message.channel for event in events} == {"", "env:WELL"}
        mails.stop()
        channels.abort()
        async with asyncio.timeout(60):
            await asyncio.gather(*running)

    with SmtpServer() as server:
        asyncio.run(main(server))
    over.set()
    assert {event.state for event in events[:23]} == {MessageState.SENT}
    assert [message.channel for message in stored.list_messages(store)] == ["env:HANGS"] * 3


def test_a_digest_puts_its_text_for_each_channel_into_the_outbox_with_its_mails(store, settings_from) -> None:
    crawled = Site(store)
    crawled.run({"1": {"title": "Walnut clock", "price": "£31.82"}, "2": {"title": "Lamp @everyone", "price": "£5.00"}})
    settings = settings_from(digest='notify = [{ env = "HOOK" }, { file = "hook.txt" }]\n[[digests.morning.groups]]\nto = ["you@example.com"]\n'
                                    'keywords = ["clock"]\nnotify = [{ env = "CLOCKS" }]')
    built(store, settings)
    crawled.run({"1": {"title": "Walnut clock", "price": "£32.32"}, "3": {"title": "Chair", "price": "£9.00"}})
    digest = built(store, settings, slot="s2")
    found = [stored.get(store, message_id)[0] for message_id in digest.message_ids]
    assert [(message.channel, message.recipients) for message in found] == [
        ("", ("me@example.com",)), ("", ("you@example.com",)), ("env:HOOK", ("env:HOOK",)), ("file:hook.txt", ("file:hook.txt",)), ("env:CLOCKS", ("env:CLOCKS",))]
    text = json.loads(store.files.path(found[2].file_key).read_bytes())
    assert text["lines"] == ["New: Chair — £9.00", "Walnut clock: £31.82 → £32.32", "Gone: Lamp @everyone"]
    text = json.loads(store.files.path(found[4].file_key).read_bytes())
    assert text["subject"] == "Walnut clock: £31.82 → £32.32"
    assert text["lines"][0] == "▲ +£0.50 (+1.6%)"


def test_a_digest_without_addresses_goes_to_its_channel_only(store, settings_from) -> None:
    Site(store).run({"1": {"title": "Walnut clock"}})
    settings = settings_from(to="[]", digest='notify = [{ env = "HOOK" }]\nlanguage = "zh"')
    digest = built(store, settings)
    message, = (stored.get(store, message_id)[0] for message_id in digest.message_ids)
    assert message.channel == "env:HOOK"
    assert json.loads(store.files.path(message.file_key).read_bytes())["subject"] == "新增：Walnut clock"
    assert digest.subject == message.subject


def test_an_alert_goes_to_channels_with_or_without_a_mail(store, settings_from, clock, tmp_path) -> None:
    crawled = Site(store)
    for _ in range(3):
        crawled.run(None, outcome=Outcome.FAILED, error="books.test: the login was not proved")
    settings = settings_from(digest='[alerts]\nnotify = [{ env = "OPS" }]\n[heartbeat]\npublic_url = "https://pages.example.com"')
    assert check(store, settings, late=(), log_of=lambda run_id: tmp_path / "none.log", now=clock()) is not None
    message, = stored.list_messages(store)
    assert (message.channel, message.recipients, message.digest_id) == ("env:OPS", ("env:OPS",), None)
    text = json.loads(store.files.path(message.file_key).read_bytes())
    assert (text["kind"], text["link"]) == ("alert", "https://pages.example.com/")
    assert text["lines"] == ["books failed 3 times in a row: books.test: the login was not proved"]


def test_without_the_extra_a_text_waits_and_says_what_to_install(store, clock, monkeypatch) -> None:
    enqueue_text(store, "env:HOOK")
    monkeypatch.setitem(sys.modules, "apprise", None)  # as if it were not installed
    attempt, = deliver_due(store, ChannelTransport("env:HOOK", str), owner="me", now=clock, policy=POLICY, channel="env:HOOK")
    assert attempt.state is MessageState.WAITING
    assert attempt.error == ("env:HOOK: notification channels need the package apprise, which is not installed; run "
                             "`pip install 'crawl-to-inbox[channels]'`")


def test_a_url_is_read_from_the_settings_of_the_moment_and_masked(store, settings_from, monkeypatch) -> None:
    settings = settings_from(digest='notify = [{ env = "HOOK" }]')
    assert list(channels_of(settings)) == [("digests.morning", Secret("env", "HOOK"))]
    channel = open_channel(lambda: settings, "env:HOOK")
    with pytest.raises(MailError, match="the environment variable HOOK is not set") as raised:
        channel.connect()
    assert raised.value.retry
    monkeypatch.setenv("HOOK", "json://127.0.0.1/hook")
    channel.connect()
    channel.close()
    with pytest.raises(MailError, match="env:OTHER: the channel is no longer in the settings") as raised:
        open_channel(lambda: settings, "env:OTHER").connect()
    assert not raised.value.retry
