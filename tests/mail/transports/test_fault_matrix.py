"""Tests of every fault at every step of a delivery: copies, the state in the outbox, and the messages.

The server requires STARTTLS and a login, so that every step occurs. A fault happens once; then the server works again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from pipeline.mail.outbox import DeliveryAttempt, RetryPolicy, deliver_due
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.mail.transports.smtp_server import SmtpCredentials
from pipeline.model import MessageState
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import Clock
from tests.servers.smtp import Fault, SmtpServer

TO = ("a@example.com", "b@example.com", "c@example.com")
ONCE = dict.fromkeys(TO, 1)
DAY_S = 86400.0

Deliver = Callable[..., DeliveryAttempt]


@pytest.fixture
def server(authority):
    with SmtpServer(users={"me": "right"}, tls=authority.context()) as started:
        yield started


@pytest.fixture
def deliver(server, authority, store, clock) -> Deliver:
    """One attempt of the outbox, an hour after the last."""

    def once(*, timeout_s: float = 10.0) -> DeliveryAttempt:
        clock.forward(hours=2)
        transport = SmtpTransport("127.0.0.1", server.port, security="starttls", credentials=SmtpCredentials("me", password=lambda: "right"),
                                  ca_file=str(authority.ca_file), timeout_s=timeout_s)
        transport.final_reply_s = timeout_s
        attempt, = deliver_due(store, transport, owner=store.owner, now=clock, policy=RetryPolicy(5 * DAY_S))
        transport.close()
        return attempt

    return once


def who_got_it(server: SmtpServer) -> dict[str, int]:
    return dict(Counter(to for one in server.received for to in one.recipients))


BEFORE = ("CONNECT", "EHLO", "STARTTLS", "AUTH")
TEMPORARY, FOR_GOOD = "451 4.3.0 come back later", "554 5.7.0 never"


@pytest.mark.parametrize("stage", BEFORE)
@pytest.mark.parametrize("reply", [TEMPORARY, FOR_GOOD])
def test_a_refusal_before_the_message_makes_it_wait_and_arrive_once(  # noqa: PLR0917  pytest hands them in by name
        stage, reply, server, deliver, enqueue, store) -> None:
    """A login or a server can be corrected: not even a 5xx gives a message up here."""
    message_id = enqueue(to=TO)
    server.faults.append(Fault(stage, reply, times=6))  # HELO after EHLO, LOGIN after PLAIN: all of them
    first = deliver()
    assert (first.state, first.waiting, first.unreachable) == (MessageState.WAITING, 3, True)
    told = stored.get(store, message_id)[0].last_error
    assert told.startswith(f"127.0.0.1:{server.port}: the server ")
    assert reply.partition(" ")[2] in told
    assert who_got_it(server) == {}
    server.faults.clear()
    assert deliver().state is MessageState.SENT
    assert who_got_it(server) == ONCE


@pytest.mark.parametrize("stage", [*BEFORE, "MAIL", "RCPT", "DATA", "END"])
@pytest.mark.parametrize("silent", [False, True])
def test_a_broken_or_silent_connection_makes_it_wait_and_arrive_once(  # noqa: PLR0917  pytest hands them in by name
        stage, silent, server, deliver, enqueue, store) -> None:
    message_id = enqueue(to=TO)
    fault = Fault(stage, hang_up=not silent, times=1)
    server.faults.append(fault)
    while fault.times:  # a busy machine may be too slow to come so far
        first = deliver(timeout_s=0.5 if silent else 10.0)
        assert (first.state, first.waiting, first.unreachable) == (MessageState.WAITING, 3, True)
    told = stored.get(store, message_id)[0].last_error
    assert ("its reply was lost" if stage == "END" else "no reply within 0.5 s while" if silent else "closed the connection") in told
    assert ("recipients may receive the message twice" in told) == (stage == "END")
    assert who_got_it(server) == {}
    assert deliver().state is MessageState.SENT
    assert who_got_it(server) == ONCE


@pytest.mark.parametrize("silent", [False, True])
def test_a_lost_reply_makes_it_arrive_twice_and_the_outbox_says_so(silent, server, deliver, enqueue, store) -> None:
    message_id = enqueue(to=TO)
    fault = Fault("END", hang_up=not silent, times=1, keep=True)
    server.faults.append(fault)
    while fault.times:
        assert deliver(timeout_s=0.5 if silent else 10.0).state is MessageState.WAITING
    assert "received the whole message, but its reply was lost" in stored.get(store, message_id)[0].last_error
    assert "recipients may receive the message twice" in stored.get(store, message_id)[0].last_error
    assert deliver().state is MessageState.SENT
    assert who_got_it(server) == dict.fromkeys(TO, 2)
    assert len({one.content for one in server.received}) == 1  # the same bytes, the same Message-ID


@pytest.mark.parametrize("stage", ["MAIL", "DATA", "END"])
def test_a_deferred_message_arrives_once_later(stage, server, deliver, enqueue, store) -> None:
    message_id = enqueue(to=TO)
    server.faults.append(Fault(stage, TEMPORARY, times=1))
    first = deliver()
    assert (first.state, first.waiting, first.unreachable) == (MessageState.WAITING, 3, False)
    assert "a@example.com: 451 the " in stored.get(store, message_id)[0].last_error
    assert "4.3.0 come back later" in str(first)
    assert deliver().state is MessageState.SENT
    assert who_got_it(server) == ONCE


@pytest.mark.parametrize("stage", ["MAIL", "DATA", "END"])
def test_a_permanently_refused_message_is_parked_until_retry(  # noqa: PLR0917  pytest hands them in by name
        stage, server, deliver, enqueue, store, clock) -> None:
    message_id = enqueue(to=TO)
    server.faults.append(Fault(stage, FOR_GOOD, times=1))
    first = deliver()
    assert (first.state, first.refused) == (MessageState.PARKED, 3)
    assert f"parked: a@example.com: 554 the {'sender' if stage == 'MAIL' else 'message'} was refused: 5.7.0 never" in str(first)
    assert f"`pipeline outbox retry {message_id}`" in str(first)
    clock.forward(days=1)
    assert deliver_due(store, SmtpTransport("127.0.0.1", 1, security="none"), owner="me", now=clock, policy=RetryPolicy(1e9)) == []
    assert stored.retry(store, message_id, now=clock())
    assert deliver().state is MessageState.SENT
    assert who_got_it(server) == ONCE


@pytest.mark.parametrize("address", TO)
@pytest.mark.parametrize("reply", [TEMPORARY, FOR_GOOD])
def test_one_refused_recipient_does_not_affect_the_others(  # noqa: PLR0917  pytest hands them in by name
        address, reply, server, deliver, enqueue, store) -> None:
    message_id = enqueue(to=TO)
    server.faults.append(Fault("RCPT", reply, address=address, times=1))
    first = deliver()
    put_off = reply is TEMPORARY
    assert (first.state, first.accepted, first.refused) == (
        (MessageState.WAITING, 2, 0) if put_off else (MessageState.SENT, 2, 1))
    assert f"{address}: {reply}" in str(first)
    if put_off:
        assert deliver().state is MessageState.SENT
    assert who_got_it(server) == {to: 1 for to in TO if put_off or to != address}
    answers = {answer.address: (answer.accepted, answer.code) for answer in stored.get(store, message_id)[1]}
    assert answers == {to: (put_off or to != address, 554 if not put_off and to == address else 250) for to in TO}


def test_a_greylisted_message_arrives_once_or_is_parked_after_max_age(server, deliver, enqueue, store, clock: Clock) -> None:
    message_id = enqueue(to=TO[:1])
    server.faults.append(Fault("RCPT", "450 4.2.0 Greylisted", times=4))
    for _ in range(4):
        assert deliver().state is MessageState.WAITING
    assert deliver().state is MessageState.SENT
    assert who_got_it(server) == {"a@example.com": 1}
    assert [tried for _, tried, _ in stored.get(store, message_id)[2]] == [1, 2, 3, 4, 5]
    enqueue(to=TO[:1], name="2", at=clock() - timedelta(days=6))
    server.faults.append(Fault("RCPT", "450 4.2.0 Greylisted"))
    last = deliver()
    assert last.state is MessageState.PARKED
    assert "parked: a@example.com: 450 4.2.0 Greylisted" in str(last)


def test_a_seven_bit_server_gets_chinese_text_correctly(store, site, settings_from, clock) -> None:
    from pipeline.mail.digests.build import build
    from pipeline.store.mail import digests

    settings = settings_from(digest='language = "zh"\nattach = ["csv"]')
    site.run({"1": {"title": "三体", "价格": "¥93.00"}})
    claim = digests.claim(store, "morning", ["books"], "s1", owner="me", now=clock())
    build(store, settings, claim, owner="me", now=clock())
    with SmtpServer(utf8=False, seven_bits=True) as old:
        transport = SmtpTransport("127.0.0.1", old.port, security="none", timeout_s=10)
        attempt, = deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(DAY_S))
        transport.close()
        assert attempt.state is MessageState.SENT
        assert not {"BODY=8BITMIME", "SMTPUTF8"}.intersection(old.received[0].options)


def test_a_message_too_large_for_the_server_is_parked_before_it_is_sent(store, enqueue, clock) -> None:
    message_id = enqueue(content=b"Subject: big\r\n\r\n" + b"x" * 5000 + b"\r\n")
    with SmtpServer(max_bytes=2000) as small:
        transport = SmtpTransport("127.0.0.1", small.port, security="none", timeout_s=10)
        attempt, = deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(DAY_S))
        transport.close()
        assert attempt.state is MessageState.PARKED
        assert who_got_it(small) == {}
    assert "the message has 5.0 kB, but the server accepts at most 2.0 kB; decrease `attach_limit`" in stored.get(store, message_id)[0].last_error


@pytest.mark.parametrize(("how", "why"), [({"expired": True}, "expired"), ({"host": "other.example"}, "mismatch")])
def test_a_bad_certificate_keeps_it_waiting_and_says_so(  # noqa: PLR0917  pytest hands them in by name
        how, why, authority, store, enqueue, clock) -> None:
    message_id = enqueue(to=TO)
    with SmtpServer(tls=authority.context(**how), implicit=True) as server:
        transport = SmtpTransport("127.0.0.1", server.port, security="tls", ca_file=str(authority.ca_file), timeout_s=10)
        attempt, = deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(DAY_S))
        assert (attempt.state, attempt.unreachable) == (MessageState.WAITING, True)
        assert who_got_it(server) == {}
    told = stored.get(store, message_id)[0].last_error
    assert "the server's certificate is not trusted: " in told
    assert why in told
