"""Tests that `pipeline doctor` reports what is wrong between nodes and their PostgreSQL database."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest

from pipeline import __version__
from pipeline.cli.cluster_checks import check_cluster
from pipeline.cli.finding import Finding, State
from pipeline.errors import StoreError
from pipeline.settings import Settings, load
from pipeline.settings.fingerprint import fingerprint
from pipeline.store import Store, open_store
from pipeline.store.database.leader_lock import LeaderLock
from pipeline.store.database.schema_version import HEAD
from pipeline.store.health import nodes
from pipeline.store.health.nodes import NodeReport
from pipeline.store.runs import runs
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.program import eventually

pytestmark = pytest.mark.needs("postgres")
ALL = ("scheduler", "outbox", "worker")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "settings.toml").write_text('[spiders.s]\nstart = "http://site.lan/"\n')
    return load(str(tmp_path / "settings.toml"))


@pytest.fixture
def store(postgres: Postgres, tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "data", postgres.new_database())
    yield opened
    opened.close()


def findings(store: Store, settings: Settings) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for each in check_cluster(store, settings, datetime.now(UTC)):
        found.setdefault(each.check, []).append(each)
    return found


def reported(store: Store, settings: Settings, *, version: str = __version__, schema: str = HEAD, of: str = "", leader: bool = False,
             ahead_s: float = 0.0, roles: tuple[str, ...] = ALL) -> None:
    report = NodeReport("n1", version, schema, roles, leader=leader, settings=of or fingerprint(settings), queues=("default",))
    nodes.report(store, report, clock=lambda: datetime.now(UTC) + timedelta(seconds=ahead_s))


def test_nothing_is_wrong_when_all_is_well(store: Store, settings: Settings) -> None:
    lock = LeaderLock(store)
    assert lock.hold()
    reported(store, settings, leader=True)
    found = findings(store, settings)
    lock.release()
    assert {each.state for some in found.values() for each in some} == {State.OK}
    assert found["nodes"][0].found == "n1 (scheduler, outbox, worker)"
    assert found["leader"][0].found.startswith("n1 holds the lock of the leader; it is connected since 20")
    assert found["versions"][0].found == f"the database has schema {HEAD}; 1 process with this version"
    assert found["notifications"][0].found == "LISTEN and NOTIFY work"
    assert " connections to the database server are in use" in found["connections"][0].found


def test_differences_between_nodes_are_named(store: Store, settings: Settings) -> None:
    reported(store, settings, version="0.9", schema="0007", of="other", ahead_s=30)
    found = findings(store, settings)
    assert [each.found.partition(":")[2] for each in found["versions"]] == [" n1", f" this program has {__version__}, n1 has 0.9"]
    assert "use other settings than" in found["settings"][0].found
    assert found["nodes"][0].state is State.PROBLEM
    assert found["nodes"][0].found.startswith("the clock of n1 (scheduler, outbox, worker) is 3")
    assert found["leader"][0].state is State.WARNING


def test_nodes_without_an_object_store_are_named(store: Store, settings: Settings) -> None:
    assert "files" not in findings(store, settings)
    with patch.object(store, "owner", "another process"):
        nodes.report(store, NodeReport("n2", __version__, HEAD, ("outbox",)))
    reported(store, settings)
    (found,) = findings(store, settings)["files"]
    assert (found.state, found.found.partition(" have")[0]) == (State.WARNING, "the nodes n1, n2")


def test_runs_that_no_worker_takes_are_named(store: Store, settings: Settings) -> None:
    store.use_queues({"s": "eu"})
    before = datetime.now(UTC) - timedelta(minutes=2)
    runs.claim_slot(store, "s", "1", due_at=before, reason="schedule", now=before)
    reported(store, settings)
    (found,) = findings(store, settings)["nodes"]
    assert (found.found, found.fix) == ("1 run of the queue eu cannot start, because no worker takes this queue", "start `pipeline worker --queues eu`")


@pytest.fixture
def pooler(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Callable[[str], str]]:
    """Start PgBouncer with lines of its configuration, and return the URL of a new database behind it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(lines: str) -> str:
        folder, port = tmp_path_factory.mktemp("pgbouncer"), free_port()
        url = urlsplit(postgres.new_database())
        for parent in (folder, folder.parent, folder.parent.parent):
            parent.chmod(0o755)  # for the user of the pooler, which must not be root
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={url.port} user={url.username}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"auth_type = any\nunix_socket_dir =\n{lines}")
        user = ["-u", "postgres"] if os.getuid() == 0 else []
        started.append(subprocess.Popen(["pgbouncer", "-q", *user, str(folder / "pgbouncer.ini")], stderr=subprocess.DEVNULL))
        eventually(lambda: _answers(port))
        return f"postgresql://{url.username}@127.0.0.1:{port}{url.path}"

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.needs("pgbouncer")
@pytest.mark.parametrize(("mode", "state"), [("transaction", State.PROBLEM), ("session", State.OK)])
def test_a_pooler_that_changes_sessions_is_recognized(pooler: Callable[[str], str], settings: Settings, tmp_path: Path, mode: str, state: State) -> None:
    store = open_store(tmp_path / "data", pooler(f"pool_mode = {mode}\nignore_startup_parameters = options\n"))
    (found,) = findings(store, settings)["notifications"]
    store.close()
    assert found.state is state
    assert ("pool_mode = session" in found.fix) == (state is State.PROBLEM)


@pytest.mark.needs("pgbouncer")
def test_a_pooler_that_refuses_the_settings_of_a_session_is_named(pooler: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"a connection pooler refuses.*ignore_startup_parameters = options"):
        open_store(tmp_path / "data", pooler("pool_mode = session\n"))
