"""Kept-alive connections that the server closes at the moment of the next request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.errors import FetchError, ProxyError
from pipeline.session.client import Client, fetch
from tests.servers.raw import start_raw
from tests.session.conftest import OpenSession

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class OneAnswer:
    """Says that it keeps connections, and hangs up when it is asked a second thing on one."""

    def __init__(self) -> None:
        self.connections = 0
        self.hung_up: list[bytes] = []
        self.url = ""

    def say(self, connection: socket.socket, stopping: threading.Event) -> None:
        self.connections += 1
        connection.sendall(ANSWER)
        if second := connection.recv(65536):
            self.hung_up.append(second.split()[0])


@pytest.fixture
def site() -> Iterator[OneAnswer]:
    server = OneAnswer()
    with start_raw(server.say) as server.url:
        yield server


@contextmanager
def client_of(open_with: OpenSession, server: str, proxied: bool) -> Iterator[tuple[Client, str]]:
    """A client, and what to ask for: a page of the server, or of a site that it is the proxy for."""
    url = "http://site.example" if proxied else server
    session = open_with(url, 'proxy = "p"' if proxied else "", before=f'[proxies]\np = "{server}"' if proxied else "")
    with session.client() as client:
        yield client, url


@pytest.mark.parametrize("proxied", [False, True])
def test_a_repeatable_request_is_sent_again(site: OneAnswer, open_with: OpenSession, proxied: bool) -> None:
    with client_of(open_with, site.url, proxied) as (client, url):
        for method in ("GET", "GET", "PUT"):
            assert fetch(client, method, url, max_bytes=99, timeout_s=5).body == b"ok"
    assert (site.hung_up, site.connections) == ([b"GET", b"PUT"], 3)


@pytest.mark.parametrize("proxied", [False, True])
def test_a_request_that_is_not_repeatable_uses_a_new_connection(site: OneAnswer, open_with: OpenSession, proxied: bool) -> None:
    with client_of(open_with, site.url, proxied) as (client, url):
        for method in ("GET", "POST", "POST"):
            assert fetch(client, method, url, max_bytes=99, timeout_s=5).body == b"ok"
    assert (site.hung_up, site.connections) == ([], 3)


@pytest.mark.parametrize("proxied", [False, True])
def test_a_new_connection_that_is_closed_is_reported_at_once(open_with: OpenSession, proxied: bool) -> None:
    asked: list[None] = []
    with start_raw(lambda connection, stopping: asked.append(None)) as server, \
            client_of(open_with, server, proxied) as (client, url), \
            pytest.raises(ProxyError if proxied else FetchError) as caught:
        fetch(client, "GET", url, max_bytes=99, timeout_s=5)
    assert len(asked) == 1
    assert ("the proxy closed the connection" if proxied else "the connection broke during the response") in str(caught.value)
