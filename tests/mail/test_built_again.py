"""Tests of digests that are built again with less.

A mail server refused a message for its size or its content.
"""

from __future__ import annotations

import email
from email.message import EmailMessage
from email.policy import default

import pytest

from pipeline.cli.deliveries import deliver_now, send_digest
from pipeline.model import MessageState
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import text_of
from tests.servers.smtp import Fault, SmtpServer

BOOKS = {"1": {"title": "Three-Body", "price": "£51.77"}}
FILES = [("small.pdf", b"%PDF" + b"s" * 20_000, "application/pdf"), ("large.pdf", b"%PDF" + b"l" * 700_000, "application/pdf")]
FOR_SIZE, FOR_CONTENT = "552 5.3.4 Message size exceeds fixed limit", "554 5.7.0 this attachment is not allowed here"


def mail_table(server: SmtpServer) -> str:
    return f'host = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n'


def arrived(server: SmtpServer) -> list[tuple[EmailMessage, tuple[str, ...]]]:
    return [(email.message_from_bytes(one.content, policy=default), one.recipients) for one in server.received]


def names(mail: EmailMessage) -> list[str | None]:
    return [part.get_filename() for part in mail.iter_attachments()]


@pytest.mark.parametrize(("limit", "faults", "attached"), [
    (900_000, [], ["small.pdf"]),
    (400_000, [], ["small.pdf"]),
    (20_000, [], []),
    (10**8, [Fault("MAIL", FOR_SIZE, times=1)], []),
    (10**8, [Fault("END", FOR_SIZE, times=1)], []),
    (10**8, [Fault("END", FOR_CONTENT, times=1)], []),
    (10**8, [Fault("END", FOR_CONTENT, times=2)], []),
], ids=["within SIZE", "within a small SIZE", "only the text fits", "552 to MAIL", "552 to DATA", "content", "content, twice"])
def test_a_digest_refused_for_its_size_or_content_is_told_with_less(  # noqa: PLR0917  pytest hands them in by name
        limit, faults, attached, store, site, settings_from) -> None:
    site.run(BOOKS, files=FILES)
    said: list[str] = []
    with SmtpServer(max_bytes=limit) as server:
        server.faults += faults
        settings = settings_from(mail=mail_table(server), digest='attach = ["downloads"]')
        assert send_digest(store, settings, "morning", say=said.append) == 0
        (mail, to), = arrived(server)
    assert to == ("me@example.com",)
    assert names(mail) == attached
    assert "new" in mail["Subject"].casefold()
    assert "This mail has less than usual, because the mail server refused the whole digest: 55" in text_of(mail)
    if faults[:1] != [] and faults[0].reply == FOR_CONTENT and len([line for line in said if "built again with" in line]) == 2:
        assert "Three-Body" not in text_of(mail)  # only the numbers
    else:
        assert "stored as downloads/books/1-large.pdf" in text_of(mail)
    assert stored.list_messages(store) == []
    assert [message.state for message in stored.list_messages(store, [MessageState.SENT])] == [MessageState.SENT]
    assert "the server refused the message, and the digest is built again with" in "\n".join(said)


def test_only_those_are_told_again_for_whom_the_message_was_refused(store, site, settings_from) -> None:
    site.run(BOOKS, files=FILES)
    with SmtpServer() as server:
        settings = settings_from(mail=mail_table(server), digest="""
attach = ["downloads"]
[[digests.morning.groups]]
to = ["you@example.com", "gone@example.com"]
""")
        server.faults += [Fault("RCPT", "550 5.1.1 no such user", address="gone@example.com"), Fault("END", FOR_CONTENT, times=1)]
        send_digest(store, settings, "morning", say=lambda line: None)
        found = [(names(mail), to) for mail, to in arrived(server)]
    assert sorted(found, key=lambda pair: pair[1]) == [([], ("me@example.com",)), (["small.pdf", "large.pdf"], ("you@example.com",))]


def test_a_digest_that_is_refused_however_small_is_parked_whole(store, site, settings_from) -> None:
    site.run(BOOKS, files=FILES)
    said: list[str] = []
    with SmtpServer() as server:
        settings = settings_from(mail=mail_table(server), digest='attach = ["downloads"]')
        server.faults.append(Fault("END", FOR_CONTENT))
        assert send_digest(store, settings, "morning", say=said.append) == 7
        (parked,) = stored.list_messages(store)
        assert (parked.id, parked.state) == (1, MessageState.PARKED)
        assert len([line for line in said if "built again with" in line]) == 2
        assert deliver_now(store, settings, say=said.append) == 0  # nothing is due
        server.faults.clear()
        assert stored.retry(store, parked.id, now=parked.created_at)
        assert deliver_now(store, settings, say=said.append) == 0
        (mail, _), = arrived(server)
    assert names(mail) == ["small.pdf", "large.pdf"]


def test_a_parked_digest_can_be_built_again_by_a_person(store, site, settings_from) -> None:
    site.run(BOOKS, files=FILES)
    with SmtpServer() as server:
        settings = settings_from(mail=mail_table(server), digest='attach = ["downloads"]', to='["me@example.com", "you@example.com"]')
        server.faults.append(Fault("END", "550 5.4.5 Daily user sending limit exceeded", times=1))
        assert send_digest(store, settings, "morning", say=lambda line: None) == 7
        (parked,) = stored.list_messages(store)
        assert (parked.id, parked.state, server.received) == (1, MessageState.PARKED, [])  # not a question of size or content
        assert stored.rebuild(store, parked.id, now=parked.created_at) is not None
        settings.digests["morning"] = settings.digests["morning"].model_copy(update={"to": ("you@example.com",)})
        assert deliver_now(store, settings, say=lambda line: None) == 0
        (mail, to), = arrived(server)
        assert not stored.retry(store, parked.id, now=parked.created_at)
    assert (names(mail), to) == ([], ("you@example.com",))


