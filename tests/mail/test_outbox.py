"""Tests that no message is lost or sent twice, whatever the server or the process does."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.mail.outbox import DeliveryAttempt, DeliveryLoop, RetryPolicy, backoff_s, deliver_due
from pipeline.mail.transports.maildir import MaildirTransport
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.model import DraftMessage, MessageState
from pipeline.store import open_store
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import NOW, PLAIN
from tests.servers.commands import ForkedProcess, forked_python
from tests.servers.postgres import Postgres
from tests.servers.smtp import Fault, SmtpServer

DAY_S = 86400.0


def plain(server: SmtpServer, **options) -> SmtpTransport:
    return SmtpTransport("127.0.0.1", server.port, security="none", **{"timeout_s": 5.0, **options})


def deliver(store, transport, clock, *, max_age_s: float = 5 * DAY_S) -> list[DeliveryAttempt]:
    attempts = deliver_due(store, transport, owner=store.owner, now=clock, policy=RetryPolicy(max_age_s))
    transport.close()
    return attempts


def test_a_due_message_is_delivered_once_and_marked(store, enqueue, clock) -> None:
    for number in range(5):
        enqueue(name=str(number))
    with SmtpServer() as server:
        attempts = deliver(store, plain(server), clock)
        assert deliver(store, plain(server), clock) == []
        assert len(server.wait_for(5)) == 5
    assert server.connections == 1
    assert {attempt.state for attempt in attempts} == {MessageState.SENT}
    assert "delivered to 1 recipient" in str(attempts[0])
    assert stored.list_messages(store) == []


def test_a_server_that_is_down_is_tried_once_per_round_and_loses_nothing(store, enqueue, clock, free_port) -> None:
    ids = [enqueue(name=str(number)) for number in range(3)]
    with SmtpServer(port=free_port) as server:
        pass
    attempt, = deliver(store, plain(server), clock)
    assert attempt.unreachable
    assert "the delivery is not complete; the next attempt is at" in str(attempt)
    assert "connection refused" in str(attempt)
    assert {message.id for message in stored.list_messages(store, (MessageState.WAITING,))} == set(ids)
    clock.forward(minutes=2)
    with SmtpServer(port=server.port) as up:
        assert [a.state for a in deliver(store, plain(up), clock)] == [MessageState.SENT] * 3
        assert len(up.wait_for(3)) == 3


def test_only_the_deferred_recipient_is_tried_again(store, enqueue, clock) -> None:
    message_id = enqueue(to=("me@example.com", "grey@example.com", "gone@example.com"))
    with SmtpServer() as server:
        server.faults += [Fault("RCPT", "450 4.2.1 greylisted", address="grey@example.com", times=1),
                          Fault("RCPT", "550 5.1.1 no such user", address="gone@example.com")]
        first, = deliver(store, plain(server), clock)
        assert (first.state, first.accepted, first.refused, first.waiting) == (MessageState.WAITING, 1, 1, 1)
        assert "grey@example.com: 450 4.2.1 greylisted" in str(first)
        assert deliver(store, plain(server), clock) == []  # not before its time
        clock.forward(minutes=2)
        second, = deliver(store, plain(server), clock)
        assert second.state is MessageState.SENT
        assert [got.recipients for got in server.wait_for(2)] == [("me@example.com",), ("grey@example.com",)]
    _, answers, tries = stored.get(store, message_id)
    assert {r.address: (r.accepted, r.code) for r in answers} == {
        "me@example.com": (True, 250), "grey@example.com": (True, 250), "gone@example.com": (False, 550)}
    assert len(tries) == 2


def test_a_message_refused_for_all_is_parked_with_the_reason_until_retry(store, enqueue, clock) -> None:
    message_id = enqueue()
    with SmtpServer() as server:
        server.faults.append(Fault("RCPT", "550 5.1.1 no such user", times=1))
        attempt, = deliver(store, plain(server), clock)
        assert attempt.state is MessageState.PARKED
        assert f"is parked: me@example.com: 550 5.1.1 no such user; to try again, run `pipeline outbox retry {message_id}`" in str(attempt)
        clock.forward(days=1)
        assert deliver(store, plain(server), clock) == []
        assert stored.retry(store, message_id, now=clock())
        assert deliver(store, plain(server), clock)[0].state is MessageState.SENT


def test_a_message_older_than_max_age_is_parked(store, enqueue, clock) -> None:
    enqueue()
    with SmtpServer() as server:
        pass
    clock.forward(seconds=DAY_S + 1)
    attempt, = deliver(store, plain(server), clock, max_age_s=DAY_S)
    assert attempt.state is MessageState.PARKED
    assert stored.list_messages(store)[0].last_error.startswith(
        f"delivery was given up after 1 attempt in 1 d: 127.0.0.1:{server.port}: connection refused")


def test_a_message_tried_too_often_is_parked_and_retry_resets_the_count(store, enqueue, clock) -> None:
    message_id = enqueue()
    with SmtpServer() as server:
        server.faults.append(Fault("RCPT", "450 4.2.1 later", times=6))
        transport = plain(server)
        for state in (MessageState.WAITING, MessageState.WAITING, MessageState.PARKED):
            attempt, = deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(1e9, max_attempts=3))
            assert attempt.state is state
            clock.forward(hours=2)
        assert stored.list_messages(store)[0].last_error == "delivery was given up after 3 attempts in 4 h: me@example.com: 450 4.2.1 later"
        assert stored.retry(store, message_id, now=clock())
        attempt, = deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(1e9, max_attempts=3))
        assert attempt.state is MessageState.WAITING
        transport.close()


def test_a_message_without_its_file_is_parked_and_delays_no_other(store, enqueue, clock) -> None:
    enqueue(name="lost")
    store.files.remove("messages/lost.eml")
    enqueue(name="good")
    with SmtpServer() as server:
        lost, good = deliver(store, plain(server), clock)
        server.wait_for(1)
    assert (lost.state, good.state) == (MessageState.PARKED, MessageState.SENT)


@pytest.mark.needs("postgres")
def test_a_message_whose_file_another_node_has_waits_for_this_node(postgres: Postgres, migrated: str, tmp_path: Path) -> None:
    url, now = postgres.new_database(migrated), lambda: datetime.now(UTC)
    built, other = (open_store(tmp_path / node, url) for node in ("built", "other"))
    built.files.write("messages/1.eml", PLAIN)
    number = stored.enqueue(built, DraftMessage("<1@example.com>", "a message", "pipeline@example.com", ("me@example.com",), "messages/1.eml", len(PLAIN)), now=now())
    with SmtpServer() as server:
        waiting, = deliver(other, plain(server), now)
        assert (waiting.state, waiting.error.partition(": ")[2].partition(":")[0]) == (MessageState.WAITING, "the file of the message is not on this node")
        assert stored.retry(other, number, now=now())
        sent, = deliver(built, plain(server), now)
        server.wait_for(1)
    assert sent.state is MessageState.SENT
    for store in (built, other):
        store.close()


def test_a_lost_answer_sends_the_same_message_id_again(store, enqueue, clock) -> None:
    enqueue(content=b"Message-ID: <1@example.com>\r\n" + PLAIN)
    with SmtpServer() as server:
        server.faults.append(Fault("END", hang_up=True, keep=True, times=1))
        first, = deliver(store, plain(server), clock)
        assert "recipients may receive the message twice" in str(first)
        clock.forward(minutes=2)
        deliver(store, plain(server), clock)
        one, two = server.wait_for(2)
    assert one.content == two.content


DELIVERER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipeline.mail.outbox import RetryPolicy, deliver_due
from pipeline.mail.transports.maildir import MaildirTransport
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.store import open_store

store = open_store(Path(sys.argv[1]))
at = datetime.fromisoformat(sys.argv[3])
transport = SmtpTransport("127.0.0.1", int(sys.argv[2]), security="none", timeout_s=20) if sys.argv[2] != "maildir" \
    else MaildirTransport(Path(sys.argv[1], "mail"))
print("ready", flush=True)
for attempt in deliver_due(store, transport, owner=store.owner, now=lambda: at, policy=RetryPolicy(1e6)):
    print(attempt, flush=True)
"""


