"""Tests of access from this machine and from others, with and without the token."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

import pytest
import requests

from pipeline.errors import SettingsError
from pipeline.heartbeat.access import AccessPolicy, parse_networks
from pipeline.heartbeat.addresses import pages_url
from pipeline.heartbeat.client import HeartbeatClient, client_for
from pipeline.heartbeat.connections.listeners import ListenOptions
from pipeline.heartbeat.from_settings import log_addresses, server_from_settings
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.server import HeartbeatServer
from pipeline.heartbeat.token import Token
from pipeline.store import open_store
from tests.heartbeat.conftest import NOW, Service
from tests.heartbeat.http.test_app import raw

TOKEN = Token("t0ken-" * 8)


class RemoteOnly(AccessPolicy):
    """Takes every client for one of another machine: tests have loopback only."""

    def is_local(self, peer):
        return False


class Outsiders(AccessPolicy):
    def may_connect(self, peer):
        return False


def test_the_access_policy_decides_who_may_connect_and_who_needs_no_token():
    access = AccessPolicy(TOKEN, parse_networks(("10.0.0.0/8", "fd00::/8")))
    for peer in ("127.0.0.1", "127.8.9.10", "::1", "", "::ffff:127.0.0.1"):
        assert access.may_connect(peer)
        assert access.may_read_status(peer)
    for peer in ("10.255.0.1", "fd00::7", "::ffff:10.0.0.1", "fd00::7%eth0"):
        assert access.may_connect(peer)
        assert not access.may_read_status(peer)
    for peer in ("192.0.2.1", "fe80::1%eth0", "::ffff:192.0.2.1"):
        assert not access.may_connect(peer)
    assert AccessPolicy(TOKEN).may_connect("192.0.2.1")
    assert AccessPolicy(TOKEN, open_status=True).may_read_status("192.0.2.1")
    assert not AccessPolicy(None).accepts_token("")


def test_another_address_needs_allow_remote_and_allow_plain(settings):
    for host in ("0.0.0.0", "192.0.2.1", "::", "box.example"):
        with pytest.raises(SettingsError, match="allow_remote = true"):
            settings(f'[heartbeat]\nhost = "{host}"\n')
        with pytest.raises(SettingsError, match="allow_plain = true"):
            settings(f'[heartbeat]\nhost = "{host}"\nallow_remote = true\n')
        assert settings(f'[heartbeat]\nhost = "{host}"\nallow_remote = true\nallow_plain = true\n').heartbeat.on_port
        assert settings(f'[heartbeat]\nhost = "{host}"\nallow_remote = true\ncertificate = "c.pem"\n').heartbeat.on_port
    settings('[heartbeat]\nhost = "localhost"\n')
    with pytest.raises(SettingsError, match="not a network"):
        settings('[heartbeat]\nallow = ["10.0.0.0/99"]\n')
    with pytest.raises(SettingsError, match="`key` can be used only together with `certificate`"):
        settings('[heartbeat]\nkey = "key.pem"\n')


def test_other_machines_get_only_echoes_and_liveness_without_the_token(start):
    heartbeat = start(access=RemoteOnly(TOKEN), udp=True)
    answers = raw(heartbeat, b"hi\nping\nstatus\nwatch\nspider x\ntoken wrong\nhealth\n", half_close=True).splitlines()
    assert answers[0].endswith(b"] hi")
    assert answers[1] == b"pong"
    assert all(b"needs the token" in answers[position] for position in (2, 3, 4, 6))
    assert answers[5].startswith(b"error: wrong token")
    assert b"needs the token" in raw(heartbeat, b"", half_close=True)
    base = f"http://127.0.0.1:{heartbeat.address[1]}"
    assert requests.get(f"{base}/livez", timeout=10).status_code == 200
    for path in ("/healthz", "/readyz", "/status.json", "/metrics"):
        refused = requests.get(base + path, timeout=10)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="pipeline"')
    assert requests.get(base, timeout=10).status_code == 403


def test_other_machines_with_the_token_get_the_status(start):
    heartbeat = start(access=RemoteOnly(TOKEN))
    word = f"token {TOKEN.reveal()}\nhealth\n".encode()
    assert raw(heartbeat, word, half_close=True) == b"ok\nok\n"
    answer = requests.get(f"http://127.0.0.1:{heartbeat.address[1]}/healthz", timeout=10,
                          headers={"Authorization": f"Bearer {TOKEN.reveal()}"})
    assert answer.text == "ok\n"
    assert HeartbeatClient(*heartbeat.address, token=TOKEN.reveal()).ask("health") == "ok"


def test_other_machines_need_no_token_where_the_status_is_open(start):
    heartbeat = start(access=RemoteOnly(TOKEN, open_status=True))
    assert raw(heartbeat, b"health\n", half_close=True) == b"ok\n"


def test_datagrams_of_other_machines_get_echoes_only_and_never_carry_a_token(start):
    heartbeat = start(access=RemoteOnly(TOKEN), udp=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect(heartbeat.address)
        for text in (b"status", f"token {TOKEN.reveal()}".encode(), b"ping"):
            sock.send(text)
        assert sock.recv(2000) == b"pong"


def test_a_client_outside_the_allowed_networks_is_closed_without_an_answer(start):
    heartbeat = start(access=Outsiders(TOKEN), udp=True)
    with socket.create_connection(heartbeat.address, 10) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(b"status\n")
        assert sock.recv(100) == b""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect(heartbeat.address)
        sock.send(b"ping")
        with pytest.raises(TimeoutError):
            sock.recv(100)


# From settings


def test_the_settings_configure_the_server_and_its_client(settings, tmp_path, caplog):
    found = settings('[heartbeat]\nsocket = "var/s"\n')
    store = open_store(found.data_dir)
    actions = OperationsContext(store, lambda: found, lambda: NOW)

    async def serve():
        heartbeat = server_from_settings(found, store, Service(), actions, version="1")
        await heartbeat.start()
        with caplog.at_level(logging.INFO):
            log_addresses(found, heartbeat, on_terminal=True)
        try:
            return await asyncio.to_thread(client_for(found).ask, "health")
        finally:
            await heartbeat.stop()

    assert asyncio.run(serve()) == "ok"
    assert "Unix socket" in caplog.text
    assert "token=" not in caplog.text, "there is no page to open"
    store.close()


def test_remote_access_is_logged_as_a_warning(settings, caplog, tmp_path):
    found = settings('[heartbeat]\nhost = "0.0.0.0"\nport = 0\nallow_remote = true\nallow_plain = true\nopen_status = true\n')
    log_addresses(found, HeartbeatServer(Service(), ListenOptions("0.0.0.0", 0)), on_terminal=False)
    assert "open_status = true" in caplog.text
    assert "without TLS" in caplog.text
    assert client_for(found).host == "127.0.0.1"
    assert pages_url(found, TOKEN, 8000) == f"http://127.0.0.1:8000/?token={TOKEN.reveal()}"
    named = settings('[heartbeat]\nhost = "192.0.2.1"\nnames = ["box.example"]\nallow_remote = true\n'
                     'certificate = "c.pem"\n')
    assert pages_url(named, TOKEN).startswith("https://box.example:8000/?token=")
    assert pages_url(settings('[heartbeat]\npublic_url = "https://news.example/"\n'), TOKEN).startswith("https://news.example/?token=")


def test_the_link_is_printed_again(program):
    program.write("")
    first = program.run("url")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(f"http://127.0.0.1:{program.port}/?token=")
    program.serve()
    assert program.run("url").stdout == first.stdout
    assert requests.get(first.stdout.strip(), timeout=10).status_code == 200
    assert "token=" not in program.log(), "no terminal, no link"
