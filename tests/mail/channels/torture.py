"""Kill a process that delivers texts to a notification channel with -9 at seeded moments.

Texts and outbox are checked.

    python -m tests.mail.channels.torture --rounds 100 --seed 1

Each round enqueues texts for a channel, and mails beside them; a process delivers the texts and is killed; the next one continues when
the leases have expired. In the end the channel must have every text, and no process has touched a mail. After each kill every text that
came is compared with the outbox: either it is recorded as accepted, or its attempt has no record, because the answer was lost with the
process. Only texts of the second kind are sent once more.
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.mail.channels.text import ChannelText
from pipeline.mail.outbox import RetryPolicy, deliver_due
from pipeline.mail.transports.channel import ChannelTransport
from pipeline.model import DraftMessage, MessageState
from pipeline.store import open_store
from pipeline.store.mail import outbox
from tests.mail.torture import Copy, Tally, in_doubt
from tests.servers.pages import Answer, Asked, PageSite

CHANNEL = "env:HOOK"
TEXTS = 4
ANSWER_S = 0.02
_NUMBER = re.compile(r"text (\d+)!")

DELIVERER = """
import sys
from datetime import datetime
from pathlib import Path
from pipeline.mail.outbox import RetryPolicy, deliver_due
from pipeline.mail.transports.channel import ChannelTransport
from pipeline.store import open_store

store = open_store(Path(sys.argv[1]))
transport = ChannelTransport("env:HOOK", lambda: sys.argv[2])
transport.connect()
print("ready", flush=True)
at = datetime.fromisoformat(sys.stdin.readline().strip())
deliver_due(store, transport, owner=store.owner, now=lambda: at, policy=RetryPolicy(1e9), channel="env:HOOK")
print("done", flush=True)
"""


class Hook:
    """A service that takes texts slowly, and counts them."""

    def __init__(self, site: PageSite) -> None:
        self.came: list[Copy] = []
        self.url = site.url.replace("http://", "json://") + "/hook"
        self._changed = threading.Condition()
        site.pages["/hook"] = self._take

    def _take(self, asked: Asked) -> Answer:
        found = _NUMBER.search(json.dumps(json.loads(asked.body)))
        assert found, asked.body
        with self._changed:
            self.came.append((f"<{found[1]}@example.com>", CHANNEL))
            self._changed.notify_all()
        threading.Event().wait(ANSWER_S)
        return Answer("")

    def wait_for(self, count: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self.came) >= count, timeout=30)


def torture(folder: Path, rounds: int, seed: int) -> Tally:
    """Kill `rounds` deliverers. Raises AssertionError where a text is lost, or comes twice although its answer was not lost."""
    rng = random.Random(seed)
    now = datetime(2026, 11, 22, 8, tzinfo=UTC)
    store = open_store(folder)
    rows: dict[str, int] = {}
    doubtful: collections.Counter[Copy] = collections.Counter()
    seen = killed_at_work = 0
    with PageSite() as site:
        hook = Hook(site)
        for _ in range(rounds):
            for _ in range(TEXTS):
                number = len(rows) + 1
                text, key = ChannelText(f"text {number}!", ("one line",), ("", "")), f"messages/{number}.json"
                store.files.write(key, text.as_bytes())
                rows[f"<{number}@example.com>"] = outbox.enqueue(store, DraftMessage(
                    f"<{number}@example.com>", text.subject, "p@example.com", (CHANNEL,), key, 60, channel=CHANNEL), now=now)
            outbox.enqueue(store, DraftMessage(f"<mail-{len(rows)}@example.com>", "mail", "p@example.com", ("a@example.com",), "none", 60), now=now)
            killed_at_work += _killed(folder, hook, now, count=len(hook.came) + rng.randint(1, TEXTS), after_s=rng.uniform(0, 6 * ANSWER_S))
            lost = in_doubt(store, hook.came[seen:], rows)
            assert len(lost) <= 1, "a kill loses one answer at the most"
            doubtful.update(lost)
            seen = len(hook.came)
            now += timedelta(hours=2)  # leases have run out, back-off is over
        transport = ChannelTransport(CHANNEL, lambda: hook.url)
        for _ in range(2):
            deliver_due(store, transport, owner="last", now=functools.partial(_same, now), policy=RetryPolicy(1e9), channel=CHANNEL)
            now += timedelta(hours=2)
        transport.close()
        got = collections.Counter(hook.came)
    left = outbox.list_messages(store, (MessageState.WAITING, MessageState.PARKED))
    store.close()
    assert [(message.channel, message.attempt) for message in left] == [("", 0)] * rounds, "the mails wait, untouched, and nothing else"
    wanted = collections.Counter((message_id, CHANNEL) for message_id in rows)
    assert got == wanted + doubtful, f"lost: {wanted + doubtful - got}; twice without excuse: {got - wanted - doubtful}"
    return Tally(rounds, len(rows), len(hook.came), doubtful.total(), killed_at_work)


def _same(moment: datetime) -> datetime:
    return moment


def _killed(folder: Path, hook: Hook, at: datetime, *, count: int, after_s: float) -> bool:
    """Let a process deliver what is due and kill it a moment after the service got a text; whether it was at work."""
    process = subprocess.Popen([sys.executable, "-c", DELIVERER, str(folder), hook.url], text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    children = [int(pid) for task in Path(f"/proc/{process.pid}/task").iterdir() for pid in (task / "children").read_text().split()]
    process.stdin.write(f"{at.isoformat()}\n")
    process.stdin.flush()
    hook.wait_for(count)
    threading.Event().wait(after_s)  # the moment is what is random here
    os.kill(process.pid, signal.SIGKILL)
    said, _ = process.communicate()
    for child in children:
        _wait_for_end(child)
    threading.Event().wait(ANSWER_S)  # a text that the service has got, but not counted yet
    return "done" not in said


def _wait_for_end(pid: int, within_s: float = 30.0) -> None:
    """Wait until the process with Apprise has noticed that its parent is gone: until then a text may still be on its way."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"process {pid} outlives its parent")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = torture(Path(folder), options.rounds, options.seed)
    print(f"{tally.rounds} kills (seed {options.seed}), {tally.killed_at_work} of them during a delivery: {tally.messages} texts for a channel, "
          f"0 lost, {tally.twice} answers lost with the process, these and no others sent again, in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
