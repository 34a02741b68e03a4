"""Tests of the blocking client."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading

import pytest

from pipeline.errors import HeartbeatError
from pipeline.heartbeat.client import HeartbeatClient
from tests.servers.ports import free_port

STAMP = "[2026-11-22 23:16:41]"


def test_one_question_gets_one_answer(heartbeat):
    assert HeartbeatClient(*heartbeat.address).ask("hello") == f"{STAMP} hello"
    assert json.loads(HeartbeatClient(*heartbeat.address).ask("status"))["health"] == "ok"
    assert HeartbeatClient(*heartbeat.address).ask("") == f"{STAMP} "


def test_a_newline_inside_a_question_becomes_a_space(heartbeat):
    assert HeartbeatClient(*heartbeat.address).ask("one\ntwo\r\n") == f"{STAMP} one two"


def test_each_line_is_answered_before_the_next_is_taken(heartbeat):
    taken = []

    def typed():
        for line in ("a\n", "b\n", "你\n"):
            taken.append(line)
            yield line

    answers = HeartbeatClient(*heartbeat.address).ask_lines(typed())
    assert next(answers) == f"{STAMP} a"
    assert taken == ["a\n"]
    assert list(answers) == [f"{STAMP} b", f"{STAMP} 你"]


def test_an_unreachable_service_is_one_clear_message():
    port = free_port()
    with pytest.raises(HeartbeatError) as caught:
        HeartbeatClient("127.0.0.1", port).ask("ping")
    assert str(caught.value) == (f"127.0.0.1:{port}: the service cannot be reached: Connection refused; "
                                 "start `pipeline serve`, or correct [heartbeat] in settings.toml")
    assert caught.value.retry


def test_a_server_that_is_silent_or_hangs_up_is_one_clear_message():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(HeartbeatError, match=r"did not answer within 0\.2 s"):
            HeartbeatClient("127.0.0.1", port).ask("ping", timeout_s=0.2)
        server.accept()[0].close()

        def hang_up():
            connection, _ = server.accept()
            connection.recv(10)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(HeartbeatError, match="closed the connection without answering"):
            HeartbeatClient("127.0.0.1", port).ask("ping")
        thread.join(20)


def test_the_client_and_the_url_of_the_pages_load_no_http_server():
    code = ("import sys, pipeline.cli.main, pipeline.heartbeat.client, pipeline.heartbeat.addresses, pipeline.heartbeat.token\n"
            "print(*{'aiohttp', 'jinja2', 'sqlalchemy', 'prometheus_client'} & sys.modules.keys())")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True).stdout == "\n"
