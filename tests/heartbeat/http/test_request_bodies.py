"""Tests that request bodies are not decompressed, and not read by routes that expect none."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import resource
import socket
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import brotli
import pytest
import requests

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.token import Token
from pipeline.settings import load
from pipeline.store import open_store
from tests.heartbeat.conftest import NOW
from tests.heartbeat.http.test_app import raw

try:
    from compression import zstd  # type: ignore[import-not-found]  # Python 3.14
except ImportError:
    from backports import zstd

TOKEN = Token("t0ken-" * 8)
ZEROS = bytes(64 * 2**20)
BOMBS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": partial(brotli.compress, quality=1), "zstd": zstd.compress}
FORM = "application/x-www-form-urlencoded"



@pytest.fixture
def port(start, tmp_path):
    (tmp_path / "settings.toml").write_text("")
    settings = load(tmp_path / "settings.toml")
    store = open_store(settings.data_dir)
    heartbeat = start(access=AccessPolicy(TOKEN), actions=OperationsContext(store, lambda: settings, lambda: NOW))
    yield heartbeat
    store.close()


def memory_kb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def exchange(address, data):
    """What comes back until the connection ends, however it ends."""
    with socket.create_connection(address, 10) as sock:
        found = b""
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while chunk := sock.recv(65536):
                found += chunk
        return found


def routes_of(heartbeat):
    """The path of each route of the pages, with values for its parameters, and of none. The API reads JSON, and has tests of its own."""
    values = {"name": "books", "id": "1", "place": "1", "form": "csv", "key": "downloads/1"}
    found = {re.sub(r"{(\w+)}", lambda name: values[name[1]], resource_.canonical) for resource_ in heartbeat.http_app.router.resources()
             if not resource_.canonical.startswith("/api/")}
    assert len(found) > 60
    return sorted(found | {"/nowhere"})


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
@pytest.mark.parametrize("coding", [*BOMBS, "identity", "x-gzip", "gzip, gzip", "\xff", "zlib"])
def test_no_route_decompresses_or_keeps_a_body(port, caplog, coding):
    body = BOMBS[coding](ZEROS) if coding in BOMBS else ZEROS[:200_000]
    exchange(port.address, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    before = memory_kb()
    for path in routes_of(port):
        for method in ("GET", "POST", "PUT"):
            head = (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Encoding: {coding}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n").encode("latin-1")
            assert status_of(exchange(port.address, head + body[:60_000])) in ((404, 405, 400) if method == "PUT" else (413, 415, 400, 404, 405))
    assert memory_kb() - before < 40_000  # one bomb is 64 MB
    assert [record for record in caplog.records if record.exc_info] == []
    assert raw(port, b"ping\n", half_close=True) == b"pong\n"


CROWD = 200


async def running_loop():
    return asyncio.get_running_loop()


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_a_request_that_waits_for_its_turn_is_in_memory_once(start, run):
    heartbeat = start(limits=ServerLimits(connections=CROWD))
    request = b"POST /enter HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + ZEROS[:40_000]
    go = threading.Event()
    run(running_loop()).call_soon_threadsafe(go.wait)  # all are there at once when the loop goes on
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(heartbeat.address, 10)) for _ in range(CROWD)]
        for sock in socks:
            sock.sendall(request)
        tracemalloc.start()
        try:
            go.set()
            for sock in socks:
                assert status_of(sock.recv(65536)) == 415
            kept = tracemalloc.get_traced_memory()[1] / CROWD
        finally:
            tracemalloc.stop()
    assert kept < ServerLimits().unanswered_bytes


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
@pytest.mark.parametrize("size", [100_000, 500_000])
def test_each_of_many_clients_receives_the_refusal_of_a_large_body(start, run, size):
    heartbeat = start(limits=ServerLimits(connections=CROWD))
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(lambda _: exchange(heartbeat.address, request), range(CROWD)))
    assert {status_of(answer) for answer in answers} == {413}


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_requests_sent_without_waiting_are_all_answered_and_do_not_fill_memory(start, run):
    heartbeat = start()
    count, request = 20_000, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    before = memory_kb()
    with socket.create_connection(heartbeat.address, 10) as sock:
        sender = threading.Thread(target=sock.sendall, args=(request * (count - 1) + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),))
        sender.start()
        answered = 0
        while chunk := sock.recv(2**20):
            answered += chunk.count(b"HTTP/1.1 200")
        sender.join(10)
    assert answered > count * 0.99  # a status line may lie on the border of two chunks
    assert memory_kb() - before < 8 * 1024


def test_an_endless_body_is_cut_off_before_it_fills_memory(port):
    head = b"POST /enter HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = 0
    with socket.create_connection(port.address, 10) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(head)
        while sent < 64 * 2**20:
            sock.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            sent += 0x10000
    assert sent < 16 * 2**20  # what the buffers of two sockets hold, and little more


@pytest.mark.parametrize(("headers", "status"), [
    ({"Content-Type": f"{FORM}; charset=zlib"}, 415), ({"Content-Type": f"{FORM}; charset=utf-16"}, 415),
    ({"Content-Type": f"{FORM}; charset=utf-7"}, 415), ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ({"Content-Type": "application/json"}, 415), ({"Content-Type": FORM, "Content-Encoding": "br"}, 415),
    ({"Content-Type": FORM}, 403), ({"Content-Type": f"{FORM}; charset=UTF-8"}, 403)])
def test_a_form_is_urlencoded_utf8_without_a_coding(port, caplog, headers, status):
    answer = requests.post(f"http://127.0.0.1:{port.address[1]}/enter", data=b"token=+2AA-%ed%a0%80", headers=headers, timeout=10)
    assert answer.status_code == (400 if status == 403 else status)
    right = requests.post(f"http://127.0.0.1:{port.address[1]}/enter", data=f"token={TOKEN.reveal()}", headers=headers, timeout=10,
                          allow_redirects=False)
    assert right.status_code == (303 if status == 403 else status)
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_form_that_is_too_long_or_has_too_many_fields_is_refused(port):
    url = f"http://127.0.0.1:{port.address[1]}/enter"
    assert requests.post(url, data={"token": "x" * 20_000}, timeout=10).status_code == 413
    assert requests.post(url, data=iter([b"token=" + b"x" * 20_000]), headers={"Content-Type": FORM}, timeout=10).status_code == 413
    assert requests.post(url, data="&".join(f"f{n}=1" for n in range(400)), headers={"Content-Type": FORM}, timeout=10).status_code == 400


def test_a_refused_body_is_not_read_as_a_second_request(port):
    smuggled = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = exchange(port.address, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status_of(answer) == 413
