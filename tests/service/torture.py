"""The real service, killed and stopped at random moments.

Its site and its mail server fail at random.

    python -m tests.service.torture --rounds 200 --seed 1

Two spiders, one after the other; two digests to two people; files of many versions; where the machine allows it a disk
of its own that fills up and empties, and a clock that jumps (libfaketime). The service is killed while it starts, while
it works, while it delivers; so are its children, and both. At the end (proof.py): every item the site showed is stored
as it was last; the digests of each name that arrived link up without a gap or a repetition (what one says an item was
is what the one before said it became); no recipient got a message twice but where the service was killed between the
server's acceptance and its own note of it, or the server never answered; each pass that succeeded was followed once; no
slot has two passes; every file is whole and belongs to something; no process, lock or lease is left.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import HeartbeatError
from pipeline.store import Store, open_store
from pipeline.store.mail import outbox
from pipeline.store.mail.digests import unfinished
from pipeline.store.runs.runs import history
from tests.download.torture import can_mount, mount
from tests.servers.ports import free_port
from tests.servers.program import Program, eventually
from tests.servers.smtp import SmtpServer
from tests.service.full_disk import MOMENTS, fill_at
from tests.service.hostile import ChangingSite, Clock, Disk, mail_faults, processes_in, soon
from tests.service.proof import TOLD_BY, Excuses, Told, prove

SETTINGS = """
[pipeline]
keep_free = "1MB"
shutdown_grace = "10s"
[heartbeat]
port = {port}
[mail]
host = "127.0.0.1"
port = {mail}
security = "none"
timeout = "30s"
[spiders.s]
start = "{url}/0"
follow = ["a.page"]
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
follow = ["a.page"]
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
to = ["you@example.com", "other@example.com"]
attach = ["jsonl"]
[digests.e]
spiders = ["t"]
to = ["you@example.com", "other@example.com"]
schedule = "every 3s"
attach = ["jsonl"]
"""
DISK_BYTES = 400_000_000
CHILD_WITHIN_S = 5.0
MOMENT_WITHIN_S = 1.5
GONE_WITHIN_S = 60.0
KILLS = ("killed at work", "killed while starting", "killed with a child")
FULL = 6
"""The exit code of a service that finds no room to begin."""


@dataclass
class Tally:
    """What the rounds did and what came of it."""

    rounds: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    odds: Counter[str] = field(default_factory=Counter)
    mail: Counter[str] = field(default_factory=Counter)
    site: Counter[str] = field(default_factory=Counter)
    told: Told = field(default_factory=Told)

    @property
    def kills(self) -> int:
        return sum(self.ends[name] for name in KILLS) + self.odds["child killed"]

    def __str__(self) -> str:
        told = self.told
        return "\n".join((
            f"the service: {_figures(self.ends)}", f"meanwhile: {_figures(self.odds)}",
            f"faults of the mail server: {_figures(self.mail)}; of the site: {_figures(self.site)}",
            f"runs: {_figures(told.runs)}",
            f"{told.digests} digests told {told.changes} changes",
            f"second copies: {told.lost_notes} of a service killed before it could note the acceptance",
            f"second copies: {told.lost_answers} of an acceptance that was not answered"))


def _figures(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def torture(folder: Path, rounds: int, seed: int, *, child_kills: int = 1, disk: bool = False,
            clock: bool = False, minutes: float = float("inf")) -> Tally:
    """The rounds, the calm after them, and the proof. Raises AssertionError where something was lost or told twice.

    child_kills: so many of them at most in a round, beside those that go with the service; disk: it fills up now and
    then (root on Linux only); clock: it jumps (needs libfaketime); minutes: no round begins after them.
    """
    program = Program(folder, free_port())
    until_s = time.monotonic() + 60 * minutes
    faked = Clock(folder, program) if clock else None
    if not disk:
        return _Torture(program, seed, child_kills, disk=None, clock=faked).run(rounds, until_s)
    program.data.mkdir(mode=0o700)
    assert mount(program.data, DISK_BYTES)
    try:
        return _Torture(program, seed, child_kills, disk=Disk(program.data), clock=faked).run(rounds, until_s)
    finally:
        subprocess.run(["umount", "--lazy", str(program.data)], check=True)


class _Torture:
    """One service's life."""

    def __init__(self, program: Program, seed: int, child_kills: int, *, disk: Disk | None, clock: Clock | None) -> None:
        self.program = program
        self.seed = seed
        self.child_kills = child_kills
        self.disk = disk
        self.clock = clock
        self.tally = Tally()
        self.changing = ChangingSite(random.Random(seed + 1))
        self.site = self.changing.site
        self.server = SmtpServer()
        self.ended: list[float] = []

    def run(self, rounds: int, until_s: float) -> Tally:
        with self.site, self.server:
            (self.program.folder / "settings.toml").write_text(SETTINGS.format(port=self.program.port, mail=self.server.port, url=self.site.url), "utf-8")
            try:
                before = set[tuple[int, str]]()
                for number in range(rounds):
                    if time.monotonic() > until_s:
                        break
                    if number and number % 20 == 0:
                        print(f"{number} rounds, {self.tally.kills} kills", flush=True)
                    self._round(random.Random(f"{self.seed}/{number}"))
                    assert soon(lambda before=before: not before & processes_in(self.program.folder), within_s=GONE_WITHIN_S), \
                        f"round {number}: processes of the service before are still there"
                    before = processes_in(self.program.folder)
                    self.tally.rounds += 1
                self._settle()
            finally:
                self.program.close()
            assert soon(lambda: not processes_in(self.program.folder), within_s=GONE_WITHIN_S), "processes are left"
            self.tally.site = self.changing.faults
            self.tally.told = prove(self.program.data, self.changing, self.server.received,
                                    Excuses(self.ended, self.disk.spans if self.disk is not None else ()))
        return self.tally

    # A round

    def _round(self, dice: random.Random) -> None:
        self.server.faults[:] = mail_faults(dice)
        self.tally.mail.update(f"{fault.stage} {fault.reply[:3] or 'silence'}" for fault in self.server.faults)
        self._start(dice)
        acts: list[Callable[[random.Random], None]] = [self._kill_a_child] * dice.randint(0, self.child_kills)
        if self.disk is not None and dice.random() < 0.2:
            acts.append(self._fill)
        if self.clock is not None and dice.random() < 0.4:
            acts.append(self._jump)
        dice.shuffle(acts)
        for act in acts:
            act(dice)
        self._end(dice)
        if self.disk is not None:
            self.disk.empty()

    def _start(self, dice: random.Random) -> None:
        program, disk = self.program, self.disk
        if dice.random() < 0.12:
            program.start()
            time.sleep(dice.uniform(0.0, 1.0))
            self._kill("killed while starting")
        if disk is None or dice.random() > 0.05:
            program.serve()
            return
        self.tally.odds["started on a full disk"] += 1
        disk.fill()
        program.start()
        code = program.answers_or_ends()
        assert code in (None, FULL), f"exit code {code} on a full disk\n{program.log()[-2000:]}"
        disk.empty()
        if code is not None:
            program.serve()

    def _end(self, dice: random.Random) -> None:
        """End the service as violently as the generator says, and now and then a child beside it."""
        kind = dice.choice(("killed at work", "killed at work", "killed with a child", "stopped"))
        self._moment(dice)
        if kind == "stopped":
            code = self.program.stop()
            if self.disk is not None and self.disk.full_since is not None:
                self.ended.append(time.monotonic())
            assert code == 0, f"exit code {code} of a stop\n{self.program.log()[-2000:]}"
            self.tally.ends[kind] += 1
            return
        if kind == "killed with a child":
            for child in sorted(self.program.children_at_work()):
                self.program.kill_process(child)
            time.sleep(dice.choice((0.0, dice.uniform(0.0, 0.3))))
        self._kill(kind)

    def _kill(self, kind: str) -> None:
        self.ended.append(time.monotonic())
        self.program.kill()
        self.tally.ends[kind] += 1

    def _moment(self, dice: random.Random) -> None:
        """Any moment, or one right after something: a page was asked for, a mail is on its way, was just accepted."""
        after: Callable[[], int] | None = dice.choice((
            None, None, lambda: len(self.site.asked), lambda: self.server.steps, lambda: len(self.server.received)))
        if after is None:
            time.sleep(dice.uniform(0.0, 1.0))
            return
        wanted = after() + dice.randint(1, 6 if after() else 1)
        soon(lambda: after() >= wanted, within_s=MOMENT_WITHIN_S)
        time.sleep(dice.choice((0.0, dice.uniform(0.0, 0.05))))

    def _kill_a_child(self, dice: random.Random) -> None:
        """One of those at work, soon after there is one; the service goes on. On a full disk there may be none."""
        if self.disk is not None and self.disk.full_since is not None:
            return
        if soon(self.program.children_at_work, within_s=CHILD_WITHIN_S):
            self._moment(dice) if dice.random() < 0.3 else time.sleep(dice.uniform(0.0, 0.4))
            if children := self.program.children_at_work():
                self.program.kill_process(dice.choice(sorted(children)))
                self.tally.odds["child killed"] += 1

    def _fill(self, dice: random.Random) -> None:
        """The disk is full: the heartbeat says so. It empties sooner or later, and the service goes on by itself."""
        assert self.disk is not None
        self._moment(dice)
        self.disk.fill()
        self.tally.odds["disk filled"] += 1
        time.sleep(dice.uniform(0.0, 1.0))
        assert soon(lambda: any(reason.startswith("disk") for reason in self._reasons()), within_s=60.0), \
            "a full disk is not told"
        if dice.random() < 0.5:
            self.disk.empty()
            self.tally.odds["disk emptied at work"] += 1
            asked = len(self.site.asked)
            assert soon(lambda: len(self.site.asked) > asked, within_s=120.0), "it does not go on"

    def _reasons(self) -> list[str]:
        with contextlib.suppress(HeartbeatError):
            return list(self.program.status()["reasons"])
        return []

    def _jump(self, dice: random.Random) -> None:
        assert self.clock is not None
        self._moment(dice)
        self.clock.set(dice.choice(Clock.JUMPS_S))
        self.tally.odds["clock jumped"] += 1

    # The calm

    def _settle(self) -> None:
        """Serve in calm until whole passes have seen the site as it stays and every message is accepted."""
        self.changing.calm = True
        self.server.faults.clear()
        if self.clock is not None:
            self.clock.set(0)
        store = open_store(self.program.data)
        try:
            # What waits for its back-off, or was refused, is asked for at once: hours are not spent here.
            for message in outbox.list_messages(store):
                outbox.retry(store, message.id, now=datetime.now(UTC))
            before = max((run.pass_id for run in history(store, limit=1000)), default=0)
            self.program.serve()
            eventually(lambda: self._is_quiet(store, before), within_s=300)
        finally:
            store.close()
        assert self.program.stop() == 0
        assert self.program.run("run", "t").returncode in (0, 1)  # what waits is done
        for name in TOLD_BY:
            assert self.program.run("digest", name, "--send").returncode == 0
        self._deliver_the_rest()

    def _deliver_the_rest(self) -> None:
        """A digest that was being rendered when the service was stopped leaves a message that waits for the next one."""
        store = open_store(self.program.data)
        try:
            waiting = [message.id for message in outbox.list_messages(store)]
        finally:
            store.close()
        for number in waiting:
            assert self.program.run("outbox", "retry", str(number)).returncode == 0

    def _is_quiet(self, store: Store, before: int) -> bool:
        """Whether each spider has completed a pass that began in calm (later than `before`), no digest is being built and no message waits."""
        time.sleep(0.2)
        whole = [any(run.complete and run.pass_id > before for run in history(store, name, limit=100))
                 for name in TOLD_BY.values()]
        return all(whole) and not unfinished(store) and not outbox.list_messages(store)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child-kills", type=int, default=4, help="in a round, at most")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no round after them")
    parser.add_argument("--keep", type=Path, help="a folder for what is left of a failure")
    given = parser.parse_args()
    began = time.monotonic()
    disk, clock = can_mount(), Clock.library() is not None
    if not disk:
        print("the disk is not filled: mounting one takes root on Linux")
    if not clock:
        print("the clock does not jump: libfaketime is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            tally = torture(folder, given.rounds, given.seed, child_kills=given.child_kills, disk=disk, clock=clock,
                            minutes=given.minutes)
        except AssertionError as error:
            print(f"seed {given.seed}: {error}")
            traceback.print_exc()
            print((folder / "serve.log").read_text("utf-8")[-5000:])
            if given.keep is not None:
                shutil.copytree(folder, given.keep, dirs_exist_ok=True)
            sys.exit(1)
    if disk:
        with tempfile.TemporaryDirectory() as name:
            fill_at(Program(Path(name), free_port()), list(MOMENTS))
        print(f"a full disk: {', '.join(MOMENTS)}: nothing lost, nothing told twice")
    print(f"{tally.rounds} rounds, {tally.kills} kills, in {time.monotonic() - began:.0f} s, seed {given.seed}\n{tally}")


if __name__ == "__main__":
    main()
