"""The real service, killed and stopped at random moments, against a site and a mail server that fail at random.

    python -m tests.service.torture --rounds 500 --seed 1

Two spiders, one after the other; two digests; files; where the machine allows it a disk of its own that fills up and
empties, and a clock that jumps (libfaketime). At the end: every item the site showed last is stored as it was; the
digests of each name that arrived link up without a gap or a repetition (what one says an item was is what the one
before said it became); no message arrived twice but where the service was killed between the server's acceptance and
its own note of it; each pass that succeeded was followed once; no slot has two passes; every file is whole; no process,
lock, lease or file on the way is left.
"""

from __future__ import annotations

import argparse
import contextlib
import email
import email.policy
import fcntl
import glob
import json
import random
import socket
import subprocess
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

from sqlalchemy import Connection, select

from pipeline.store import items as stored_items
from pipeline.store import open_store
from pipeline.store.schema import digests, downloads, messages, passes, runs, slots
from tests.download.torture import can_mount, mount
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
[spiders.t]
start = "{url}/0"
follow = ["a"]
after = "s"
overlap = "queue"
robots = false
retries = 1
[spiders.t.retry]
times = 1
wait = "1s"
[spiders.t.items]
each = "p"
key = ["id"]
[spiders.t.items.fields]
id = {{ css = "b" }}
value = {{ css = "i", type = "number" }}
[digests.d]
spiders = ["s"]
to = ["you@example.com"]
attach = ["jsonl"]
[digests.e]
spiders = ["t"]
to = ["you@example.com"]
schedule = "every 3s"
attach = ["jsonl"]
"""
DISK_BYTES = 48_000_000
CHILD_WITHIN_S = 20.0
KILLS = ("service killed", "child killed", "both killed")
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
    odds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        ends = ", ".join(f"{name} {count}" for name, count in sorted(self.ends.items()))
        runs = ", ".join(f"{name} {count}" for name, count in sorted(self.runs.items()))
        odds = ", ".join(f"{name} {count}" for name, count in sorted(self.odds.items()))
        return (f"ends: {ends}\nruns: {runs}\nodds: {odds or 'none'}\n{self.digests} digests told {self.changes} changes; "
                f"{self.twice} messages arrived a second time, the same Message-ID")


class Disk:
    """The disk under data_dir, small enough to be filled."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"
        self._folder = folder

    def fill(self) -> None:
        """To the last block, whoever writes beside."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)


class Clock:
    """What libfaketime tells every process of the program: now, and so many seconds."""

    LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"

    def __init__(self, folder: Path, program: Program) -> None:
        self._file = folder / "clock"
        self.set(0)
        program.environment |= {"LD_PRELOAD": self.library() or "", "FAKETIME_TIMESTAMP_FILE": str(self._file),
                                "FAKETIME_CACHE_DURATION": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "0"}

    @classmethod
    def library(cls) -> str | None:
        return next(iter(glob.glob(cls.LIBRARY)), None)

    def set(self, offset_s: int) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+d}s\n", "ascii")
        fresh.replace(self._file)


def torture(folder: Path, rounds: int, seed: int, *, child_kills: int = 1, disk: bool = False,
            clock: bool = False) -> Tally:
    """The rounds, the calm after them, and the proof. Raises AssertionError where something was lost or told twice.

    child_kills: so many of them at most before the service itself ends; disk: it fills up now and then (root on Linux only); clock: it jumps (needs libfaketime).
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    program = Program(folder, port)
    if not disk:
        return _torture(program, rounds, seed, child_kills, disk=None, clock=Clock(folder, program) if clock else None)
    program.data.mkdir(mode=0o700)
    assert mount(program.data, DISK_BYTES)
    try:
        return _torture(program, rounds, seed, child_kills, disk=Disk(program.data),
                        clock=Clock(folder, program) if clock else None)
    finally:
        subprocess.run(["umount", "--lazy", str(program.data)], check=True)


