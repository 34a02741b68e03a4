"""Tests of the client with which commands use the API.

Only the service of the same data_dir and version gets the token and the action.
"""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from pipeline.errors import HeartbeatError
from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.api_client import ApiClient
from pipeline.heartbeat.connections.listeners import tls_context
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.token import load_or_create_token
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.access import audit_log
from pipeline.store.runs import runs
from tests.heartbeat.conftest import NOW
from tests.servers.pages import Answer, PageSite
from tests.servers.ports import free_port

SETTINGS = """
[heartbeat]
{heartbeat}
[spiders.books]
start = ["https://books.example/"]
items.fields.title = "h1"
"""


class Installation:
    """A data_dir with a store, its settings and a server. version: of the command that asks."""

    def __init__(self, folder, start, heartbeat="", **listen):
        self.folder = folder
        self.write(heartbeat)
        self.store = open_store(folder / "var")
        self.token = load_or_create_token(folder / "var")
        self.actions = OperationsContext(self.store, lambda: self.settings, lambda: NOW)
        tls = tls_context(self.settings)
        self.server = start(actions=self.actions, access=AccessPolicy(self.token), tls=tls, **listen)
        self.warnings = []

    def write(self, heartbeat):
        (self.folder / "settings.toml").write_text(SETTINGS.format(heartbeat=heartbeat))
        self.settings = load(self.folder / "settings.toml")

    def use_port(self, port):
        self.write(f"port = {port}")

    def service(self, version="1.2.3"):
        client = ApiClient(self.settings, self.token, version=version, user=lambda: "alice", warn=self.warnings.append)
        return client if client.connect() else None

    def run_books(self, service):
        return service.act("POST", "/spiders/books/runs", what="a run of books was started")

    def close(self):
        self.store.close()


@pytest.fixture
def installation(tmp_path, start):
    made = []

    def installation(*arguments, **listen):
        folder = tmp_path / str(len(made))
        folder.mkdir(exist_ok=True)
        made.append(Installation(folder, start, *arguments, **listen))
        if "socket_path" not in listen:
            made[-1].write(f"port = {made[-1].server.address[1]}\n" + (arguments[0] if arguments else ""))
        return made[-1]

    yield installation
    for each in made:
        each.close()


class Cable:
    """Forwards connections to a server, and cuts those on which a text is sent, after the server has got it. cuts: how many are cut."""

    def __init__(self, to, *, text, cuts):
        self._to, self._text, self._cuts = to, text, cuts
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(near,), daemon=True).start()

    def _forward(self, near):
        with near, socket.create_connection(self._to) as far:
            while data := near.recv(65536):
                far.sendall(data)
                answer = far.recv(65536)
                if self._text in data and self._cuts:
                    self._cuts -= 1
                    return
                near.sendall(answer)

    def close(self):
        self._server.close()


@pytest.mark.parametrize("way", ["port", "tls", "socket"])
def test_the_service_of_the_same_data_dir_and_version_gets_the_action_once_it_has_proved_itself(installation, authority, tmp_path, way):
    options, listen = "", {}
    if way == "tls":
        certificate = authority.issue()
        (tmp_path / "0").mkdir()
        (tmp_path / "0" / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        (tmp_path / "0" / "key.pem").write_bytes(certificate.private_key_pem.bytes())
        options = 'certificate = "cert.pem"\nkey = "key.pem"'
    if way == "socket":
        options, listen = 'socket = "s"', {"port": None, "socket_path": tmp_path / "0" / "s"}
    own = installation(options, **listen)
    service = own.service()
    assert service is not None
    assert own.run_books(service).status == 201
    service.close()
    (entry,) = audit_log.entries(own.store, limit=9)
    assert (entry.who, entry.source, entry.action) == ("alice", "command line, " + ("Unix socket" if way == "socket" else "127.0.0.1"), "run")
    assert own.warnings == []


def test_no_other_program_on_the_port_gets_the_token(installation):
    own, other = installation(), installation()
    own.use_port(other.server.address[1])  # the service of another data_dir
    assert own.service() is None
    with PageSite({"/instance": Answer('{"instance": "x", "proof": "00"}')}) as site:
        own.use_port(int(site.host.rpartition(":")[2]))
        assert own.service() is None
        own.use_port(free_port())
        assert own.service() is None
        assert [asked.path.partition("?")[0] for asked in site.asked] == ["/instance"]
        assert not any("Authorization" in asked.headers for asked in site.asked)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        def hang_up():
            with silent.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"220 smtp ready\r\n")

        threading.Thread(target=hang_up, daemon=True).start()
        own.use_port(silent.getsockname()[1])
        assert own.service() is None
    assert own.warnings == []


def test_a_service_of_another_version_gets_no_action_and_this_is_said(installation):
    own = installation()
    assert own.service(version="1.2.4") is None
    assert [why.partition(" has ")[2] for why in own.warnings] == ["another version than this command"]


def test_after_a_broken_connection_the_action_is_done_once_or_it_is_said_that_it_is_not_known(installation):
    own = installation()
    with closing(Cable(own.server.address, text=b"POST", cuts=1)) as cable:
        own.use_port(cable.port)
        service = own.service()
        answer = own.run_books(service)
        assert (answer.status, answer.document["id"], answer.headers["Location"]) == (201, 1, "/api/v1/runs/1")
        service.close()
    assert [run.id for run in runs.history(own.store, "books")] == [1]
    assert [entry.outcome for entry in audit_log.entries(own.store, limit=9)] == ["done", "done before: the response was sent again"]
    with closing(Cable(own.server.address, text=b"POST", cuts=2)) as cable:
        own.use_port(cable.port)
        service = own.service()
        with pytest.raises(HeartbeatError, match="so it is not known whether a run of books was started"):
            own.run_books(service)
        service.close()
