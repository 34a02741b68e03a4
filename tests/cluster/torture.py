"""A cluster of real nodes under faults: `python -m tests.torture cluster --rounds 200 --seed 1`.

Nodes are separate processes with, where the machine allows it (root on Linux), network and process namespaces of their own. Three
spiders log in to one site, whose items and files change and whose logins expire; each has a digest to two people. Each round begins
one or two faults (faults.py). After every few rounds all faults end, the spiders are paused, and once the cluster is quiet, everything is
checked from the outside (proof.py): each item is stored once, each change told once, each file whole; a spider logged in only when its
session had ended; no two runs of a spider asked for pages at once; no run, lease or process is left; each node's status is ok.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import HeartbeatError
from pipeline.store.mail import outbox
from pipeline.store.mail.digests import untold
from pipeline.store.runs import paused_spiders
from pipeline.store.runs.runs import history
from tests.cluster import namespaces
from tests.cluster.cluster import SPIDERS, Cluster
from tests.cluster.faults import Faults
from tests.cluster.proof import Counted, prove, what_is_left

MODULE = "tests.cluster.torture"
QUIET_WITHIN_S = 240.0
NODES = "serve,serve,worker"


class Torture:
    """The rounds of one cluster."""

    def __init__(self, cluster: Cluster, seed: int, without: Collection[str] = ()) -> None:
        self.cluster = cluster
        self.seed = seed
        self.faults = Faults(cluster, without)
        self.counted = Counted()

    def run(self, rounds: int, per_history: int, until_s: float) -> int:
        """Perform the rounds, and prove after each `per_history` of them. Return how many rounds there were."""
        for node in self.cluster.nodes:
            node.start()
        self._soon(lambda: len(history(self.cluster.store, limit=9)) >= len(self.cluster.spiders), within_s=90, why=lambda: "no run began")
        number = 0
        while number < rounds and time.monotonic() < until_s:
            for _ in range(min(per_history, rounds - number)):
                self._round(random.Random(f"{self.seed}/{number}"))
                number += 1
            self._history_ends()
            print(f"{number} rounds: {self.summary()}", flush=True)
        for node in self.cluster.nodes:
            node.signal(signal.SIGTERM)
        for node in self.cluster.nodes:
            code = node.wait(60)
            assert code == 0, f"{node.name} ended with {code} after SIGTERM"
        deadline = time.monotonic() + 30
        while any(left := [node.children() for node in self.cluster.nodes]):
            assert time.monotonic() < deadline, f"processes are left: {left}"
            time.sleep(0.1)
        return number

    def _soon(self, question: Callable[[], object], *, within_s: float, why: Callable[[], str]) -> None:
        deadline = time.monotonic() + within_s
        while not question():
            assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {why()}"
            self.faults.supervise()
            time.sleep(0.2)

    def _round(self, dice: random.Random) -> None:
        for _ in range(dice.choice((1, 1, 2))):
            self.faults.inject(dice)
            time.sleep(dice.uniform(0, 1))
        until = time.monotonic() + dice.uniform(1, 5)
        while time.monotonic() < until:
            self.faults.end_due()
            self.faults.supervise()
            time.sleep(0.1)

    def _history_ends(self) -> None:
        """End the faults, wait until the cluster is quiet, prove, and go on."""
        cluster, store = self.cluster, self.cluster.store
        self.faults.end_due(everything=True)
        cluster.site.calm = True
        before = max((run.pass_id for run in history(store, limit=1000)), default=0)
        self._soon(lambda: all(any(run.complete and run.pass_id > before for run in history(store, name, limit=50)) for name in self.cluster.spiders),
             within_s=QUIET_WITHIN_S, why=lambda: f"not every spider completed a pass in calm: {history(store, limit=6)}")
        for name in self.cluster.spiders:
            paused_spiders.pause(store, name, now=datetime.now(UTC))
        self._soon(self._is_quiet, within_s=QUIET_WITHIN_S, why=self._what_is_left)
        self._soon(self._is_ok, within_s=60, why=lambda: f"the status is not ok: {self._statuses()}")
        self.counted = prove(cluster, self.faults.record)
        cluster.site.calm = False
        for name in self.cluster.spiders:
            paused_spiders.resume(store, name)

    def _is_quiet(self) -> bool:
        store = self.cluster.store
        for message in outbox.list_messages(store):  # hours of back-off are not spent here
            if message.attempt:
                outbox.retry(store, message.id, now=datetime.now(UTC))
        return not (what_is_left(self.cluster) or outbox.list_messages(store) or any(untold(store, name, [name]) for name in self.cluster.spiders))

    def _what_is_left(self) -> str:
        store = self.cluster.store
        return (f"{what_is_left(self.cluster)}, messages {outbox.list_messages(store)}, unreported runs {[untold(store, name, [name]) for name in self.cluster.spiders]}")

    def _statuses(self) -> dict[str, str]:
        found = {}
        for node in self.cluster.nodes:
            if node.is_scheduler:
                try:
                    status = node.status()
                    found[node.name] = status["health"] + "".join(f": {reason}" for reason in status["reasons"])
                except HeartbeatError as error:
                    found[node.name] = str(error)
        return found

    def _is_ok(self) -> bool:
        return all(said == "ok" for said in self._statuses().values())

    def summary(self) -> str:
        parts = [f"faults: {_figures(Counter(fault.kind for fault in self.faults.record))}", f"of the site: {_figures(self.cluster.site.faults)}",
                 f"restarts of programs that ended without their database: {self.faults.restarted}"]
        for each in fields(self.counted):
            value = getattr(self.counted, each.name)
            parts.append(f"{each.name.replace('_', ' ')}: {_figures(value) if isinstance(value, Counter) else value}")
        return "; ".join(parts)


def _figures(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", default=NODES, help="the command of each node, for example serve,worker")
    parser.add_argument("--spiders", default=",".join(SPIDERS), help="the names of the spiders")
    parser.add_argument("--history", type=int, default=10, help="the number of rounds after which everything is checked")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further rounds after them")
    parser.add_argument("--keep", type=Path, help="a folder for what is left of a failure")
    parser.add_argument("--storage", choices=("s3", "folder"), default="s3", help="where files are: an object store, or one folder of all nodes")
    parser.add_argument("--without", default="", help="names of faults to leave out, for example wrong_clock,cut_site")
    parser.add_argument("--no-namespaces", action="store_true", help="nodes are plain processes: no partitions, no suspended nodes")
    given = parser.parse_args()
    without = "as asked" if given.no_namespaces else namespaces.missing()
    if without:
        print(f"nodes have no namespaces of their own, and no partitions ({without})")
    else:
        namespaces.enter_private(MODULE, sys.argv[1:])
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(Cluster(folder, given.nodes.split(","), random.Random(given.seed), private=not without,
                                              objects=given.storage == "s3", spiders=given.spiders.split(",")))
        torture = Torture(cluster, given.seed, given.without.split(","))
        try:
            rounds = torture.run(given.rounds, given.history, began + 60 * given.minutes)
        except Exception:  # noqa: BLE001  whatever it is, the state of the cluster explains it
            traceback.print_exc()
            print(f"seed {given.seed}: failed after {len(torture.faults.record)} faults: {torture.summary()}")
            for fault in torture.faults.record[-20:]:
                print(f"{fault.began - began:7.1f}-{(fault.ended or fault.began) - began:7.1f} node {fault.node}: {fault.kind}")
            if given.keep is not None:
                shutil.copytree(folder, given.keep, dirs_exist_ok=True)
            sys.exit(1)
    print(f"{rounds} rounds in {time.monotonic() - began:.0f} s, seed {given.seed}; {torture.summary()}")


if __name__ == "__main__":
    main()