def deliverer(store, target: str, at=NOW) -> ForkedProcess:
    near, far = os.pipe()
    with open(near, "rb") as output:
        with open(far, "wb") as theirs:
            process = forked_python(DELIVERER, str(store.data_dir), target, at.isoformat(), output=theirs)
        assert output.readline() == b"ready\n"
    return process


def kill(process: ForkedProcess) -> None:
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL


@pytest.mark.parametrize(("stage", "times_seen"), [("CONNECT", 1), ("MAIL", 1), ("DATA", 1), ("END", 2)])
def test_after_a_kill_during_delivery_the_message_is_delivered_when_its_lease_expires(stage, times_seen, store, enqueue, clock) -> None:
    enqueue()
    reached = threading.Event()

    class Watched(SmtpServer):
        def take(self, at, address=""):
            fault = super().take(at, address)
            if fault is not None:
                reached.set()
            return fault

        def keep(self, envelope, **how):
            super().keep(envelope, **how)
            reached.set()

    with Watched() as server:
        server.faults.append(Fault(stage, times=1, keep=True))  # silence: the deliverer hangs right there
        process = deliverer(store, str(server.port))
        assert reached.wait(20)
        kill(process)
        assert deliver(store, plain(server), clock) == []  # its lease still holds
        clock.forward(minutes=3)
        assert deliver(store, plain(server), clock)[0].state is MessageState.SENT
        # Only where the server took the body and its answer was lost does the message come twice.
        assert len(server.received) == times_seen


