"""Tests of TLS and of the Unix socket."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess

import pytest
import requests

from pipeline.errors import HeartbeatError
from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.client import HeartbeatClient, client_for
from pipeline.heartbeat.connections.listeners import ListenOptions, bind_unix_socket, tls_context
from pipeline.heartbeat.server import HeartbeatServer, ServiceInfo
from pipeline.heartbeat.token import Token
from tests.heartbeat.conftest import NOW

TOKEN = Token("t0ken-" * 8)


# TLS


@pytest.fixture
def tls(settings, authority, tmp_path):
    certificate = authority.issue()
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    return settings('[heartbeat]\ncertificate = "cert.pem"\nkey = "key.pem"\n')


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)  # what serve uses; asyncio leaves failed handshakes open
def test_one_certificate_serves_lines_and_https(start, tls, authority):
    heartbeat = start(tls=tls_context(tls), access=AccessPolicy(TOKEN))
    answer = requests.get(f"https://127.0.0.1:{heartbeat.address[1]}/?token={TOKEN.reveal()}", timeout=10,
                          verify=str(authority.ca_file), allow_redirects=False)
    assert answer.status_code == 303
    assert "; Secure" in answer.headers["Set-Cookie"]
    found = client_for(tls)
    assert list(HeartbeatClient("127.0.0.1", heartbeat.address[1], tls=found.tls).ask_lines(["ping", "health"])) == ["pong", "ok"]
    strict = ssl.create_default_context()
    strict.check_hostname = False
    with pytest.raises(HeartbeatError, match="cannot be reached"):
        HeartbeatClient("127.0.0.1", heartbeat.address[1], tls=strict).ask("ping")
    with pytest.raises(HeartbeatError):
        HeartbeatClient("127.0.0.1", heartbeat.address[1]).ask("ping", timeout_s=1)


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)  # what serve uses; asyncio leaves failed handshakes open
def test_old_tls_is_refused(start, tls):
    heartbeat = start(tls=tls_context(tls))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(heartbeat.address, 10) as sock, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(sock)


def test_a_certificate_that_cannot_be_used_says_so(settings, tls, tmp_path):
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(HeartbeatError, match="a key that belongs to the certificate"):
        tls_context(tls)
    with pytest.raises(HeartbeatError, match="is missing"):
        tls_context(settings('[heartbeat]\ncertificate = "none.pem"\n'))


# A Unix socket


def test_only_the_owner_may_use_the_unix_socket_and_a_stop_removes_it(run, service, tmp_path):
    path = tmp_path / "run" / "heartbeat.sock"
    heartbeat = HeartbeatServer(service, ListenOptions(port=None, socket_path=path), service=ServiceInfo(clock=lambda: NOW))
    run(heartbeat.start())
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert HeartbeatClient("", 0, path=path).ask("health") == "ok"
        with pytest.raises(HeartbeatError, match="another process is already listening"):
            bind_unix_socket(path)
        assert HeartbeatClient("", 0, path=path).ask("ping") == "pong"
    finally:
        run(heartbeat.stop())
    assert not path.exists()


@pytest.mark.needs("curl")
def test_curl_reads_the_unix_socket(start, tmp_path):
    start(socket_path=tmp_path / "s")
    command = ["curl", "-sS", "-m", "10", "--unix-socket", str(tmp_path / "s"), "http://localhost/healthz"]
    assert subprocess.run(command, capture_output=True, timeout=20, check=True).stdout == b"ok\n"


def test_a_stale_socket_is_replaced_and_a_file_is_not(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    bind_unix_socket(path).close()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HeartbeatError, match="is not a socket"):
        bind_unix_socket(tmp_path / "file")
    with pytest.raises(HeartbeatError, match="shorter"):
        bind_unix_socket(tmp_path / ("x" * 200))