def test_a_digest_whose_template_fails_is_built_again_too(store, site, settings_from, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "digest.txt").write_text("{{ nothing.there }}", "utf-8")
    site.run(BOOKS, files=FILES)
    with SmtpServer() as server:
        settings = settings_from(mail=mail_table(server), digest='attach = ["downloads"]\ntemplates = "mine"')
        server.faults.append(Fault("END", FOR_CONTENT, times=1))
        assert send_digest(store, settings, "morning", say=lambda line: None) == 0
        (mail, _), = arrived(server)
    assert "Three-Body" in text_of(mail)
    assert names(mail) == []


def test_two_groups_with_the_same_address_are_both_told(store, site, settings_from) -> None:
    site.run(BOOKS | {"2": {"title": "Cheap", "price": "£1.00"}}, files=FILES)
    groups = "".join(f'[[digests.morning.groups]]\nto = ["me@example.com"]\nwhere = ["price {sign} 10"]\n' for sign in "<>")
    with SmtpServer() as server:
        settings = settings_from(mail=mail_table(server), to="[]", digest=f'attach = ["csv"]\n{groups}')
        server.faults.append(Fault("END", FOR_CONTENT, times=2))
        assert send_digest(store, settings, "morning", say=lambda line: None) == 0
        subjects = [str(mail["Subject"]) for mail, _ in arrived(server)]
    assert sorted(subjects) == ["New: Cheap — £1.00", "New: Three-Body — £51.77"]


def test_nobody_is_told_twice_when_some_recipients_were_refused_for_content(store, site, settings_from) -> None:
    site.run(BOOKS, files=FILES)
    with SmtpServer() as server:
        settings = settings_from(mail=mail_table(server), digest='attach = ["downloads"]', to='["me@example.com", "you@example.com"]')
        server.faults += [Fault("RCPT", "550 5.1.1 no such user", address="you@example.com", times=1), Fault("END", FOR_CONTENT, times=1)]
        send_digest(store, settings, "morning", say=lambda line: None)
        (message,) = stored.list_messages(store, [MessageState.DROPPED])
        assert not stored.retry(store, message.id, now=message.created_at)
        assert [to for _, to in arrived(server)] == [("me@example.com",)]


@pytest.mark.parametrize("times", [3, 6])
def test_the_messages_of_several_recipients_are_built_again_together(times, store, site, settings_from) -> None:
    site.run(BOOKS, files=FILES)
    said: list[str] = []
    with SmtpServer() as server:
        settings = settings_from(mail=mail_table(server), digest='attach = ["downloads"]\nindividually = true', to='["a@example.com", "b@example.com", "c@example.com"]')
        server.faults.append(Fault("END", FOR_CONTENT, times=times))
        assert send_digest(store, settings, "morning", say=said.append) == 0
        assert sorted(to for _, to in arrived(server)) == [("a@example.com",), ("b@example.com",), ("c@example.com",)]
    assert len([line for line in said if "morning: built again" in line]) == times // 3


def test_each_individual_message_that_is_refused_however_small_is_parked_whole(store, site, settings_from) -> None:
    site.run(BOOKS, files=FILES)
    with SmtpServer() as server:
        settings = settings_from(mail=mail_table(server), digest='attach = ["downloads"]\nindividually = true', to='["a@example.com", "b@example.com"]')
        server.faults.append(Fault("END", FOR_CONTENT))
        assert send_digest(store, settings, "morning", say=lambda line: None) == 7
        assert [(message.id, message.state) for message in stored.list_messages(store)] == [(1, MessageState.PARKED), (2, MessageState.PARKED)]
        server.faults.clear()
        for number in (1, 2):
            assert stored.retry(store, number, now=stored.get(store, number)[0].created_at)
        assert deliver_now(store, settings, say=lambda line: None) == 0
        assert [(names(mail), to) for mail, to in arrived(server)] == [
            (["small.pdf", "large.pdf"], ("a@example.com",)), (["small.pdf", "large.pdf"], ("b@example.com",))]


def test_a_message_of_one_recipient_is_built_again_for_this_recipient_only(store, site, settings_from) -> None:
    site.run(BOOKS, files=FILES)
    with SmtpServer() as server:
        settings = settings_from(mail=mail_table(server), digest='attach = ["downloads"]\nunsubscribe = "https://lists.test/{recipient}"',
                                 to='["a@example.com", "b@example.com"]')
        server.faults.append(Fault("END", FOR_CONTENT, times=1))
        assert send_digest(store, settings, "morning", say=lambda line: None) == 0
        found = [(names(mail), to, mail["List-Unsubscribe"].partition(">")[0]) for mail, to in arrived(server)]
    assert sorted(found, key=lambda each: each[1]) == [([], ("a@example.com",), "<https://lists.test/a%40example.com"),
                                                       (["small.pdf", "large.pdf"], ("b@example.com",), "<https://lists.test/b%40example.com")]
