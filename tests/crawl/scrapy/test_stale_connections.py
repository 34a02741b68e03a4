"""Pages are read although the server closes kept-alive connections at the moment of the next request."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.crawl.conftest import Crawls
from tests.servers.raw import start_raw
from tests.servers.scripted import ScriptedServer

PAGES = 30
LINKS = "".join(f"<a href=/{number}></a>" for number in range(PAGES))


def answer(text: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


def close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class OneAnswer:
    """Answers the first request of each connection, keeps the connection open, and ends it at the second request."""

    def __init__(self, end: Callable[[socket.socket], None]) -> None:
        self._end = end
        self.connections = 0
        self.second_requests: list[bytes] = []
        self.dropped: Counter[bytes] = Counter()

    def say(self, connection: socket.socket, stopping: threading.Event) -> None:
        self.connections += 1
        connection.sendall(answer(f"<p>{self.connections}</p>{LINKS}"))
        if second := connection.recv(65536):
            self.second_requests.append(second.split()[0])
            self.dropped[second.split()[1]] += 1
            self._end(connection)


@contextmanager
def crawl_of(crawls: Crawls, server: OneAnswer, proxied: bool, start: str = '"URL/start"') -> Iterator[None]:
    with start_raw(server.say) as url:
        site = "http://site.example" if proxied else url
        crawls.write(f"""
            [proxies]
            p = "{url}"
            [spiders.s]
            start = {start.replace("URL", site)}
            follow = ["a"]
            robots = false
            retries = 0
            concurrency = 4
            {'proxy = "p"' if proxied else ""}
            [spiders.s.items]
            each = "p"
            key = ["t"]
            fields = {{ t = "::text" }}
        """)
        yield


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("proxied", [False, True])
def test_each_page_is_read_although_every_second_request_on_a_connection_is_dropped(
        crawls: Crawls, end: Callable[[socket.socket], None], proxied: bool) -> None:
    server = OneAnswer(end)
    with crawl_of(crawls, server, proxied):
        run = crawls.perform()
    assert (run.complete, run.error, run.progress.pages) == (True, "", PAGES + 1)
    assert server.connections == PAGES + 1
    assert len(server.second_requests) >= PAGES // 4  # the connections were kept, and dropped
    assert max(server.dropped.values()) <= 2  # aiohttp repeats a request once on a kept connection; then a new one is used


def test_a_post_request_never_uses_a_connection_that_the_server_may_just_be_closing(crawls: Crawls) -> None:
    server = OneAnswer(close)
    starts = ", ".join(f'{{ url = "URL/post/{number}", method = "POST", form = {{ n = "1" }} }}' for number in range(6))
    with crawl_of(crawls, server, proxied=False, start=f'["URL/start", {starts}]'):
        run = crawls.perform()
    assert (run.complete, run.error) == (True, "")
    assert b"POST" not in server.second_requests


def test_a_post_request_has_the_headers_of_a_browser_although_its_connection_is_not_kept(crawls: Crawls) -> None:
    with ScriptedServer(lambda asked: answer("<p>1</p>")) as started:
        crawls.write(f"""
            [spiders.s]
            start = {{ url = "{started.url}/", method = "POST", form = {{ n = "1" }} }}
            robots = false
            items.fields.t = "p"
        """)
        assert crawls.perform().complete
    assert [(asked.method, asked.headers.get("connection")) for asked in started.asked] == [("POST", "keep-alive")]


def test_a_new_connection_that_is_closed_without_an_answer_is_a_failure_at_once(crawls: Crawls) -> None:
    class Silent(OneAnswer):
        def say(self, connection: socket.socket, stopping: threading.Event) -> None:
            self.connections += 1

    server = Silent(close)
    with crawl_of(crawls, server, proxied=False):
        run = crawls.perform()
    assert not run.complete
    assert "the server closed the connection before a response arrived" in run.error
    assert server.connections == 2  # aiohttp by itself sends the request a second time