def _torture(program: Program, rounds: int, seed: int, child_kills: int, *, disk: Disk | None,
             clock: Clock | None) -> Tally:
    rng = random.Random(seed)
    tally = Tally()
    changing = ChangingSite(random.Random(seed + 1))
    started: set[int] = set()
    with changing.site as site, SmtpServer() as server:
        program.write(SETTINGS.format(mail=server.port, url=site.url))
        try:
            for _ in range(rounds):
                server.faults[:] = [_fault(rng)] if rng.random() < 0.3 else []
                program.serve()
                _odd(rng, disk, clock, tally)
                for _ in range(rng.randint(0, child_kills)):
                    started |= program.descendants() | {program.pid}
                    tally.ends["child killed"] += _kill_a_child(program, rng)
                time.sleep(rng.uniform(0.0, 1.0))
                started |= program.descendants() | {program.pid}
                tally.ends[_end(program, rng)] += 1
                if disk is not None:
                    disk.empty()
            changing.calm = True
            server.faults.clear()
            if clock is not None:
                clock.set(0)
            started |= _settle(program)
        finally:
            program.close()
        _prove(program, changing, server, tally)
    eventually(lambda: not alive(started), within_s=10)
    _nothing_left(program)
    return tally


def _odd(rng: random.Random, disk: Disk | None, clock: Clock | None, tally: Tally) -> None:
    """Now and then the disk is full, or the clock jumps, while the service runs."""
    if disk is not None and rng.random() < 0.2:
        time.sleep(rng.uniform(0.0, 1.0))
        disk.fill()
        tally.odds["disk filled"] += 1
    if clock is not None and rng.random() < 0.3:
        time.sleep(rng.uniform(0.0, 1.0))
        clock.set(rng.choice((0, rng.randint(-7200, 7200), rng.randint(-60, 60))))
        tally.odds["clock jumped"] += 1


def _fault(rng: random.Random) -> Fault:
    stage = rng.choice(("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END"))
    return Fault(stage, "451 4.3.0 later" if rng.random() < 0.5 else "421 4.3.0 going down", times=rng.randint(1, 3),
                 hang_up=rng.random() < 0.5)


def _kill_a_child(program: Program, rng: random.Random) -> bool:
    """One of those at work, soon after there is one; the service goes on."""
    deadline = time.monotonic() + CHILD_WITHIN_S
    while not (children := program.children_at_work()) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(rng.uniform(0.0, 0.7))
    if children:
        program.kill_process(rng.choice(sorted(children)))
    return bool(children)


def _end(program: Program, rng: random.Random) -> str:
    """End the service as violently as the generator says, and now and then a child just before it."""
    kind = rng.choice(("service killed", "service killed", "both killed", "stopped"))
    if kind == "stopped":
        assert program.stop() == 0
        return kind
    if kind == "both killed":
        _kill_a_child(program, rng)
        time.sleep(rng.uniform(0.0, 0.5))
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
        runs = [run for run in program.history() if run["outcome"] not in (None, "skipped")]
        newest = [[run for run in runs if run["spider"] == name][:2] for name in ("s", "t")]
        calm = all(run["outcome"] == "succeeded" and run["complete"] and not run["progress"]["changed"]
                   and not run["progress"]["new"] for run in (*newest[0], *newest[1]))
        return calm and [len(found) for found in newest] == [2, 2] and not program.run("outbox").stdout

    eventually(quiet, within_s=300)
    assert program.stop() == 0
    assert program.run("run", "t").returncode in (0, 1)  # what waits is done
    for name in ("d", "e"):
        assert program.run("digest", name, "--send").returncode == 0
    return started


