"""Tests that answers given by the acceptor do not differ from those of the protocols."""

from __future__ import annotations

import os
import socket
import struct
import time

import pytest

from pipeline.heartbeat.connections.limits import ServerLimits

STAMP = b"[2026-11-22 23:16:41] "


@pytest.mark.parametrize("pieces", [
    (b"hello\n", b"ping\n", b"health\n", b"ping\nquit\n"), (b"hello\n", b"pi", b"ng\n", b"health\n", b"ping\nquit\n"),
    (b"hello\nping\nhealth\nping\nquit\n",), (b"hello\n", b"ping\nhealth\nping\n", b"quit\n")])
def test_answers_do_not_depend_on_how_lines_are_split_into_packets(heartbeat, connect, pieces):
    sock, answers = connect()
    for piece in pieces:
        sock.sendall(piece)
        if piece.endswith(b"\n") and b"quit" not in piece:
            got = [answers.readline() for _ in piece.splitlines() if _ != b"ng"] if pieces[1:] else []
            assert all(got)
    rest = answers.read()
    if len(pieces) == 1:
        assert rest == STAMP + b"hello\npong\nok\npong\nbye\n"
    assert rest.endswith(b"bye\n")


def test_http_is_recognised_only_at_the_start_of_a_connection(heartbeat, connect):
    sock, answers = connect()
    sock.sendall(b"ping\n")
    assert answers.readline() == b"pong\n"
    sock.sendall(b"GET /livez HTTP/1.1\n")
    assert answers.readline() == STAMP + b"GET /livez HTTP/1.1\n"
    sock, answers = connect()
    sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answers.readline() == b"HTTP/1.1 200 OK\r\n"


def test_a_client_that_reads_nothing_gets_every_answer_once_it_does(heartbeat):
    line = b"x" * 500 + b"\n"
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that answers soon find no room
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(10)
        sock.connect(heartbeat.address)
        for _ in range(400):  # a packet each
            sock.sendall(line)
        with sock.makefile("rb") as answers:
            assert [answers.readline() for _ in range(400)] == [STAMP + line] * 400


def test_a_silent_client_is_closed_and_makes_room(start):
    heartbeat = start(limits=ServerLimits(connections=2, idle_s=0.3, queue_s=30))
    silent = [socket.create_connection(heartbeat.address, 10) for _ in range(2)]
    with socket.create_connection(heartbeat.address, 10) as third:
        third.sendall(b"ping\n")
        assert third.recv(100) == b"pong\n"
    for sock in silent:
        assert sock.recv(1) == b""
        sock.close()


def test_clients_that_reset_leave_no_connection_and_no_open_file(heartbeat, connect):
    sock, answers = connect()

    def files_after_resets():
        for text in (b"", b"ping\n", b"pi", b"health\n", b"ping\nping\n") * 20:
            with socket.create_connection(heartbeat.address, 10) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(text)
        with socket.create_connection(heartbeat.address, 10) as last:  # connections are accepted in order: all others were accepted
            last.sendall(b"ping\n")
            assert last.recv(100) == b"pong\n"
        deadline = time.monotonic() + 60
        while heartbeat.connection_count > 1:
            sock.sendall(b"ping\n")
            assert answers.readline() == b"pong\n"
            assert time.monotonic() < deadline
        return len(os.listdir("/proc/self/fd"))

    first = files_after_resets()
    assert files_after_resets() < first + 20  # each kind was sent 20 times; a few are still being closed
