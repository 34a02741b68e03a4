"""Kill processes that judge and render a digest with -9 at seeded random moments.

Judgements, mails and requests are checked.

    python -m tests.mail.judging.torture --rounds 100 --seed 1

Each round finds new items; a process judges their changes, which takes several requests, and renders the mail, until it is killed: when a
certain request arrives, while its answer is on the way, or after the last one. The next process goes on, but the server now answers the opposite.
A judgement that is stored must never change, and no change that has one may be asked again. In the end, each item must be either in exactly one
mail or in the list of what was left out, as its judgement says.
"""

from __future__ import annotations

import argparse
import collections
import csv
import email
import email.policy
import io
import os
import random
import re
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pipeline.mail.digests.build import build
from pipeline.model import Item, MessageState, Outcome, Page, Progress
from pipeline.settings import load
from pipeline.store import Store, open_store
from pipeline.store.crawl import commit
from pipeline.store.database.schema import changes, judgements
from pipeline.store.mail import digests, outbox
from pipeline.store.runs.runs import Ending, abandon_expired, claim_slot, end_run, start_run
from tests.servers.commands import forked_call
from tests.servers.language_model import AskedModel, LanguageModelServer

ITEMS = 60
REQUESTS = 3
NOW = datetime(2026, 11, 30, 8, tzinfo=UTC)
_NAME = re.compile(r"Item \d+-\d+")


def build_all(folder: str) -> None:
    """Build what the digest has to report, as a process does that goes on after a killed one."""
    settings = load(Path(folder, "settings.toml"))
    store = open_store(Path(folder, "var"))
    now = datetime.now(UTC)
    abandon_expired(store, now=now)
    owner = f"{store.owner}:digest"
    while (claim := digests.claim(store, "morning", ["books"], "untold runs", owner=owner, now=now)) is not None:
        build(store, settings, claim, owner=owner, now=now)
    store.close()


@dataclass
class Tally:
    """kills: processes that were killed at work. while_judging: those killed before the last judgement of their round. asked: requests."""

    kills: int = 0
    while_judging: int = 0
    asked: int = 0
    told: int = 0
    left_out: int = 0


@dataclass
class Script:
    """Answers requests: each record with its name's parity, or the opposite. Tells when a certain request has come."""

    store: Store
    mood: int = 0
    requests: int = 0
    wanted: int = 0
    came: threading.Event = field(default_factory=threading.Event)
    asked_again: list[str] = field(default_factory=list)

    def __call__(self, asked: AskedModel) -> dict[str, Any]:
        names = {number: _NAME.search(text)[0] for number, text in asked.records.items()}  # type: ignore[index]
        self.asked_again += judged(self.store).keys() & names.values()
        self.requests += 1
        if self.requests == self.wanted:
            self.came.set()
        return {"verdicts": [{"number": number, "tell": (int(name.rpartition("-")[2]) + self.mood) % 2 == 0, "reason": f"mood {self.mood}"}
                             for number, name in names.items()]}


def judged(store: Store) -> dict[str, bool]:
    """Return whether each judged item is told."""
    with store.read() as connection:
        return {row.key: row.told for row in connection.execute(select(changes.c.key, judgements.c.told).join(changes))}


def torture(folder: Path, rounds: int, seed: int) -> Tally:
    """Raises AssertionError if a change is lost, told twice, judged differently, or asked again after it was judged."""
    rng, tally = random.Random(seed), Tally()
    store = open_store(folder / "var")
    script = Script(store)
    with LanguageModelServer(script) as server:
        (folder / "settings.toml").write_text(
            f'{server.settings("max_tokens_per_day = 100000000")}\n[mail]\nfrom = "p@example.com"\n[spiders.books]\nstart = "http://site.test/"\n'
            '[digests.morning]\nspiders = ["books"]\nto = ["me@example.com"]\nonly_if = "it is even"\nattach = ["csv"]\n', "utf-8")
        known: dict[str, bool] = {}
        for number in range(rounds):
            crawl(store, number)
            while digests.untold(store, "morning", ["books"]) or digests.unfinished(store):
                script.mood, script.came = rng.randrange(2), threading.Event()
                script.wanted = script.requests + rng.randint(1, REQUESTS)
                process = forked_call(build_all, str(folder))
                until = time.monotonic() + rng.choice((60.0, rng.uniform(0.05, 0.6)))
                while process.poll() is None and time.monotonic() < until and not script.came.wait(0.005):
                    pass
                time.sleep(rng.choice((0.0, rng.uniform(0, 0.02), rng.uniform(0, 0.15))))  # the moment of the kill is what is tested
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                process.wait(60)
                now = judged(store)
                assert known.items() <= now.items(), "a judgement has changed"
                known = now
                tally.kills += process.returncode == -signal.SIGKILL
                tally.while_judging += process.returncode == -signal.SIGKILL and len(known) < ITEMS * (number + 1)
        assert not script.asked_again, f"asked again: {script.asked_again[:5]}"
    told = collections.Counter(told_items(store))
    known = judged(store)
    expected = [f"Item {number}-{item}" for number in range(rounds) for item in range(ITEMS)]
    assert set(known) == set(expected), "a change was not judged"
    assert told == collections.Counter(name for name in expected if known[name]), "the mails and the judgements differ"
    tally.asked, tally.told, tally.left_out = script.requests, len(told), len(expected) - len(told)
    store.close()
    return tally


def crawl(store: Store, number: int) -> None:
    """Find new items, as a run does."""
    at = NOW + timedelta(minutes=number)
    claimed = claim_slot(store, "books", f"slot {number}", due_at=at, reason="manual", now=at)
    assert claimed is not None
    run = start_run(store, claimed.id, owner="test", now=at, limit=99)
    assert run is not None
    items = tuple(Item(f"Item {number}-{item}", {"title": f"Item {number}-{item}"}) for item in range(ITEMS))
    commit.commit_pages(store, run, [Page(url="http://site.test/", status=200, fetched_at=at, items=items)], now=at)
    end_run(store, run, Ending(Outcome.SUCCEEDED, complete=False), Progress(pages=1, items=ITEMS), now=at)


def told_items(store: Store) -> Iterator[str]:
    """Yield the item of each row of the tables in all mails."""
    for message in outbox.list_messages(store, [MessageState.WAITING]):
        mail = email.message_from_bytes(store.files.local(message.file_key).read_bytes(), policy=email.policy.default)
        for part in mail.iter_attachments():  # type: ignore[attr-defined]
            yield from (row["title"] for row in csv.DictReader(io.StringIO(part.get_content())))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(torture(Path(name), given.rounds, given.seed))