def test_kills_at_random_moments_lose_nothing_and_a_maildir_has_each_message_once(store, enqueue, clock) -> None:
    for number in range(60):
        enqueue(name=str(number), content=PLAIN + f"number {number}\r\n".encode())
    rng = random.Random(6)
    for kills in range(8):
        process = deliverer(store, "maildir", at=NOW + timedelta(hours=kills))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 0.02))
        kill(process)
    clock.forward(hours=9)
    deliver(store, MaildirTransport(store.data_dir / "mail"), clock)
    found = [path.read_bytes() for path in (store.data_dir / "mail" / "new").iterdir()]
    assert len(found) == 60
    assert len(set(found)) == 60
    assert stored.list_messages(store) == []


def test_a_maildir_delivers_once_even_after_a_client_moved_the_message(tmp_path, message_to) -> None:
    file = tmp_path / "m.eml"
    file.write_bytes(PLAIN)
    transport = MaildirTransport(tmp_path / "mail")
    transport.deliver(message_to("a@example.com"), file)
    delivered, = (tmp_path / "mail" / "new").iterdir()
    assert delivered.read_bytes() == PLAIN.replace(b"\r\n", b"\n")
    assert delivered.stat().st_mode & 0o777 == 0o600
    delivered.rename(tmp_path / "mail" / "cur" / f"{delivered.name}:2,S")
    transport.deliver(message_to("a@example.com"), file)
    assert list((tmp_path / "mail" / "new").iterdir()) == []


async def until(condition, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def run_while(outbox: DeliveryLoop, work) -> None:
    running = asyncio.create_task(outbox.run())
    try:
        await work()
    finally:
        outbox.stop()
        await asyncio.wait_for(running, 20)


def test_the_loop_delivers_what_is_enqueued_while_it_runs(store, enqueue, clock) -> None:
    events: list[DeliveryAttempt] = []

    async def main(server: SmtpServer) -> None:
        outbox = DeliveryLoop(store, plain(server), policy=RetryPolicy(DAY_S), now=clock, on_attempt=events.append, on_error=pytest.fail)

        async def work() -> None:
            enqueue(name="later")
            outbox.wake()
            await until(lambda: len(events) == 1)

        await run_while(outbox, work)

    with SmtpServer() as server:
        asyncio.run(main(server))
        assert len(server.wait_for(1)) == 1
    assert events[0].state is MessageState.SENT


def test_abort_ends_a_delivery_that_hangs_and_the_message_waits(store, enqueue, clock) -> None:
    enqueue()
    events: list[DeliveryAttempt] = []

    async def main(server: SmtpServer) -> None:
        outbox = DeliveryLoop(store, plain(server, timeout_s=60), policy=RetryPolicy(DAY_S), now=clock, on_attempt=events.append,
                              on_error=pytest.fail)
        running = asyncio.create_task(outbox.run())
        await until(lambda: server.faults[0].times == 0)
        outbox.abort()
        await asyncio.wait_for(running, 30)
        await until(lambda: len(events) == 1)

    with SmtpServer() as server:
        server.faults.append(Fault("DATA", times=1))  # silence, far longer than anybody waits at shutdown
        asyncio.run(main(server))
    assert events[0].state is MessageState.WAITING


@given(st.integers(0, 10_000), st.integers())
def test_the_retry_delay_doubles_from_a_minute_to_an_hour(attempt, seed) -> None:
    wait_s = backoff_s(attempt, random.Random(seed))
    base = min(3600, 60 * 2 ** min(max(attempt, 1) - 1, 10))
    assert 0.8 * base <= wait_s <= 1.2 * base


def test_a_message_for_a_channel_is_no_mail_and_does_not_count_towards_the_limit_of_mails(store, enqueue, clock) -> None:
    stored.enqueue(store, DraftMessage("<1@x>", "2 new", "me@x", ("env:SLACK_URL",), "messages/1.json", 1, channel="env:SLACK_URL"), now=NOW)
    with SmtpServer() as server:
        assert deliver(store, plain(server), clock) == []
    assert (stored.waiting_channels(store), stored.next_due(store, ""), stored.next_due(store)) == (["env:SLACK_URL"], None, NOW)
    transport = MaildirTransport(store.files.path("Maildir"))
    store.files.write("messages/1.json", b"{}")
    sent, = deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(DAY_S), channel="env:SLACK_URL")
    assert str(sent) == "message 1 “2 new”: delivered to env:SLACK_URL"
    assert stored.accepted_between(store, NOW, clock()) == []
    assert not stored.waiting_channels(store)
