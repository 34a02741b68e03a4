"""A private PostgreSQL cluster in a temporary folder, on a Unix socket and a free loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg

from tests.folder_in_memory import folder_in_memory
from tests.servers.ports import free_port
from tests.servers.program import eventually


def program(name: str) -> str | None:
    """Where a program of the server is: Debian keeps them out of the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2].split(".")[0]))
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(folders)), os.environ.get("PATH", "")]))


class Postgres:
    """A started server.

    host: the address it listens on, beside its Unix socket. clients: a network whose clients it trusts, beside this machine.
    durable: whether commits wait for the disk (fsync). By default, nothing it keeps is meant to survive.
    """

    def __init__(self, host: str = "127.0.0.1", clients: str = "", *, durable: bool = False) -> None:
        # A short path of its own: a socket's path has 107 bytes, and the server's user must reach it.
        # In memory a new database takes a third of the time, and the thousands of files of all databases are deleted at once.
        self._folder = Path(tempfile.mkdtemp(prefix="pipeline-postgres-", dir=None if durable else folder_in_memory()))
        self._user: dict[str, str | int] = {}
        if os.getuid() == 0:  # the server refuses to run as root
            account = pwd.getpwnam("postgres")
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._user = {"user": account.pw_uid, "group": account.pw_gid}
        self._databases = 0
        self._fsync = "on" if durable else "off"
        self.host = host
        self.port = free_port()
        self._command(program("initdb"), "-D", str(self._data), "-U", "pipeline", "-A", "trust", "-E", "UTF8",
                      "--no-sync", "--no-instructions", "--locale=C.UTF-8")
        if clients:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {clients} trust\n")
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _command(self, *arguments: str | None) -> None:
        subprocess.run([word for word in arguments if word], cwd=self._folder, check=True, capture_output=True,
                       timeout=60, **self._user)  # type: ignore[call-overload]

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [str(program("postgres")), "-D", str(self._data), "-p", str(self.port), "-c", f"listen_addresses={self.host}",
                 "-c", f"unix_socket_directories={self._folder}", "-c", f"fsync={self._fsync}", "-c", "max_connections=100",
                 "-c", "log_min_messages=warning", "-c", "autovacuum=off"],  # which would look at one of hundreds of databases after the other
                cwd=self._folder, stdout=log, stderr=log, **self._user)  # type: ignore[call-overload]
        eventually(self._answers, within_s=30)

    def _answers(self) -> bool:
        assert self._server.poll() is None, (self._folder / "log").read_text("utf-8", "replace")
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def execute(self, statement: str, database: str = "postgres") -> None:
        with closing(psycopg.connect(host=str(self._folder), port=self.port, user="pipeline", dbname=database,
                                     autocommit=True, connect_timeout=5)) as connection:
            connection.execute(statement.encode())

    def url(self, database: str) -> str:
        return f"postgresql://pipeline@{self.host}:{self.port}/{database}"

    def new_database(self, template: str = "template0") -> str:
        """The URL of a new database, a copy of the template."""
        self._databases += 1
        name = f"d{self._databases}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.url(name)

    @property
    def pid(self) -> int:
        return self._server.pid

    def crash(self) -> None:
        """End it as a crash would: immediate shutdown, then recovery at the next start."""
        self.stop(signal.SIGQUIT)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it. how: SIGINT ends the clients' transactions first (a fast shutdown), SIGQUIT does not (an immediate one)."""
        self._server.send_signal(how)
        self._server.wait(30)

    def close(self) -> None:
        if self._server.poll() is None:
            self.crash()
        shutil.rmtree(self._folder, ignore_errors=True)