def _prove(program: Program, changing: ChangingSite, server: SmtpServer, tally: Tally) -> None:
    store = open_store(program.data)
    try:
        stored = {(name, item.key): item.data["value"] for name in ("s", "t")
                  for item in stored_items.present(store, name)}
        with store.read() as connection:
            order = [(row.name, row.message_id) for row in connection.execute(
                select(digests.c.name, messages.c.message_id).join(digests).order_by(messages.c.id))]
            _prove_slots(connection)
    finally:
        store.close()
    assert stored == {(name, key): value for name in ("s", "t") for key, value in changing.values.items()}, \
        "the store is not what the site shows"

    arrived: dict[str, bytes] = {}
    for received in server.received:
        message = email.message_from_bytes(received.content, policy=email.policy.default)
        name = str(message["Message-ID"])
        if name in arrived:
            tally.twice += 1
            assert arrived[name] == received.content, "a message was sent again, but not the same"
        arrived[name] = received.content
    assert set(arrived) == {name for _, name in order}, "a message is missing, or came from nowhere"
    # A full disk keeps the note of an acceptance from being written just as a kill does.
    assert tally.twice <= sum(tally.ends[name] for name in KILLS) + tally.odds["disk filled"]

    last: dict[tuple[str, str], Any] = {}
    for digest, name in order:
        for change in _changes(arrived[name]):
            key, before, after = (digest, change["key"]), change["before"], change["after"]
            assert before == last.get(key, {}), f"{key}: told {before} after {last.get(key)}"
            last[key] = after
            tally.changes += 1
    assert {({"d": "s", "e": "t"}[digest], key): item["value"] for (digest, key), item in last.items()} == stored, \
        "a change was never told"
    tally.digests = len(order)
    for run in program.history():
        tally.runs[str(run["outcome"])] += 1
    whole = list((program.data / "downloads" / "s").glob("f*"))
    assert [path.stat().st_size for path in whole] == [300_000]


def _prove_slots(connection: Connection) -> None:
    """Each pass that succeeded was followed once; no slot has two passes; nothing is leased to anybody."""
    succeeded = connection.execute(select(runs.c.pass_id).where(
        runs.c.spider == "s", runs.c.outcome == "succeeded")).scalars().all()
    followed = connection.execute(select(slots.c.key).where(slots.c.spider == "t", slots.c.reason == "after")).scalars().all()
    assert sorted(followed) == sorted(f"after s pass {number}" for number in succeeded)
    taken = connection.execute(select(passes.c.slot_id)).scalars().all()
    assert len(taken) == len(set(taken))
    for table in (runs, downloads, digests, messages):
        held = connection.execute(select(table.c.id).where(table.c.lease_owner != "", table.c.lease_until.is_not(None))).all()
        assert not held, f"{table.name}: leases are left: {held}"


def _nothing_left(program: Program) -> None:
    """No lock is held, and no file is left that was only on the way."""
    with (program.data / "serve.lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    left = [str(path.relative_to(program.data)) for path in program.data.rglob("*")
            if path.suffix in (".part", ".tmp", ".new") or path.name.endswith(("-wal", "-shm", "-journal"))]
    assert not left, f"files on the way are left: {left}"


def _changes(content: bytes) -> list[dict[str, Any]]:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return [json.loads(line) for part in message.iter_attachments() if str(part.get_filename()).endswith(".jsonl")
            for line in part.get_payload(decode=True).decode().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child-kills", type=int, default=6, help="in a round, at most")
    given = parser.parse_args()
    began = time.monotonic()
    disk, clock = can_mount(), Clock.library() is not None
    if not disk:
        print("the disk is not filled: mounting one takes root on Linux")
    if not clock:
        print("the clock does not jump: libfaketime is not installed")
    with tempfile.TemporaryDirectory() as folder:
        try:
            tally = torture(Path(folder), given.rounds, given.seed, child_kills=given.child_kills, disk=disk, clock=clock)
        except AssertionError as error:
            print(f"seed {given.seed}: {error}")
            traceback.print_exc()
            print((Path(folder) / "serve.log").read_text("utf-8")[-5000:])
            sys.exit(1)
    kills = sum(tally.ends[name] for name in KILLS)
    print(f"{given.rounds} rounds, {kills} of them kills, in {time.monotonic() - began:.0f} s, seed {given.seed}\n{tally}")


if __name__ == "__main__":
    main()
