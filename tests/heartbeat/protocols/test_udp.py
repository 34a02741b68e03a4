"""Tests of the commands over UDP."""

from __future__ import annotations

import json
import socket
import subprocess
import time

import pytest

from pipeline.errors import HeartbeatError
from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.client import HeartbeatClient
from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.token_bucket import TokenBucket
from tests.heartbeat.conftest import empty

STAMP = "[2026-11-22 23:16:41]"


@pytest.fixture
def ask(start):
    heartbeat = start(udp=True)

    def ask(text):
        return HeartbeatClient(*heartbeat.address).ask_datagram(text, timeout_s=5)

    return ask


def silent(address, *datagrams):
    """Whether none of these datagrams gets an answer before a ping sent after them does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(address)
        for datagram in datagrams:
            sock.send(datagram)
        sock.send(b"ping")
        return sock.recv(65535) == b"pong\n"


def test_datagrams_get_the_same_answers_as_lines(ask):
    assert ask("ping") == "pong"
    assert ask("health") == "ok"
    assert ask("hello\n") == f"{STAMP} hello"
    assert ask("a\nb\x1b") == f"{STAMP} a\\x0ab\\x1b"
    assert json.loads(ask(""))["health"] == "ok"
    assert json.loads(ask("status"))["schema"] == 1


def test_an_answer_longer_than_a_packet_asks_for_tcp(ask, service):
    service.says = empty() | {"reasons": ["x" * 2000]}
    assert ask("status") == "error: the answer is longer than a packet, or longer than the request; use TCP"


def test_a_datagram_that_looks_like_an_answer_is_dropped(start):
    assert silent(start(udp=True).address, f"{STAMP} {STAMP} hello\n".encode())


def test_a_datagram_longer_than_an_answer_is_not_answered(start):
    assert silent(start(udp=True).address, b"x" * 1300)


def test_each_source_address_has_a_rate_limit(start):
    heartbeat = start(udp=True, limits=ServerLimits(datagrams_per_s=2))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        sock.connect(heartbeat.address)
        began = time.monotonic()
        for _ in range(50):
            sock.send(b"ping")
        other.bind(("127.0.0.2", 0))
        other.settimeout(20)
        other.sendto(b"ping", heartbeat.address)
        assert other.recv(100) == b"pong\n", "another address has a rate of its own"
        took_s = time.monotonic() - began  # all fifty came before the ping of the other address
        sock.settimeout(0.3)
        assert 4 <= sum(1 for _ in iter(lambda: received(sock), b"")) <= 4 + 2 * took_s


def received(sock):
    try:
        return sock.recv(100)
    except TimeoutError:
        return b""


def test_a_token_bucket_fills_again_up_to_its_burst():
    bucket = TokenBucket(2.0, 4.0, 0.0)
    assert [bucket.take(0.0) for _ in range(5)] == [True, True, True, True, False]
    assert bucket.take(0.5)
    assert not bucket.take(0.5)
    assert [bucket.take(1000.0) for _ in range(5)].count(True) == 4


def test_datagrams_are_off_by_default(heartbeat):
    with pytest.raises(HeartbeatError) as caught:
        HeartbeatClient(*heartbeat.address).ask_datagram("ping", timeout_s=0.3)
    assert caught.value.retry


def test_a_port_taken_for_datagrams_is_one_clear_message(start):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
            sock.bind(("127.0.0.1", port))
        with pytest.raises(HeartbeatError, match=f"port {port} on 127.0.0.1 is in use"):
            start(udp=True, port=port)
        start(port=port)


@pytest.mark.needs("nc")
def test_nc_gets_its_answer(start):
    host, port = start(udp=True).address
    done = subprocess.run(["nc", "-u", "-w", "5", "-W", "1", host, str(port)], input=b"hello", capture_output=True,
                          timeout=10, check=True)
    assert done.stdout.decode() == f"{STAMP} hello\n"


class RemoteOnly(AccessPolicy):
    """Takes every client for one of another machine: tests have loopback only."""

    def is_local(self, peer):
        return False


@pytest.mark.parametrize("question", [b"p", b"ping", b"ping\n", b"x", b"hello", b"help", b"status", b"", b"time",
                                      b"ping".ljust(1232, b"\n"), b"status".ljust(1232, b"\n"), b"\xff" * 300, b"\x1b" * 1232])
def test_another_machine_gets_no_more_bytes_than_it_sent(start, service, question):
    service.says = empty() | {"reasons": ["x" * 900]}
    heartbeat = start(udp=True, access=RemoteOnly(open_status=True))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(heartbeat.address)
        sock.send(question)
        sock.send(b"ping".ljust(100, b"\n"))
        answers = []
        while not answers or answers[-1] != b"pong\n":
            answers.append(sock.recv(65535))
    assert all(len(answer) <= len(question) for answer in answers[:-1])


def test_a_question_that_is_padded_is_answered_in_full(start):
    heartbeat = start(udp=True, access=RemoteOnly(open_status=True))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(heartbeat.address)
        sock.send(b"health".ljust(1232, b"\n"))
        assert sock.recv(65535) == b"ok\n"
