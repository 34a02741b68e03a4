"""Tests of the server under hostile clients."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from pipeline.heartbeat.connections.limits import ServerLimits
from tests.heartbeat.conftest import empty, spider_status
from tests.heartbeat.http.test_app import raw
from tests.heartbeat.torture import assault, flood, honest

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("seed", [7, 2026])
def test_random_bytes_and_broken_requests_neither_stop_the_server_nor_fill_the_log(start, caplog, seed):
    heartbeat = start(limits=ServerLimits(quiet_s=0.01, drain_s=0.1))
    report = assault(heartbeat.address, seed=seed, number=3000)
    assert report.inputs == 3000
    assert report.honest >= 5
    assert report.slowest_s < 5
    assert [record for record in caplog.records if record.exc_info] == []
    assert len([record for record in caplog.records if record.name.startswith("pipeline")]) < 5


def test_slow_clients_are_cut_off_and_others_are_served_meanwhile(start):
    heartbeat = start(limits=ServerLimits(http_idle_s=1.5, idle_s=1.5, quiet_s=5, connections=300))
    slow = [socket.create_connection(heartbeat.address, 10) for _ in range(200)]
    for number, sock in enumerate(slow):
        sock.sendall((GET[:20], GET[:-4], b"POST /enter HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\na", b"one byt")
                     [number % 4])
    ended = threading.Event()

    def drip():
        while not ended.wait(0.05):
            for sock in slow[1:3]:  # a byte now and then does not keep an HTTP request alive for ever
                with contextlib.suppress(OSError):
                    sock.send(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    waited = []
    for _ in range(20):
        began = time.monotonic()
        assert honest(heartbeat.address) == b"pong\n"
        waited.append(time.monotonic() - began)
    assert sorted(waited)[10] < 1  # nobody waits until the slow ones are cut off
    for number, sock in enumerate(slow):
        if number % 4 in (1, 2):
            sock.settimeout(10)
            with contextlib.suppress(ConnectionError):
                while sock.recv(4096):
                    pass
    ended.set()
    dripping.join()
    for sock in slow:
        sock.close()


def test_half_open_connections_stay_within_their_limit(start):
    heartbeat = start(limits=ServerLimits(connections=20))
    silent = [socket.create_connection(heartbeat.address, 10) for _ in range(20)]
    for sock in silent:  # each is in once it is answered
        sock.sendall(b"ping\n")
        assert sock.recv(100) == b"pong\n"
    assert b"the limit of 20 connections is reached" in raw(heartbeat, b"")
    silent.pop().close()
    deadline = time.monotonic() + 10
    while honest_or_none(heartbeat.address) != b"pong\n":
        assert time.monotonic() < deadline
    for sock in silent:
        sock.close()


def test_a_client_of_a_full_server_is_admitted_when_a_connection_ends(start):
    heartbeat = start(limits=ServerLimits(connections=2, queue_s=30))
    first, second = (socket.create_connection(heartbeat.address, 10) for _ in range(2))
    for sock in (first, second):
        sock.sendall(b"ping\n")
        assert sock.recv(100) == b"pong\n"
    with socket.create_connection(heartbeat.address, 10) as third, socket.create_connection(heartbeat.address, 10) as fourth:
        for sock in (third, fourth):
            sock.sendall(b"ping\n")
        assert b"the limit of 2 connections is reached" in raw(heartbeat, b"")  # as many wait in the queue
        first.close()
        assert third.recv(100) == b"pong\n"
        third.close()
        assert fourth.recv(100) == b"pong\n"
    second.close()


def honest_or_none(address):
    with contextlib.suppress(ConnectionError):
        return honest(address)


def test_thousands_of_connections_a_second_do_not_stop_the_server(heartbeat):
    report = flood(heartbeat.address, connects=3000)
    assert report.honest > report.turned_away
    assert honest(heartbeat.address) == b"pong\n"


def test_an_endless_line_takes_no_more_memory_than_a_line(heartbeat):
    with socket.create_connection(heartbeat.address, 10) as sock:
        sock.settimeout(10)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                sock.sendall(b"x" * 65536)
    assert honest(heartbeat.address) == b"pong\n"


@pytest.mark.parametrize("request_", [
    (b"POST /enter HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
     b"5c\r\nGET /status.json HTTP/1.1\r\n\r\n0\r\n\r\n"),
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\nGET /status.json HTTP/1.1\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5, 6\r\n\r\nGET /status.json HTTP/1.1\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nhello",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_a_smuggled_or_oversized_request_gets_no_status(heartbeat, service, request_):
    service.says = empty() | {"spiders": {"books": spider_status()}}
    with socket.create_connection(heartbeat.address, 10) as sock, contextlib.suppress(OSError):  # cut off
        sock.sendall(request_)
        sock.shutdown(socket.SHUT_WR)
        assert b"books" not in sock.makefile("rb").read()
    assert honest(heartbeat.address) == b"pong\n"


@pytest.mark.parametrize("host", [b"evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example:80", b"[::1", b"a b"])
def test_a_wrong_host_is_refused_on_every_path(heartbeat, host):
    for path in (b"/", b"/status.json", b"/?token=x", b"/spiders/books"):
        answer = raw(heartbeat, b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        assert answer.startswith((b"HTTP/1.1 421", b"HTTP/1.1 400", b"HTTP/1.0 400")), answer[:100]
