"""The faults of a cluster: each begins, lasts a while, and ends.

A record of all faults says which excuses an odd delivery has.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from pipeline.store.database import schema
from tests.cluster.cluster import Cluster
from tests.cluster.nodes import Node, faketime
from tests.servers.s3 import Fault as S3Fault

EVERYWHERE = 0
"""In place of the number of a node: a fault of a server that all nodes use."""


@dataclass
class Fault:
    """kind: what it is. node: the number of the node. ended: None while it lasts; by the monotonic clock."""

    kind: str
    node: int
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def touches(self, node: int, since: float, until: float) -> bool:
        return self.node in (node, EVERYWHERE) and self.began <= until and (self.ended is None or self.ended >= since)


@dataclass
class _Lasting:
    """A fault that lasts. until: when to end it."""

    fault: Fault
    until: float
    undo: Callable[[], None]


class Faults:
    """Injects faults into a cluster."""

    def __init__(self, cluster: Cluster, without: Collection[str] = ()) -> None:
        """without: the names of methods that are not used."""
        self._cluster = cluster
        self._without = without
        self.record: list[Fault] = []
        self.restarted = 0
        """How many programs ended by themselves and were started again."""
        self._lasting: list[_Lasting] = []

    def kinds(self) -> list[Callable[[random.Random], bool]]:
        """Each returns False if it is impossible now."""
        return [kind for kind in self._possible() if kind.__name__ not in self._without]

    def _possible(self) -> list[Callable[[random.Random], bool]]:
        everywhere = [self.kill_process, self.kill_leader, self.terminate, self.restart_database, self.restart_database]
        if self._cluster.s3 is not None:
            everywhere += [self.fail_storage, self.fail_storage]
        if not self._cluster.private:
            return everywhere
        return [*everywhere, self.power_off, self.kill_child, self.freeze, self.cut_database, self.cut_database, self.cut_site,
                self.cut_mail, *([self.cut_storage] if self._cluster.s3 is not None else []), *([self.wrong_clock] if faketime() else [])]

    def inject(self, dice: random.Random) -> None:
        """Begin one fault, as soon as one is possible."""
        kinds = self.kinds()
        dice.shuffle(kinds)
        while not any(kind(dice) for kind in kinds):
            self.end_due()
            time.sleep(0.05)

    def end_due(self, *, everything: bool = False) -> None:
        """End the faults whose time is over. everything: end all, the longest at its time."""
        while self._lasting:
            for lasting in [each for each in self._lasting if time.monotonic() >= each.until]:
                self._lasting.remove(lasting)
                lasting.undo()
                lasting.fault.ended = time.monotonic()
            self.supervise()
            if not everything:
                return
            time.sleep(0.05)

    def supervise(self) -> None:
        """Start programs again that ended by themselves, as systemd would; the reason can only be a missing database."""
        for node in self._cluster.nodes:
            if node.number not in self._busy() and not node.runs:
                assert self._without_database(node, time.monotonic() - 60), f"{node.name} ended by itself with {node.code()}: {node.log_file.read_text('utf-8')[-2000:]}"
                self.restarted += 1
                node.start()

    def _without_database(self, node: Node, since: float) -> bool:
        """Whether the node may have lost its database: the server ends the transaction of a process that is suspended for too long."""
        return any(fault.touches(node.number, since, time.monotonic()) for fault in self.record
                   if fault.kind.startswith(("PostgreSQL", "cut off from the database", "SIGSTOP")))

    def _begin(self, kind: str, node: int, for_s: float, undo: Callable[[], None]) -> bool:
        fault = Fault(kind, node)
        self.record.append(fault)
        self._lasting.append(_Lasting(fault, time.monotonic() + for_s, undo))
        return True

    def _busy(self) -> set[int]:
        return {each.fault.node for each in self._lasting}

    def _a_node(self, dice: random.Random) -> Node | None:
        """A node that works and has no fault."""
        free = [node for node in self._cluster.nodes if node.number not in self._busy() and node.runs]
        return dice.choice(free) if free else None

    # The program

    def _ended(self, node: Node, kind: str, dice: random.Random) -> bool:
        return self._begin(kind, node.number, dice.choice((0.0, dice.uniform(0, 2), dice.uniform(0, 20))), node.start)

    def kill_process(self, dice: random.Random) -> bool:
        if (node := self._a_node(dice)) is None:
            return False
        node.signal(signal.SIGKILL)
        return self._ended(node, f"kill -9 of {node.command[0]}", dice)

    def kill_leader(self, dice: random.Random) -> bool:
        if EVERYWHERE in self._busy():
            return False
        with self._cluster.store.read() as connection:
            leaders = set(connection.execute(schema.nodes.select().where(schema.nodes.c.leader)).scalars().all())
        names = {owner.partition("/")[0] for owner in leaders}
        found = next((node for node in self._cluster.nodes if node.name in names and node.number not in self._busy() and node.runs), None)
        if found is None:
            return False
        found.signal(signal.SIGKILL)
        return self._ended(found, "kill -9 of the leader", dice)

    def power_off(self, dice: random.Random) -> bool:
        if (node := self._a_node(dice)) is None:
            return False
        node.signal_all(signal.SIGKILL)
        return self._ended(node, "kill -9 of every process of a node", dice)

    def kill_child(self, dice: random.Random) -> bool:
        if (node := self._a_node(dice)) is None or not (children := node.children()):
            return False
        node.signal(signal.SIGKILL, dice.choice(children))
        return self._begin("kill -9 of a child", node.number, 0.0, lambda: None)

    def terminate(self, dice: random.Random) -> bool:
        if (node := self._a_node(dice)) is None:
            return False
        node.signal(signal.SIGTERM)

        def restart() -> None:
            began = self.record[-1].began
            code = node.wait(90)
            # Before the program can stop in an orderly way, and without its database, it may end at once.
            assert code == 0 or (code == -signal.SIGTERM and not node.began()) or self._without_database(node, began), \
                f"{node.name} ended with {code} after SIGTERM: {node.log_file.read_text('utf-8')[-2000:]}"
            node.start()
        return self._begin("SIGTERM", node.number, dice.uniform(0, 3), restart)

    def freeze(self, dice: random.Random) -> bool:
        if (node := self._a_node(dice)) is None:
            return False
        node.freeze()
        return self._begin("SIGSTOP and SIGCONT", node.number, dice.choice((dice.uniform(1, 10), 20.0)), node.thaw)

    def wrong_clock(self, dice: random.Random) -> bool:
        """The node restarts with a wrong clock, and later with the right one."""
        if (node := self._a_node(dice)) is None:
            return False

        def restart(clock_s: int) -> None:
            node.signal_all(signal.SIGKILL)
            node.clock_s = clock_s
            node.start()
        restart(dice.choice((-3600, -60, -20, 20, 60, 3600)))
        return self._begin("wrong clock", node.number, dice.uniform(5, 20), lambda: restart(0))

    # The network

    def _cut(self, network: str, dice: random.Random, longest_s: float) -> bool:
        if (node := self._a_node(dice)) is None:
            return False
        node.cut(network)
        return self._begin(f"cut off from the {network}", node.number, dice.uniform(1, longest_s), lambda: node.join(network))

    def cut_database(self, dice: random.Random) -> bool:
        return self._cut("database", dice, dice.choice((8, 40)))

    def cut_site(self, dice: random.Random) -> bool:
        return self._cut("site", dice, 15)

    def cut_mail(self, dice: random.Random) -> bool:
        return self._cut("mail", dice, 15)

    def cut_storage(self, dice: random.Random) -> bool:
        return self._cut("storage", dice, 20)

    # The servers

    def fail_storage(self, dice: random.Random) -> bool:
        """The object store refuses connections, does not answer, or answers with 503; now and then for a minute."""
        if EVERYWHERE in self._busy() or self._cluster.s3 is None:
            return False
        how: S3Fault = dice.choice(("refuse", "hang", "503", "cut"))
        failing = self._cluster.s3.failing(how)
        failing.__enter__()
        return self._begin(f"object store down ({how})", EVERYWHERE, dice.choice((dice.uniform(1, 10), dice.uniform(1, 10), dice.uniform(1, 10), 60.0)),
                           lambda: failing.__exit__(None, None, None))

    def restart_database(self, dice: random.Random) -> bool:
        if EVERYWHERE in self._busy():
            return False
        how = dice.choice((signal.SIGINT, signal.SIGQUIT))
        fast = how is signal.SIGINT
        try:
            self._cluster.postgres.stop(how)
        except subprocess.TimeoutExpired:
            print("PostgreSQL did not end within 30 s after SIGINT, and is ended with SIGQUIT", flush=True)
            self._cluster.postgres.stop(signal.SIGQUIT)
            fast = False
        return self._begin(f"PostgreSQL restarted ({'fast' if fast else 'immediate'})", EVERYWHERE,
                           dice.choice((0.0, dice.uniform(0, 4), dice.uniform(0, 20))), self._cluster.postgres.start)
