"""Kill a delivering process with -9 at seeded random moments, and check deliveries and outbox.

    python -m tests.mail.torture --rounds 100 --seed 1

Each round enqueues messages to three recipients, of which a server defers one once; a process delivers them and is
killed; the next one continues when the lease has expired. In the end every recipient must have every message.
After each kill every delivered copy is compared with the outbox: either it is recorded as accepted, or its attempt has no
record, because the reply was lost with the process. Only copies of the second kind are delivered once more.
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import random
import re
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.mail.outbox import RetryPolicy, deliver_due
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.model import DraftMessage, MessageState
from pipeline.store import Store, open_store
from pipeline.store.mail import outbox
from tests.servers.commands import forked_dialogue
from tests.servers.smtp import Fault, Received, SmtpServer

TO = ("a@example.com", "b@example.com", "grey@example.com")
MESSAGES = 4
STEPS = 2 + 6 * MESSAGES
"""Of a delivery of them all at the least: CONNECT, EHLO, and for each MAIL, three RCPT, DATA and the end of data."""
BODY = b"Message-ID: <%d@example.com>\r\nSubject: hello\r\n\r\nbody\r\n"
_ID = re.compile(rb"Message-ID: (<\d+@example\.com>)")

DELIVERER = """
import sys
from datetime import datetime
from pathlib import Path
from pipeline.mail.outbox import RetryPolicy, deliver_due
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.store import open_store

store = open_store(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    at = datetime.fromisoformat(line.strip())
    deliver_due(store, SmtpTransport("127.0.0.1", int(sys.argv[2]), security="none", timeout_s=20), owner=store.owner,
                now=lambda: at, policy=RetryPolicy(1e9))
    print("done", flush=True)
"""


def _same(moment: datetime) -> datetime:
    return moment


@dataclass
class Tally:
    """rounds: kills; twice: second copies, each of a message whose answer a kill lost."""

    rounds: int
    messages: int
    deliveries: int
    twice: int
    killed_at_work: int


Copy = tuple[str, str]
"""A Message-ID and who got it."""


def copies(received: Sequence[Received]) -> list[Copy]:
    return [(match[1].decode(), to) for one in received if (match := _ID.search(one.content)) for to in one.recipients]


def in_doubt(store: Store, came: Sequence[Copy], rows: Mapping[str, int]) -> list[Copy]:
    """Those of the copies that came of which the outbox knows nothing. Raises AssertionError where it should.

    rows: ids in the outbox by Message-ID.
    """
    found = []
    for message_id, to in came:
        message = outbox.get(store, rows[message_id])
        assert message is not None
        of, answers, tries = message
        if any(answer.address == to and answer.accepted for answer in answers):
            continue
        assert of.state is MessageState.WAITING, f"{message_id} came to {to}, and the outbox says {of.state}"
        assert of.attempt not in {attempt for _, attempt, _ in tries}, f"{message_id} came to {to} in an attempt that has its record"
        found.append((message_id, to))
    return found


def torture(folder: Path, rounds: int, seed: int) -> Tally:
    """Kill `rounds` deliverers. Raises AssertionError where anything is lost, or comes twice without that excuse."""
    rng = random.Random(seed)
    now = datetime(2026, 11, 22, 8, tzinfo=UTC)
    store = open_store(folder)
    rows: dict[str, int] = {}
    doubtful: collections.Counter[Copy] = collections.Counter()
    lost_answers = seen = killed_at_work = 0
    with SmtpServer(delay_s=0.002) as server:
        for _ in range(rounds):
            for _ in range(MESSAGES):
                number = len(rows) + 1
                key, message_id = f"messages/{number}.eml", f"<{number}@example.com>"
                store.files.write(key, BODY % number)
                rows[message_id] = outbox.enqueue(store, DraftMessage(message_id, "hello", "p@example.com", TO, key, 60), now=now)
            server.faults = [Fault("RCPT", "450 4.2.0 greylisted", address="grey@example.com", times=1)]
            step = server.steps + rng.randint(1, STEPS)
            killed_at_work += _killed(folder, server, now, step=step, after_s=rng.uniform(0, 0.004))
            server.wait_until_idle()
            lost = in_doubt(store, copies(server.received[seen:]), rows)
            doubtful.update(lost)
            lost_answers += len({message_id for message_id, _ in lost})
            seen = len(server.received)
            now += timedelta(hours=2)  # leases have run out, back-off is over
        transport = SmtpTransport("127.0.0.1", server.port, security="none", timeout_s=20)
        for _ in range(3):
            deliver_due(store, transport, owner="last", now=functools.partial(_same, now), policy=RetryPolicy(1e9))
            now += timedelta(hours=2)
        transport.close()
        got = collections.Counter(copies(server.received))
        deliveries = len(server.received)
    left = outbox.list_messages(store, (MessageState.WAITING, MessageState.PARKED))
    store.close()
    assert not left, f"{len(left)} messages are left"
    wanted = collections.Counter((message_id, to) for message_id in rows for to in TO)
    assert got == wanted + doubtful, f"lost: {wanted + doubtful - got}; twice without excuse: {got - wanted - doubtful}"
    assert lost_answers <= rounds, "a kill loses one answer at the most"
    return Tally(rounds, len(rows), deliveries, lost_answers, killed_at_work)


def _killed(folder: Path, server: SmtpServer, at: datetime, *, step: int, after_s: float) -> bool:
    """Let a process deliver what is due and kill it a moment after a step of its dialogue; whether it was at work."""
    with forked_dialogue(DELIVERER, str(folder), str(server.port)) as (process, given, answers):
        assert answers.readline() == "ready\n"
        given.write(f"{at.isoformat()}\n")
        given.flush()
        server.wait_for_step(step)
        threading.Event().wait(after_s)  # the moment is what is random here
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
        return "done" not in answers.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = torture(Path(folder), options.rounds, options.seed)
    print(f"{tally.rounds} kills (seed {options.seed}), {tally.killed_at_work} of them during a delivery: "
          f"{tally.messages} messages to 3 recipients each, 0 lost, {tally.twice} answers lost with the process, these and no others sent again with the same Message-ID, "
          f"in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
