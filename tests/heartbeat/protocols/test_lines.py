"""Tests of the text protocol."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
import subprocess
import threading
import time

import pytest

from pipeline.errors import HeartbeatError, StoreError
from pipeline.heartbeat.connections.limits import ServerLimits
from tests.heartbeat.conftest import QUICK, empty, past_run, progress, run_status, spider_status

STAMP = "[2026-11-22 23:16:41]"


def lines(answers, number):
    return [answers.readline().decode().removesuffix("\n") for _ in range(number)]


def test_any_text_is_echoed_with_the_date_and_time_in_the_settings_zone(connect):
    sock, answers = connect()
    sock.sendall("hello\n你好, Welt\r\n  spaced  \n\n".encode())
    assert lines(answers, 4) == [f"{STAMP} hello", f"{STAMP} 你好, Welt", f"{STAMP}   spaced  ", f"{STAMP} "]


def test_the_server_never_speaks_first(connect):
    sock, _ = connect()
    sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        sock.recv(1)


def test_a_line_without_its_newline_is_answered_after_some_silence(connect):
    sock, answers = connect()
    sock.sendall(b"hi")
    assert lines(answers, 1) == [f"{STAMP} hi"]


@pytest.mark.parametrize("late", [b"\n", b"\r\n"])
def test_a_newline_that_comes_late_belongs_to_the_line_before(connect, late):
    sock, answers = connect()
    sock.sendall(b"hi")
    assert lines(answers, 1) == [f"{STAMP} hi"]
    sock.sendall(late + b"there\n")
    assert lines(answers, 1) == [f"{STAMP} there"]


def test_a_line_without_its_newline_is_answered_at_the_end_of_input(start, connect):
    heartbeat = start(limits=ServerLimits(quiet_s=60))
    sock, answers = connect(heartbeat.address)
    sock.sendall(b"one\ntwo")
    sock.shutdown(socket.SHUT_WR)
    assert answers.read().decode().splitlines() == [f"{STAMP} one", f"{STAMP} two"]


def test_a_client_that_sends_nothing_and_ends_gets_the_status(connect):
    sock, answers = connect()
    sock.shutdown(socket.SHUT_WR)
    assert json.loads(answers.read())["health"] == "ok"


def test_a_half_closed_connection_gets_every_answer_in_order(connect):
    sock, answers = connect()
    sock.sendall(b"status\nx\nhealth\nping\nspiders\nlast")
    sock.shutdown(socket.SHUT_WR)
    got = answers.read().decode().splitlines()
    assert got[1:] == [f"{STAMP} x", "ok", "pong", "no spiders in the settings", f"{STAMP} last"]
    assert json.loads(got[0])["schema"] == 1


def test_control_characters_and_invalid_utf8_are_echoed_escaped(connect):
    sock, answers = connect()
    sock.sendall(b"\x1b[2J\x00\tx\x7f\xff\xc2\x9b\xe2\x82\n" + "ok \u202eko\u2066 \u0639 e\u0301\n".encode())
    assert lines(answers, 2) == [f"{STAMP} \\x1b[2J\\x00\tx\\x7f\\xff\\x9b\\xe2\\x82",
                                 f"{STAMP} ok \\u202eko\\u2066 \u0639 e\u0301"]


@pytest.mark.parametrize(("word", "answer"), [
    ("ping", "pong"), ("time", "2026-11-22 23:16:41"), ("version", "pipeline 1.2.3, status schema 1"),
    ("health", "ok"), ("spiders", "no spiders in the settings"), ("spider", "spider NAME; known: none"),
    ("runs", "no run is running"), ("next", "no slot is scheduled"), ("outbox", "0 waiting, 0 parked"),
    ("downloads", "0 waiting, 0 failed"), ("proxies", "no proxies"), ("quit", "bye"),
    ("status please", f"{STAMP} status please"), ("Status", f"{STAMP} Status"),
])
def test_every_command_has_a_one_line_answer(connect, word, answer):
    sock, answers = connect()
    sock.sendall(f"{word}\n".encode())
    assert lines(answers, 1) == [answer]


def test_help_names_every_command_in_one_line(connect):
    sock, answers = connect()
    sock.sendall(b"help\nping\n")
    named, after = lines(answers, 2)
    for word in ("ping", "time", "status", "health", "spiders", "spider NAME", "runs", "next", "outbox", "downloads",
                 "proxies", "watch", "version", "help", "quit"):
        assert word in named
    assert after == "pong"


def test_each_command_answers_from_the_snapshot(connect, service):
    service.says = empty() | {
        "health": "degraded", "reasons": ["books: late", "outbox: 1 parked"],
        "spiders": {"books": spider_status(health="degraded", reasons=["late"], proxy="office"),
                    "news": spider_status(next_due="2026-11-23T06:00:00+08:00", last_run=None, last_success=None)},
        "runs": [run_status(ended_at=None, outcome=None, progress=progress(pages=3, waiting=9))],
        "outbox": {"waiting": 2, "oldest_age_s": 3700.0, "parked": 1, "last_error": "550 no such user", "refused": 0, "refused_addresses": []},
        "downloads": {"waiting": 4, "failed": 1, "active": [
            {"run": 7, "spider": "books", "name": "a.pdf", "done_bytes": 2_100_000, "total_bytes": 5_200_000,
             "rate_bytes_s": 1_500_000.0, "left_s": 2.1},
            {"run": 7, "spider": "books", "name": "b\x1b[2J.pdf", "done_bytes": 10, "total_bytes": None,
             "rate_bytes_s": 0.0, "left_s": None}]}, "proxies": {"office": ["http://127.0.0.1:8118"]},
    }
    sock, answers = connect()
    sock.sendall(b"health\nspiders\nspider books\nspider news\nspider book\nruns\nnext\noutbox\ndownloads\nproxies\n")
    assert lines(answers, 10) == [
        "degraded: books: late; outbox: 1 parked",
        "books degraded, next 2026-11-23T07:00:00+08:00; news ok, next 2026-11-23T06:00:00+08:00",
        ("books degraded: late; last success 2026-11-22T07:00:12+08:00; last run 7 succeeded at "
         "2026-11-22T14:16:41+00:00, 5 pages, 40 items, 3 downloads (4.0 MB) in 12 s; no match of download; "
         "next 2026-11-23T07:00:00+08:00; through proxy office"),
        "news ok; last success never; no match of download; next 2026-11-23T06:00:00+08:00",
        "no spider named 'book' (did you mean 'books'?); known: books, news",
        "books run 7: 3 pages, 0 items, 0 downloads in 12 s, 9 waiting",
        "news 2026-11-23T06:00:00+08:00; books 2026-11-23T07:00:00+08:00",
        "2 waiting, 1 parked, oldest 1 h 1 min; last error: 550 no such user",
        ("4 waiting, 1 failed; 2 active at 1.5 MB/s: books a.pdf 2.1 MB of 5.2 MB at 1.5 MB/s, 2 s left; "
        "books b\\x1b[2J.pdf 10 B at 0 B/s"), "office http://127.0.0.1:8118",
    ]


def test_scraped_text_cannot_add_a_second_line(connect, service):
    nasty = "a\nb\r\x1b]0;x\x07\u2028\x85c"
    service.says = empty() | {
        "health": "degraded", "reasons": [nasty],
        "outbox": {"waiting": 1, "oldest_age_s": 1.0, "parked": 0, "last_error": nasty, "refused": 0, "refused_addresses": []},
        "spiders": {"books": spider_status(reasons=[nasty])},
    }
    sock, answers = connect()
    sock.sendall(b"status\nhealth\noutbox\nspider books\nspider a\tb\nping\n")
    got = lines(answers, 6)
    assert got[5] == "pong"
    assert got[0].isascii()
    assert not any(re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", line) for line in got)


def test_watch_reports_each_change_until_the_client_sends_something(connect, service):
    sock, answers = connect()
    sock.sendall(b"watch\n")
    assert lines(answers, 1) == ["watching, ok"]
    service.says = empty() | {"spiders": {"books": spider_status(recent=[])},
                              "runs": [run_status(ended_at=None, outcome=None)]}
    assert lines(answers, 1) == [f"{STAMP} run 7 of books started"]
    service.says = service.says | {"runs": [run_status(ended_at=None, outcome=None, progress=progress(pages=9))]}
    assert lines(answers, 1) == [f"{STAMP} run 7 of books: 9 pages, 0 items, 0 downloads in 12 s, 0 waiting"]
    service.says = empty() | {"health": "degraded", "reasons": ["books: x"], "spiders": {"books": spider_status(
        recent=[past_run(outcome="failed", error="login: no")])}}
    assert lines(answers, 2) == [f"{STAMP} health degraded: books: x", f"{STAMP} run 7 of books failed: login: no"]
    service.says = service.says | {"outbox": empty()["outbox"] | {"waiting": 1},
                                   "downloads": {"waiting": 1, "failed": 0, "active": []}}
    assert lines(answers, 2) == [f"{STAMP} outbox 1 waiting, 0 parked", f"{STAMP} downloads 1 waiting, 0 failed"]
    sock.sendall(b"ping\n")
    assert lines(answers, 1) == ["pong"]


def test_quit_comes_after_the_answers_before_it(connect):
    sock, answers = connect()
    sock.sendall(b"one\nhealth\ntwo\nquit\nthree\n")
    assert lines(answers, 4) == [f"{STAMP} one", "ok", f"{STAMP} two", "bye"]
    assert answers.read() == b""


def test_a_line_after_watch_ends_it_at_once(connect, service):
    sock, answers = connect()
    sock.sendall(b"watch\nping\n")
    assert lines(answers, 1) == ["pong"]
    service.says = empty() | {"health": "degraded"}
    sock.sendall(b"watch\n")
    assert lines(answers, 1) == ["watching, degraded"]


def test_a_watch_ends_with_its_client(connect, heartbeat):
    sock, answers = connect()
    sock.sendall(b"watch\n")
    lines(answers, 1)
    sock.shutdown(socket.SHUT_WR)
    assert answers.read() == b""


def test_a_store_that_cannot_be_read_is_failing_and_says_why(connect, service):
    service.says = StoreError("the database is damaged", where="var", fix="restore a backup")
    sock, answers = connect()
    sock.sendall(b"health\nping\n")
    assert lines(answers, 2) == ["failing: store: var: the database is damaged; restore a backup", "pong"]


def test_an_exception_in_one_answer_does_not_affect_the_next(connect, service, caplog):
    service.says = ZeroDivisionError("bug")
    sock, answers = connect()
    sock.sendall(b"health\nping\n")
    said, after = lines(answers, 2)
    assert said.startswith("error: the command failed")
    assert after == "pong"
    assert "a heartbeat command failed because of a bug" in caplog.text


def test_many_questions_at_once_read_the_store_once(run, connect, service):
    async def block():
        service.blocked_until = asyncio.Event()

    run(block())
    clients = [connect() for _ in range(20)]
    for sock, _ in clients:
        sock.sendall(b"health\n")
    sock, answers = connect()
    sock.sendall(b"ping\n")
    assert lines(answers, 1) == ["pong"], "what needs no store is answered meanwhile"

    async def unblock():
        service.blocked_until.set()

    run(unblock())
    assert [lines(answers, 1) for _, answers in clients] == [["ok"]] * 20
    assert service.asked <= 2


def test_a_store_that_does_not_answer_is_reported_as_failing_in_time(run, start, connect, service):
    async def block():
        service.blocked_until = asyncio.Event()

    run(block())
    heartbeat = start(limits=ServerLimits(patience_s=0.1))
    for _ in range(2):
        sock, answers = connect(heartbeat.address)
        sock.sendall(b"health\n")
        assert lines(answers, 1) == ["failing: store: the database did not answer within 0.1 s"]
    assert service.asked == 1, "one reader at a time, however long it takes"


def test_64_clients_are_answered_at_once(heartbeat):
    failures = []
    begin = threading.Barrier(64)

    def client(number):
        with socket.create_connection(heartbeat.address, 20) as sock, sock.makefile("rb") as answers:
            begin.wait(20)
            for round_ in range(10):
                sock.sendall(f"client {number} line {round_}\n".encode())
                if answers.readline().decode() != f"{STAMP} client {number} line {round_}\n":
                    failures.append(number)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def test_a_line_that_comes_byte_by_byte_is_one_line(start, connect):
    heartbeat = start(limits=ServerLimits(quiet_s=5))
    sock, answers = connect(heartbeat.address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in "你好 byte by byte\r\n".encode():
        sock.sendall(bytes([byte]))
    assert lines(answers, 1) == [f"{STAMP} 你好 byte by byte"]


def test_an_endless_line_is_refused_and_read_no_further(connect, heartbeat):
    sock, answers = connect()
    sock.sendall(b"x" * 20_000)
    assert lines(answers, 1) == ["error: the line is longer than 8192 bytes; the connection is closed"]
    assert answers.read() == b""
    other, answers = connect()
    other.sendall(b"y" * 8192 + b"\n")
    assert lines(answers, 1) == [f"{STAMP} {'y' * 8192}"]


def test_a_client_that_never_stops_sending_is_cut_off(connect):
    sock, _ = connect()

    def flood():
        while True:
            sock.sendall(b"x" * 65536)

    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        flood()


def test_a_client_that_never_reads_is_paused_then_cut_off(start, connect):
    heartbeat = start(limits=ServerLimits(stalled_s=0.3, idle_s=0.5))
    sock, _ = connect(heartbeat.address)
    sock.settimeout(20)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def flood():
        while True:
            sock.sendall(b"hello\n" * 10_000)

    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        flood()


def test_clients_that_flood_the_port_do_not_delay_others(connect):
    done = threading.Event()

    def flood():
        sock, answers = connect()
        sender = threading.Thread(target=lambda: sock.sendall(b"hello\n" * 40_000))
        sender.start()
        for _ in range(40_000):
            answers.readline()
        sender.join(20)
        done.set()

    flooding = threading.Thread(target=flood)
    flooding.start()
    sock, answers = connect()
    worst, asked = 0.0, 0
    while not done.is_set():
        begun = time.monotonic()
        sock.sendall(b"ping\n")
        assert lines(answers, 1) == ["pong"]
        worst, asked = max(worst, time.monotonic() - begun), asked + 1
    flooding.join(20)
    assert worst < 5
    assert asked > 10, "each was answered while 40,000 lines came"


def test_an_idle_client_is_closed(start, connect):
    heartbeat = start(limits=ServerLimits(idle_s=0.2))
    _, answers = connect(heartbeat.address)
    assert answers.read() == b""
    _until(lambda: not heartbeat.connection_count)


def test_a_client_too_many_gets_an_error(start, connect):
    heartbeat = start(limits=ServerLimits(connections=3))
    inside = [connect(heartbeat.address) for _ in range(3)]
    for sock, answers in inside:
        sock.sendall(b"ping\n")
        assert lines(answers, 1) == ["pong"]
    _, answers = connect(heartbeat.address)
    assert answers.read() == b"error: the limit of 3 connections is reached; try again later\n"
    inside[0][0].sendall(b"quit\n")
    assert inside[0][1].readline() == b"bye\n"
    inside[0][1].close()
    inside[0][0].close()
    _until(lambda: heartbeat.connection_count == 2)
    sock, answers = connect(heartbeat.address)
    sock.sendall(b"ping\n")
    assert lines(answers, 1) == ["pong"]


def _until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_a_reset_connection_does_not_affect_other_clients(connect, heartbeat):
    for _ in range(20):
        sock, answers = connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(b"status\nhello")
        answers.close()
        sock.close()
    sock, answers = connect()
    sock.sendall(b"ping\n")
    assert lines(answers, 1) == ["pong"]
    _until(lambda: heartbeat.connection_count == 1)


def test_random_bytes_get_one_line_for_each_line(connect, caplog):
    chance = random.Random(7)
    sock, answers = connect()
    pieces = []
    for _ in range(3000):
        line = chance.randbytes(chance.randrange(60)).replace(b"\n", b"")
        if not line.strip() or line.strip() in (b"quit", b"watch"):
            line = b"x"
        pieces.append(line + b"\n")
    sender = threading.Thread(target=sock.sendall, args=(b"".join(pieces),))
    sender.start()
    for piece in pieces:
        answer = answers.readline()
        assert answer.startswith(STAMP.encode())
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", answer[:-1].decode("utf-8")), piece
    sender.join(10)
    assert not caplog.records


def test_random_bytes_on_many_connections_do_not_stop_the_server(connect, heartbeat, caplog):
    chance = random.Random(11)
    openings = [b"GET / HTTP/1.1\r\n", b"POST ", b"\x16\x03\x01", b"status\n", b"", b"PRI * HTTP/2.0\r\n\r\n",
                b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"]
    for number in range(400):
        with socket.create_connection(heartbeat.address, 10) as sock:
            sock.sendall(chance.choice(openings) + chance.randbytes(chance.randrange(200)))
            if number % 2:
                sock.shutdown(socket.SHUT_WR)
    sock, answers = connect()
    sock.sendall(b"ping\n")
    assert lines(answers, 1) == ["pong"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_taken_port_is_one_clear_message(start, heartbeat):
    host, port = heartbeat.address
    with pytest.raises(HeartbeatError) as caught:
        start(port=port)
    assert str(caught.value) == (f"heartbeat: port {port} on {host} is in use; "
                                 "stop the other program, or set another [heartbeat] port in settings.toml")


def test_an_address_of_another_machine_is_one_clear_message(start):
    with pytest.raises(HeartbeatError, match=r"cannot listen on 192\.0\.2\.1"):
        start(host="192.0.2.1")
    with pytest.raises(HeartbeatError, match="cannot listen on no such host"):
        start(host="no such host")


def test_localhost_answers_on_every_address_it_has(start, connect):
    heartbeat = start(host="localhost")
    sock, answers = connect(("localhost", heartbeat.address[1]))
    sock.sendall(b"ping\n")
    assert lines(answers, 1) == ["pong"]


def test_a_stopped_heartbeat_frees_its_port_and_closes_its_clients(run, start, connect):
    heartbeat = start()
    sock, answers = connect(heartbeat.address)
    sock.sendall(b"ping\n")
    assert lines(answers, 1) == ["pong"]
    run(heartbeat.stop())
    assert answers.read() == b""
    again = start(port=heartbeat.address[1])
    assert again.address == heartbeat.address


@pytest.mark.needs("nc")
@pytest.mark.parametrize(("typed", "said"), [
    (b"hello\n", f"{STAMP} hello\n"), (b"no newline", f"{STAMP} no newline\n"), (b"health\n", "ok\n"),
])
def test_nc_gets_its_answer(heartbeat, typed, said):
    done = subprocess.run(["nc", "-N", "127.0.0.1", str(heartbeat.address[1])], input=typed, capture_output=True,
                          timeout=10, check=True)
    assert done.stdout.decode() == said


@pytest.mark.needs("nc")
def test_nc_without_input_gets_the_status(heartbeat):
    done = subprocess.run(["nc", "-N", "127.0.0.1", str(heartbeat.address[1])], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=10, check=True)
    assert json.loads(done.stdout)["health"] == "ok"


def test_the_connection_limit_leaves_open_files_to_the_rest_of_the_service(start):
    import resource

    heartbeat = start(limits=ServerLimits(connections=10**9))
    assert heartbeat.admission.most < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert QUICK.connections == 512
