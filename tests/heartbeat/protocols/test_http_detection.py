"""Tests that the first bytes distinguish HTTP from lines, however they are split."""

from __future__ import annotations

import socket

import pytest

from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.protocols.http_detection import FirstBytes, LineFeedNormalizer, classify

STAMP = b"[2026-11-22 23:16:41] "
REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SLOW = ServerLimits(quiet_s=0.01, request_line_s=20)


@pytest.mark.parametrize(("data", "beginning"), [
    (b"GET / HTTP/1.1\r\n", FirstBytes.HTTP), (b"GET / HTTP/1.1\n", FirstBytes.HTTP),
    (b"\r\nGET / HTTP/1.1\r\n", FirstBytes.HTTP), (b"\n\r\nGET / HTTP/1.0\n", FirstBytes.HTTP),
    (b"M-SEARCH * HTTP/1.1\n", FirstBytes.LINES), (b"PROPFIND / HTTP/1.1\n", FirstBytes.HTTP),
    (b"", FirstBytes.UNDECIDED), (b"\r", FirstBytes.UNDECIDED), (b"\r\n", FirstBytes.UNDECIDED), (b"\n\n", FirstBytes.UNDECIDED),
    (b"G", FirstBytes.UNDECIDED), (b"\r\nGET", FirstBytes.UNDECIDED), (b"GET ", FirstBytes.UNDECIDED),
    (b"GET /liv", FirstBytes.UNDECIDED), (b"GET /livez ", FirstBytes.UNDECIDED), (b"GET /livez HT", FirstBytes.UNDECIDED),
    (b"GET /livez HTTP/1.", FirstBytes.UNDECIDED), (b"GET /livez HTTP/1.1\r", FirstBytes.UNDECIDED),
    (b"GET me some milk", FirstBytes.LINES), (b"GET / please\n", FirstBytes.LINES), (b"get / HTTP/1.1\r\n", FirstBytes.LINES),
    (b"ping", FirstBytes.LINES), (b"PING", FirstBytes.LINES), (b"\nping\n", FirstBytes.LINES), (b"GETS", FirstBytes.LINES),
    (b"say\nGET / HTTP/1.1\n", FirstBytes.LINES), (b"\n" * 65, FirstBytes.LINES), (b"\x16\x03\x01", FirstBytes.LINES)])
def test_the_first_bytes_tell_http_from_lines(data, beginning):
    assert classify(data) is beginning


@pytest.mark.parametrize("pieces", [
    (b"\r\n" + REQUEST,), (b"\r\n\r\n" + REQUEST,), (b"\n" + REQUEST,), (REQUEST.replace(b"\r\n", b"\n"),),
    (b"\n" + REQUEST.replace(b"\r\n", b"\n"),), (REQUEST.replace(b"\r\n", b"\n", 1),),
    (b"\r\n", REQUEST), (b"\r", b"\n" + REQUEST), (b"GET /liv", REQUEST[8:]), (b"G", REQUEST[1:]), (REQUEST[:19], REQUEST[19:]),
    tuple(bytes([byte]) for byte in REQUEST), tuple(bytes([byte]) for byte in b"\r\n" + REQUEST),
    tuple(bytes([byte]) for byte in REQUEST.replace(b"\r\n", b"\n"))])
def test_a_request_is_answered_as_http_however_its_lines_end_and_its_packets_are_cut(start, pieces):
    heartbeat = start(limits=SLOW)
    for piece in pieces[:1]:  # what of it is there long before the rest: the server has it when another was answered
        with socket.create_connection(heartbeat.address, 10) as sock, sock.makefile("rb") as answers:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(piece)
            _asked_in_between(heartbeat)
            for rest in pieces[1:]:
                sock.sendall(rest)
            answer = answers.read()
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
            assert answer.endswith(b"\r\n\r\nok\n")


def _asked_in_between(heartbeat):
    """Another client's line without its newline is answered after the quiet that ends a line."""
    with socket.create_connection(heartbeat.address, 10) as other:
        other.sendall(b"hello")
        assert other.recv(100) == STAMP + b"hello\n"


def test_a_request_with_bare_line_feeds_is_the_last_of_its_connection(heartbeat, connect):
    sock, answers = connect()
    sock.sendall(b"GET /livez HTTP/1.1\nHost: localhost\n\nGET /livez HTTP/1.1\nHost: localhost\n\n")
    assert answers.read().count(b"HTTP/1.1 200 OK") == 1
    sock, answers = connect()
    sock.sendall(b"POST /enter HTTP/1.1\nHost: localhost\nContent-Length: 9\n\ntoken=\n\n\n")
    assert answers.readline().startswith(b"HTTP/1.1 4")


def test_a_bare_line_feed_inside_a_head_with_carriage_returns_is_refused(heartbeat, connect):
    """RFC 9112, 2.2, allows both; a proxy in front may have read one header line where we would read two."""
    sock, answers = connect()
    sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\nY: b\r\n\r\n")
    assert answers.readline().startswith(b"HTTP/1.0 400")


def test_the_body_after_a_head_with_bare_line_feeds_is_not_changed():
    normalizer = LineFeedNormalizer()
    assert normalizer.feed(b"POST / HTTP/1.1\nContent-Length: 5\r\n") == b""
    assert normalizer.feed(b"\na\nb") == b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na\nb"
    assert normalizer.feed(b"\nc") == b"\nc"


@pytest.mark.parametrize(("sent", "lines"), [
    (b"\n", [b""]), (b"\n\nping\n", [b"", b"", None]), (b"\r\nhello\n", [b"", b"hello"]), (b"GE", [b"GE"]), (b"\nGET", [b"", b"GET"])])
def test_text_that_might_have_become_http_is_answered_as_text(start, sent, lines):
    heartbeat = start(limits=ServerLimits(quiet_s=0.01, request_line_s=0.02))
    with socket.create_connection(heartbeat.address, 10) as sock, sock.makefile("rb") as answers:
        sock.sendall(sent)
        for line in lines:
            assert answers.readline() == (b"pong\n" if line is None else STAMP + line + b"\n")


def test_endless_blank_lines_are_answered_as_lines(heartbeat, connect):
    sock, answers = connect()
    sock.sendall(b"\n" * 1000)
    assert [answers.readline() for _ in range(1000)] == [STAMP + b"\n"] * 1000
