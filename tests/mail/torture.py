"""Kill -9 of a process that delivers, at seeded random moments: who got what how often, and what the outbox says.

    python -m tests.mail.torture --rounds 100 --seed 1

Each round enqueues messages to three recipients, of which a server puts one off once; a process delivers them and is
killed; the next one takes up what is left when the lease has run out. In the end every recipient must have every message. A second
copy is allowed only of a message whose body the server had taken when the kill came, one a kill.
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.mail.outbox import deliver_due
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.model import DraftMessage, MessageState
from pipeline.store import open_store, outbox
from tests.servers.smtp import Fault, SmtpServer

TO = ("a@example.com", "b@example.com", "grey@example.com")
MESSAGES = 4
BODY = b"Message-ID: <%d@example.com>\r\nSubject: hello\r\n\r\nbody\r\n"
_ID = re.compile(rb"Message-ID: (<\d+@example\.com>)")

DELIVERER = """
import sys
from datetime import datetime
from pathlib import Path
from pipeline.mail.outbox import deliver_due
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.store import open_store

store = open_store(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    at = datetime.fromisoformat(line.strip())
    deliver_due(store, SmtpTransport("127.0.0.1", int(sys.argv[2]), security="none", timeout_s=20), owner=store.owner,
                now=lambda: at, max_age_s=1e9)
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


def torture(folder: Path, rounds: int, seed: int) -> Tally:
    """Kill `rounds` deliverers. Raises AssertionError where anything is lost, or twice without that excuse."""
    rng = random.Random(seed)
    now = datetime(2026, 11, 22, 8, tzinfo=UTC)
    store = open_store(folder)
    number = killed_at_work = 0
    with SmtpServer(delay_s=0.002) as server:
        for _ in range(rounds):
            for _ in range(MESSAGES):
                number += 1
                key = f"messages/{number}.eml"
                store.files.write(key, BODY % number)
                outbox.enqueue(store, DraftMessage(f"<{number}@example.com>", "hello", "p@example.com", TO, key, 60), now=now)
            server.faults = [Fault("RCPT", "450 4.2.0 greylisted", address="grey@example.com", times=1)]
            process = subprocess.Popen([sys.executable, "-c", DELIVERER, str(folder), str(server.port)], text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.stdin.write(f"{now.isoformat()}\n")
            process.stdin.flush()
            threading.Event().wait(rng.uniform(0, 0.25))  # the moment is what is random here
            os.kill(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            killed_at_work += "done" not in said
            now += timedelta(hours=2)  # leases have run out, back-off is over
        transport = SmtpTransport("127.0.0.1", server.port, security="none", timeout_s=20)
        for _ in range(3):
            deliver_due(store, transport, owner="last", now=functools.partial(_same, now), max_age_s=1e9)
            now += timedelta(hours=2)
        transport.close()
        got = collections.Counter((match[1], to) for one in server.received for to in one.recipients
                                  if (match := _ID.search(one.content)))
        deliveries = len(server.received)
    left = outbox.list_messages(store, (MessageState.WAITING, MessageState.PARKED))
    store.close()
    wanted = {(b"<%d@example.com>" % n, to) for n in range(1, number + 1) for to in TO}
    assert not left, f"{len(left)} messages are left"
    assert set(got) == wanted, f"lost: {sorted(wanted - set(got))}"
    twice: dict[bytes, int] = collections.defaultdict(int)
    for (message_id, _), count in got.items():
        twice[message_id] = max(twice[message_id], count - 1)
    assert sum(twice.values()) <= rounds, f"more second copies than kills: {dict(twice)}"
    return Tally(rounds, number, deliveries, sum(twice.values()), killed_at_work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = torture(Path(folder), options.rounds, options.seed)
    print(f"{tally.rounds} kills (seed {options.seed}), {tally.killed_at_work} of them during a delivery: "
          f"{tally.messages} messages to 3 recipients each, 0 lost, {tally.twice} sent twice with the same Message-ID, "
          f"in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
