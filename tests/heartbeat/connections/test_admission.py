"""Tests of connection limits per origin. 127.0.0.2 and up count as other machines here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time

import pytest
import requests

from pipeline.errors import HeartbeatBusyError, HeartbeatError
from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.client import HeartbeatClient
from pipeline.heartbeat.connections.connection_counts import LOCAL, UNIX, UNIX_CONNECTIONS, ConnectionCounts, origin_of
from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.token import Token

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
STATUS = b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Machines(AccessPolicy):
    def is_local(self, peer):
        return peer in ("", "127.0.0.1")


@pytest.fixture
def opened():
    with contextlib.ExitStack() as stack:
        yield lambda address, source="127.0.0.1": stack.enter_context(
            socket.create_connection(address, 10, source_address=(source, 0)))


def pinged(sock):
    """Whether a connection that says something has a place."""
    with contextlib.suppress(ConnectionError):
        sock.sendall(b"ping\n")
        return sock.recv(200) == b"pong\n"
    return False


def said(sock, data):
    with contextlib.suppress(ConnectionError):
        sock.sendall(data)
    found = b""
    with contextlib.suppress(ConnectionError):
        while chunk := sock.recv(65536):
            found += chunk
    return found


# The counts


@pytest.mark.parametrize(("peer", "origin"), [
    ("", UNIX), ("127.0.0.1", LOCAL), ("127.3.4.5", LOCAL), ("::1", LOCAL), ("::ffff:127.0.0.1", LOCAL), ("192.0.2.1", "192.0.2.1"),
    ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ffff:1", "2001:db8::/64"),
    ("2001:db8:0:1::1", "2001:db8:0:1::/64"), ("fe80::1%eth0", "fe80::/64")])
def test_an_address_is_counted_with_its_origin(peer, origin):
    assert origin_of(peer, AccessPolicy().is_local) == origin


def test_each_origin_has_a_limit_and_this_machine_has_reserved_connections():
    counts = ConnectionCounts(16)
    taken = dict.fromkeys(("a", "b", "c", "d", LOCAL, UNIX), 0)
    for origin in taken:
        while counts.has_room(origin):
            counts.add(origin)
            taken[origin] += 1
    assert taken == {"a": 4, "b": 4, "c": 4, "d": 2, LOCAL: 2, UNIX: 16}
    assert "the limit of 4 connections per address is reached" in counts.limit_reached("a")
    assert "the limit of 16 connections is reached" in counts.limit_reached(LOCAL)
    counts.remove("a")
    assert counts.has_room("a")
    assert ConnectionCounts(10**6).has_room(UNIX)
    assert UNIX_CONNECTIONS < 512


def test_a_port_with_one_connection_accepts_it_from_any_origin():
    assert all(ConnectionCounts(1).has_room(origin) for origin in ("192.0.2.1", LOCAL, UNIX))


# The port


def test_one_address_cannot_take_the_connections_of_others(start, opened):
    heartbeat = start(limits=ServerLimits(connections=16, queue_s=0.1), access=Machines())
    held = [opened(heartbeat.address, "127.0.0.2") for _ in range(4)]
    assert all(pinged(sock) for sock in held)
    assert b"the limit of 4 connections per address is reached; try again later" in said(opened(heartbeat.address, "127.0.0.2"), b"ping\n")
    assert pinged(opened(heartbeat.address, "127.0.0.3"))
    assert pinged(opened(heartbeat.address))


def test_this_machine_and_the_unix_socket_can_connect_when_others_use_all_their_connections(start, opened, tmp_path):
    heartbeat = start(limits=ServerLimits(connections=16, queue_s=0.1), access=Machines(), socket_path=tmp_path / "s")
    held = [opened(heartbeat.address, f"127.0.0.{2 + number % 5}") for number in range(14)]
    assert all(pinged(sock) for sock in held)
    assert not pinged(opened(heartbeat.address, "127.0.0.9"))
    local = [opened(heartbeat.address) for _ in range(2)]
    assert all(pinged(sock) for sock in local)
    with pytest.raises(HeartbeatBusyError, match="busy: the limit of 16 connections is reached"):
        HeartbeatClient(*heartbeat.address).ask("ping")
    assert HeartbeatClient("", 0, path=tmp_path / "s").ask("ping") == "pong"


def test_a_full_port_answers_livez_and_refuses_http_with_503(start, opened):
    heartbeat = start(limits=ServerLimits(connections=4, queue_s=0.1))
    held = [opened(heartbeat.address) for _ in range(4)]
    assert all(pinged(sock) for sock in held)
    assert said(opened(heartbeat.address), LIVEZ).endswith(b"\r\n\r\nok\n")
    assert said(opened(heartbeat.address), LIVEZ.replace(b"GET", b"HEAD")).endswith(b"Content-Length: 3\r\nCache-Control: no-store\r\n"
                                                                                    b"Connection: close\r\n\r\n")
    answer = requests.get(f"http://127.0.0.1:{heartbeat.address[1]}/status.json", timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "the limit of 4 connections is reached" in answer.text
    assert said(opened(heartbeat.address), b"ping\n") == b"error: the limit of 4 connections is reached; try again later\n"


def test_a_full_port_answers_livez_that_comes_in_two_packets(start, opened):
    heartbeat = start(limits=ServerLimits(connections=1, queue_s=30))
    assert pinged(opened(heartbeat.address))
    waits = opened(heartbeat.address)
    waits.sendall(LIVEZ[:10])
    assert said(waits, LIVEZ[10:]).startswith(b"HTTP/1.1 200 OK")


def test_a_silent_client_is_closed_for_a_new_one(start, opened):
    heartbeat = start(limits=ServerLimits(connections=4, queue_s=30))
    silent = [opened(heartbeat.address) for _ in range(4)]
    assert pinged(opened(heartbeat.address))
    assert silent[0].recv(1) == b""


def test_a_connection_whose_request_does_not_arrive_is_closed_for_a_new_one(start, opened):
    heartbeat = start(limits=ServerLimits(connections=4, queue_s=30, http_idle_s=600))
    for _ in range(4):
        opened(heartbeat.address).sendall(STATUS[:40])
    assert pinged(opened(heartbeat.address))


def test_ping_distinguishes_a_full_port_from_a_missing_one(program):
    program.write("")
    missing = program.run("ping", "x")
    assert missing.returncode == 9
    assert "cannot be reached" in missing.stderr
    with socket.create_server(("127.0.0.1", program.port)) as full:
        full.settimeout(60)

        def refuse():
            sock, _ = full.accept()
            sock.sendall(b"error: the limit of 512 connections is reached; try again later\n")
            sock.close()

        busy = asyncio.run(_both(program, refuse))
    assert busy.returncode == 11
    assert "busy" in busy.stderr


async def _both(program, refuse):
    refused, done = await asyncio.gather(asyncio.to_thread(refuse), asyncio.to_thread(program.run, "ping", "x"))
    assert refused is None
    return done


# TLS


@pytest.fixture
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue().configure_cert(context)
    return context


def shaken(sock):
    """A TLS connection over this one; OSError when there is none to be had."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock)


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_a_client_that_may_not_connect_gets_no_handshake(start, opened, tls):
    class OneMachine(AccessPolicy):
        def may_connect(self, peer):
            return peer == "127.0.0.1"

    heartbeat = start(tls=tls, access=OneMachine())
    with shaken(opened(heartbeat.address)) as sock:
        assert pinged(sock)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shaken(opened(heartbeat.address, "127.0.0.2"))


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_silent_sockets_do_not_delay_handshakes_of_others(start, opened, tls):
    heartbeat = start(tls=tls, access=Machines(), limits=ServerLimits(connections=200, handshake_s=600))
    silent = [opened(heartbeat.address, "127.0.0.2") for _ in range(50)]
    began = [opened(heartbeat.address, "127.0.0.3") for _ in range(40)]
    for sock in began:
        sock.sendall(b"\x16\x03\x01")
    for source in ("127.0.0.1", "127.0.0.4"):
        with shaken(opened(heartbeat.address, source)) as sock:
            assert pinged(sock)
    assert len(silent) == 50


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_a_handshake_that_takes_too_long_is_closed_and_no_longer_counted(start, opened, tls):
    heartbeat = start(tls=tls, limits=ServerLimits(connections=60, handshake_s=0.3))
    for number in range(50):  # more than shake hands at a time
        opened(heartbeat.address).sendall(b"\x16\x03\x01" if number % 2 else b"")
    deadline = time.monotonic() + 20
    while heartbeat.connection_count:
        assert time.monotonic() < deadline
    with shaken(opened(heartbeat.address)) as sock:
        assert pinged(sock)


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_over_tls_a_full_port_answers_livez_and_503(start, opened, tls):
    heartbeat = start(tls=tls, limits=ServerLimits(connections=2, queue_s=0.2))
    held = [shaken(opened(heartbeat.address)) for _ in range(2)]
    assert all(pinged(sock) for sock in held)
    with shaken(opened(heartbeat.address)) as sock:
        assert said(sock, LIVEZ).endswith(b"ok\n")
    with shaken(opened(heartbeat.address)) as sock:
        assert said(sock, STATUS).startswith(b"HTTP/1.1 503")
    for sock in held:
        sock.close()


def test_a_port_that_hangs_is_neither_busy_nor_missing(opened):
    with socket.create_server(("127.0.0.1", 0)) as hangs, pytest.raises(HeartbeatError, match="did not answer within") as caught:
        HeartbeatClient(*hangs.getsockname()).ask("ping", timeout_s=0.2)
    assert not isinstance(caught.value, HeartbeatBusyError)


def test_the_token_says_busy_too(start, opened):
    heartbeat = start(limits=ServerLimits(connections=1, queue_s=0.1), access=Machines(Token("t0ken-" * 8)))
    assert pinged(opened(heartbeat.address))
    with pytest.raises(HeartbeatBusyError):
        HeartbeatClient(*heartbeat.address, token="t0ken-" * 8).ask("health")
