"""Kill a process with -9 that builds a digest with a summary.

The summary, the mail and the outbox are checked.

    python -m tests.torture mail/summary --rounds 100 --seed 1

Each round has new items, and a language model that answers each request differently. A process claims and builds the digest, and is killed: while the
model answers, when the summary was stored, or at a random moment after the answer. Then the digest is built by another process. Each item must be in
exactly one mail, the mail must have the summary that is stored, and a summary that was stored before the kill must still be the same, without a further
request to the model.
"""

from __future__ import annotations

import argparse
import collections
import email
import os
import random
import re
import signal
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.policy import default
from pathlib import Path
from typing import Literal

from pipeline.mail.digests.build import build
from pipeline.model import MessageState, ModelSummary
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.mail import digests, model_summaries, outbox
from tests.mail.conftest import NOW, Site
from tests.servers.commands import forked_dialogue
from tests.servers.language_model import Answer, AskedModel, LanguageModelServer

ITEMS = 6
DEADLINE_S = 30.0
Moment = Literal["asked", "stored", "later"]
MOMENTS: tuple[Moment, ...] = ("asked", "stored", "later", "later")

BUILDER = """
import sys
from datetime import datetime
from pathlib import Path
import openai
from pipeline.mail.digests.build import build
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.mail import digests

settings = load(sys.argv[1])
store = open_store(Path(sys.argv[2]))
print("ready", flush=True)
now = datetime.fromisoformat(sys.stdin.readline().strip())
claim = digests.claim(store, "morning", ["books"], now.isoformat(), owner="killed", now=now)
build(store, settings, claim, owner="killed", now=now)
print("done", flush=True)
"""


@dataclass
class Tally:
    """rounds: kills. stored: of these, after the summary was stored and before the digest was finished. finished: of these, too late. asked: requests."""

    rounds: int
    stored: int = 0
    finished: int = 0
    asked: int = 0


@dataclass
class CountingModel:
    """Answers each request with another text. began, answered: set when a request has arrived, and when its answer is sent."""

    asked: int = 0
    waits: bool = False
    began: threading.Event = field(default_factory=threading.Event)

    def __call__(self, request: AskedModel) -> str | Answer:
        self.asked += 1
        self.began.set()
        said = f'{{"claims": [{{"text": "Answer number {self.asked}.", "items": [{max(request.records)}]}}], "order": {sorted(request.records, reverse=True)}}}'
        return Answer(said, hang=5) if self.waits else said


def torture(folder: Path, rounds: int, seed: int, moments: tuple[Moment, ...] = MOMENTS) -> Tally:
    """Kill `rounds` builders. Raises AssertionError where an item is lost or told twice, or where a mail has another summary than the stored one."""
    rng, tally, model = random.Random(seed), Tally(rounds), CountingModel()
    with LanguageModelServer(model) as server:
        settings = _settings(folder, server)
        store = open_store(folder / "var")
        site = Site(store)
        now = NOW
        for number in range(rounds):
            site.run({f"{number}-{n}": {"title": f"Item {number}-{n}"} for n in range(ITEMS)}, complete=False)
            now += timedelta(minutes=10)
            _killed(folder, store, model, now, moment=moments[number % len(moments)], after_s=rng.uniform(0, 0.25))
            _check_round(store, settings, model, now, tally)
        tally.asked = model.asked
        _check_mails(store, rounds)
        store.close()
    return tally


def _settings(folder: Path, server: LanguageModelServer) -> Settings:
    path = folder / "settings.toml"
    path.write_text('[pipeline]\ndata_dir = "var"\n[mail]\nfrom = "p@example.com"\n[spiders.books]\nstart = "http://site.test/"\n[digests.morning]\nspiders = ["books"]\n'
                    f'to = ["me@example.com"]\nsummary = true\n{server.settings("max_tokens_per_day = 100_000_000")}', "utf-8")
    return load(path)


def _killed(folder: Path, store: Store, model: CountingModel, now: datetime, *, moment: Moment, after_s: float) -> None:
    model.began.clear()
    model.waits = moment == "asked"
    with forked_dialogue(BUILDER, str(folder / "settings.toml"), str(folder / "var")) as (process, given, answers):
        assert answers.readline() == "ready\n"
        given.write(f"{now.isoformat()}\n")
        given.flush()
        assert model.began.wait(DEADLINE_S)
        if moment == "stored":
            _wait_for_summary(store)
        elif moment == "later":
            threading.Event().wait(after_s)  # the moment is what is random here
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    model.waits = False


def _wait_for_summary(store: Store) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while _summary(store) is None:
        assert time.monotonic() < deadline, "no summary was stored"
        threading.Event().wait(0.001)


def _open_claim(store: Store) -> int | None:
    return digests.oldest_unfinished(store, "morning", now=NOW)


def _summary(store: Store) -> ModelSummary | None:
    claim_id = _open_claim(store)
    return model_summaries.find(store, claim_id, 0, "en") if claim_id is not None else None


def _check_round(store: Store, settings: Settings, model: CountingModel, now: datetime, tally: Tally) -> None:
    """Build what the killed process has left, and compare the summaries before and after."""
    claim_id, before, asked = _open_claim(store), _summary(store), model.asked
    if claim_id is None:
        tally.finished += 1
        return
    later = now + timedelta(minutes=5)  # the lease has expired
    claim = digests.claim(store, "morning", ["books"], "next", owner="next", now=later)
    assert claim is not None
    assert claim.id == claim_id
    build(store, settings, claim, owner="next", now=later)
    after = model_summaries.find(store, claim_id, 0, "en")
    assert after is not None
    assert after.claims
    if before is not None:
        tally.stored += 1
        assert after == before, "a stored summary was replaced"
        assert model.asked == asked, "the model was asked again"


def _check_mails(store: Store, rounds: int) -> None:
    titles: collections.Counter[str] = collections.Counter()
    for message in outbox.list_messages(store, (MessageState.WAITING,)):
        assert message.digest_id is not None
        mail = email.message_from_bytes(store.files.path(message.file_key).read_bytes(), policy=default)
        body = mail.get_body(("plain",))
        assert body is not None
        text = body.get_content().replace("\r\n", "\n")
        titles.update(re.findall(r"^\* (?:\[\d+\] )?Item ([\d-]+)$", text, re.MULTILINE))
        summary = model_summaries.find(store, message.digest_id, 0, "en")
        assert summary is not None
        assert re.findall(r"^\* (Answer number \d+\.) \[1\]$", text, re.MULTILINE) == [claim.text for claim in summary.claims]
        assert re.search(rf"^\* \[1\] Item \d+-{ITEMS - 1}$", text, re.MULTILINE)
    assert titles == {f"{number}-{n}": 1 for number in range(rounds) for n in range(ITEMS)}, "an item was lost, or told twice"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = torture(Path(folder), options.rounds, options.seed)
    print(f"{tally.rounds} kills (seed {options.seed}), {tally.stored} of them between summary and mail, {tally.finished} after the mail: {tally.rounds * ITEMS} items, "
          f"each in one mail, each mail with the stored summary; {tally.asked} requests, in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
