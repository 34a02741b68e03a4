"""The real service, killed and stopped at random moments, against a site and a mail server that fail at random.

    python -m tests.service.torture --rounds 200 --seed 1

At the end: every item the site ever showed last is stored as it was; the digests that arrived link up without a
gap or a repetition (what one says an item was is what the one before said it became); no message arrived twice but
where the service was killed between the server's acceptance and its own note of it; no process is left.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import json
import random
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from pipeline.store import items as stored_items
from pipeline.store import open_store
from pipeline.store.schema import messages
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program, alive, eventually
from tests.servers.smtp import Fault, SmtpServer

SETTINGS = """
[mail]
host = "127.0.0.1"
port = {mail}
security = "none"
timeout = "5s"
[spiders.s]
start = "{url}/0"
follow = ["a"]
download = ["a.file"]
schedule = "every 1s"
robots = false
retries = 1
[spiders.s.items]
each = "p"
key = ["id"]
[spiders.s.items.fields]
id = {{ css = "b" }}
value = {{ css = "i", type = "number" }}
[digests.d]
spiders = ["s"]
to = ["you@example.com"]
attach = ["jsonl"]
"""
PAGES = 4
ITEMS_A_PAGE = 5


class ChangingSite:
    """Pages of items whose values go up now and then; it fails and dawdles as the generator says, until it is calm."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._lock = threading.Lock()
        self.calm = False
        self.values = {f"{page}-{n}": 0 for page in range(PAGES) for n in range(ITEMS_A_PAGE)}
        self.site = PageSite({f"/{page}": self._page for page in range(PAGES)} | {"/f": b"x" * 300_000})

    def _page(self, asked: Asked) -> Answer:
        number = int(asked.path[1:])
        with self._lock:
            if not self.calm:
                if self._rng.random() < 0.05:
                    return Answer("down", 503)
                for key in self.values:
                    if key.startswith(f"{number}-") and self._rng.random() < 0.3:
                        self.values[key] += 1
            items = "".join(f"<p><b>{key}</b><i>{value}</i></p>" for key, value in self.values.items()
                            if key.startswith(f"{number}-"))
        links = "".join(f"<a href=/{page}>{page}</a>" for page in range(PAGES))
        return Answer(f"{items}{links}<a class=file href=/f>f</a>")


@dataclass
class Tally:
    """What the rounds did and what arrived."""

    ends: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    digests: int = 0
    changes: int = 0
    twice: int = 0

    def __str__(self) -> str:
        ends = ", ".join(f"{name} {count}" for name, count in sorted(self.ends.items()))
        runs = ", ".join(f"{name} {count}" for name, count in sorted(self.runs.items()))
        return (f"ends: {ends}\nruns: {runs}\n{self.digests} digests told {self.changes} changes; "
                f"{self.twice} messages arrived a second time, the same Message-ID")


def torture(folder: Path, rounds: int, seed: int) -> Tally:
    """The rounds, the calm after them, and the proof. Raises AssertionError where something was lost or told twice."""
    rng = random.Random(seed)
    tally = Tally()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    changing = ChangingSite(random.Random(seed + 1))
    program = Program(folder, port)
    started: set[int] = set()
    with changing.site as site, SmtpServer() as server:
        program.write(SETTINGS.format(mail=server.port, url=site.url))
        try:
            for _ in range(rounds):
                server.faults[:] = [_fault(rng)] if rng.random() < 0.3 else []
                program.serve()
                time.sleep(rng.uniform(0.0, 3.0))
                started |= program.descendants() | {program.pid}
                tally.ends[_end(program, rng)] += 1
            changing.calm = True
            server.faults.clear()
            started |= _settle(program)
        finally:
            program.close()
        _prove(program, changing, server, tally)
    eventually(lambda: not alive(started), within_s=10)
    return tally


def _fault(rng: random.Random) -> Fault:
    stage = rng.choice(("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END"))
    return Fault(stage, "451 4.3.0 later" if rng.random() < 0.5 else "421 4.3.0 going down", times=rng.randint(1, 3),
                 hang_up=rng.random() < 0.5)


def _end(program: Program, rng: random.Random) -> str:
    """End the service, or only one of its children, as violently as the generator says."""
    kind = rng.choice(("service killed", "service killed", "stopped", "child killed"))
    if kind == "child killed":
        children = program.children_at_work()
        if children:
            program.kill_process(rng.choice(sorted(children)))
            time.sleep(rng.uniform(0.0, 0.5))
        else:
            kind = "killed idle"
        program.kill()
    elif kind == "stopped":
        assert program.stop() == 0
    else:
        program.kill()
    return kind


def _settle(program: Program) -> set[int]:
    """Serve in calm until a whole pass has found nothing new and every message is accepted; the processes seen."""
    program.serve()
    started = program.descendants() | {program.pid}

    # What waits for its back-off is asked for at once: the rounds are over, and hours are not spent here.
    def quiet() -> bool:
        for line in program.run("outbox").stdout.splitlines():
            program.run("outbox", "retry", line.split()[0])
        newest = [run for run in program.history() if run["outcome"] not in (None, "skipped")][:2]
        calm = all(run["outcome"] == "succeeded" and run["complete"] and not run["progress"]["changed"]
                   and not run["progress"]["new"] for run in newest)
        return calm and len(newest) == 2 and not program.run("outbox").stdout

    eventually(quiet, within_s=120)
    assert program.stop() == 0
    assert program.run("digest", "d", "--send").returncode == 0
    return started


def _prove(program: Program, changing: ChangingSite, server: SmtpServer, tally: Tally) -> None:
    store = open_store(program.data)
    try:
        stored = {item.key: item.data["value"] for item in stored_items.present(store, "s")}
        with store.read() as connection:
            order = [row.message_id for row in connection.execute(messages.select().order_by(messages.c.id))]
    finally:
        store.close()
    assert stored == changing.values, "the store is not what the site shows"

    arrived: dict[str, bytes] = {}
    for received in server.received:
        message = email.message_from_bytes(received.content, policy=email.policy.default)
        name = str(message["Message-ID"])
        if name in arrived:
            tally.twice += 1
            assert arrived[name] == received.content, "a message was sent again, but not the same"
        arrived[name] = received.content
    assert set(arrived) == set(order), "a message is missing, or came from nowhere"
    assert tally.twice <= tally.ends["service killed"] + tally.ends["child killed"] + tally.ends["killed idle"]

    last: dict[str, Any] = {}
    for name in order:
        for change in _changes(arrived[name]):
            key, before, after = change["key"], change["before"], change["after"]
            assert before == last.get(key, {}), f"{key}: told {before} after {last.get(key)}"
            last[key] = after
            tally.changes += 1
    assert {key: item["value"] for key, item in last.items()} == stored, "a change was never told"
    tally.digests = len(order)
    for run in program.history():
        tally.runs[str(run["outcome"])] += 1
    whole = list((program.data / "downloads" / "s").glob("f*"))
    assert [path.stat().st_size for path in whole] == [300_000]


def _changes(content: bytes) -> list[dict[str, Any]]:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return [json.loads(line) for part in message.iter_attachments() if str(part.get_filename()).endswith(".jsonl")
            for line in part.get_payload(decode=True).decode().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            tally = torture(Path(folder), given.rounds, given.seed)
        except AssertionError as error:
            print(f"seed {given.seed}: {error}")
            traceback.print_exc()
            print((Path(folder) / "serve.log").read_text("utf-8")[-5000:])
            sys.exit(1)
    print(f"{given.rounds} rounds in {time.monotonic() - began:.0f} s, seed {given.seed}\n{tally}")


if __name__ == "__main__":
    main()
