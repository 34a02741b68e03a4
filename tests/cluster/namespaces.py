"""Linux namespaces for a cluster on one machine.

Each node has its own network, processes and host name.

`enter_private()` starts the program again in namespaces of its own. Everything in them ends with the program, however it ends:
the first process of a process namespace takes all others with it, and a network without processes does not exist. The program's
network has one bridge for each kind of server (NETWORKS). A node has one cable (a pair of veth devices) to each bridge; pulled
out of the bridge, a cable loses packets silently, as a network partition does.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import HeartbeatError

T = TypeVar("T")
NETWORKS = {"database": 1, "site": 2, "storage": 3, "mail": 4}
"""The third byte of each network's addresses."""
CLIENTS = "10.77.0.0/16"
_INSIDE = "CLUSTER_NAMESPACE"
_CLONE_NEWNET = 0x40000000
_TEMPORARY = Path("/mnt")
"""The mount point of the program's temporary files, in its own mount namespace."""


def missing() -> str:
    """Why this machine has no namespaces for this program; "" if it has."""
    if not sys.platform.startswith("linux"):
        return "namespaces are of Linux"
    if os.geteuid() != 0:
        return "namespaces with veth devices and a mount need root"
    for program in ("unshare", "nsenter", "ip", "mount"):
        if shutil.which(program) is None:
            return f"the program {program} is not installed"
    tried = subprocess.run(["unshare", "--net", "--pid", "--fork", "--mount", "--mount-proc", "sh", "-c",
                            f"mount -t tmpfs tmpfs {_TEMPORARY} && ip link add br7 type bridge && ip link add ve7 type veth peer name ve8"],
                           capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


def enter_private(module: str, arguments: list[str]) -> None:
    """Run the module in private namespaces, in place of this process; return at once if the program is inside already."""
    if os.environ.get(_INSIDE):
        return
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", "--pid", "--fork", "--kill-child=SIGKILL", "--mount", "--mount-proc",
                          sys.executable, "-m", "tests.cluster.namespaces", module, *arguments])


def server_address(network: str) -> str:
    return f"10.77.{NETWORKS[network]}.1"


def node_address(network: str, node: int) -> str:
    return f"10.77.{NETWORKS[network]}.{10 + node}"


def node_of(peer: str) -> int:
    """The node that an address belongs to."""
    return int(peer.rpartition(".")[2]) - 10


def build_networks() -> None:
    """Create the bridges in this process's network namespace."""
    _ip("link set lo up", *(line for name, number in NETWORKS.items() for line in (
        f"link add {name} address 02:77:{number:02x}:00:00:01 type bridge",
        f"addr add {server_address(name)}/24 dev {name}", f"link set {name} up")))


def connect(node: int, pid: int) -> None:
    """Lay the cables between the bridges and the network namespace of a process.

    The neighbours' hardware addresses are fixed: a partition is then noticed by nothing but missing answers.
    """
    for name, number in NETWORKS.items():
        _ip(f"link add {name}-{node} type veth peer name {name} address 02:77:{number:02x}:00:01:{node:02x} netns {pid}",
            f"link set {name}-{node} master {name} up",
            f"neigh replace {node_address(name, node)} lladdr 02:77:{number:02x}:00:01:{node:02x} dev {name} nud permanent")
    _ip("link set lo up", *(line for name, number in NETWORKS.items() for line in (
        f"addr add {node_address(name, node)}/24 dev {name}", f"link set {name} up",
        f"neigh replace {server_address(name)} lladdr 02:77:{number:02x}:00:00:01 dev {name} nud permanent")), pid=pid)


def cut(network: str, node: int) -> None:
    _ip(f"link set {network}-{node} nomaster")


def join(network: str, node: int) -> None:
    _ip(f"link set {network}-{node} master {network}")


def _ip(*lines: str, pid: int | None = None) -> None:
    inside = [] if pid is None else ["nsenter", "-t", str(pid), "--net"]
    done = subprocess.run([*inside, "ip", "-batch", "-"], input="\n".join(lines), text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"ip: {done.stderr}\n{lines}"


def inside_network_of(pid: int, question: Callable[[], T]) -> T:
    """Call a function in a thread that is in the network namespace of another process."""
    found: list[Any] = []

    def ask() -> None:
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            found.append(question())
        except HeartbeatError as error:
            found.append(error)
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found, "the question was not answered"
    if isinstance(found[0], HeartbeatError):
        raise found[0]
    return found[0]  # type: ignore[no-any-return]


def main() -> None:
    """Be process 1 of the namespaces: start the program, reap every process, and end with the program's exit code."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(_TEMPORARY)], check=True)
    os.environ["TMPDIR"] = str(_TEMPORARY)
    program = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-m", *sys.argv[1:]])
    while True:
        pid, status = os.wait()
        if pid == program:
            os._exit(max(os.waitstatus_to_exitcode(status), -1) % 256)


if __name__ == "__main__":
    main()
