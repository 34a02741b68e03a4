"""Fixtures: a guard proxy that runs in a loop of its own, and a client that sends requests through it."""

from __future__ import annotations

import http.client
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import uvloop

from pipeline.session import Session
from pipeline.session.browser.guard.connector import Resolve, resolve_host
from pipeline.session.browser.guard_proxy import GuardProxy
from tests.servers.browser import running_browser
from tests.servers.loop import loop_thread
from tests.servers.pages import PageSite

NAMES = {"public.test": "127.0.0.1", "rebinding.test": "127.0.0.1", "six.test": "::1", "metadata.test": "169.254.169.254"}


async def resolve(host: str, port: int) -> list[str]:
    """The resolver of tests: names of the domain `test` stand for private addresses."""
    return [NAMES[host]] if host in NAMES else await resolve_host(host, port)


@dataclass
class Client:
    """Sends requests through a guard proxy, as a browser does."""

    guard: GuardProxy

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", urlsplit(self.guard.server).port or 0

    @property
    def credentials(self) -> dict[str, str]:
        return {"Proxy-Authorization": "Basic " + b64encode(f"{self.guard.username}:{self.guard.password}".encode()).decode()}

    @contextmanager
    def plain(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        try:
            yield connection
        finally:
            connection.close()

    def get(self, url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        with self.plain() as connection:
            connection.request(method, url, body=body, headers=self.credentials)
            response = connection.getresponse()
            return response.status, response.read()

    def fails(self, url: str) -> str:
        """Send a request that must not get a response; return the reason that the proxy recorded."""
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError, http.client.IncompleteRead)):
            self.get(url)
        return str(self.guard.reason_for(url))

    def tunnel(self, place: str) -> tuple[int, socket.socket]:
        connection = socket.create_connection(self.address, 20)
        header = self.credentials["Proxy-Authorization"]
        connection.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nProxy-Authorization: {header}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head and (data := connection.recv(1)):
            head += data
        return int(head.split()[1]), connection

    def refuses_tunnel(self, place: str) -> str:
        status, connection = self.tunnel(place)
        connection.close()
        assert status == 502
        return str(self.guard.reason_for(f"https://{place}/"))

    def raw(self, data: bytes) -> bytes:
        """Send bytes on one connection, and return all that comes back until the proxy closes it."""
        with socket.create_connection(self.address, 20) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while more := connection.recv(65536):
                received += more
            return received

    def secured(self, place: str, context: ssl.SSLContext) -> http.client.HTTPConnection:
        """An HTTP connection over TLS inside a tunnel."""
        status, connection = self.tunnel(place)
        assert status == 200
        client = http.client.HTTPConnection(place)
        client.sock = context.wrap_socket(connection, server_hostname=place.rpartition(":")[0])
        return client


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    """The URL of a browser that runs already."""
    with running_browser() as url:
        yield url


@pytest.fixture
def site() -> Iterator[PageSite]:
    with PageSite() as started:
        yield started


OpenGuard = Callable[..., Client]


@pytest.fixture
def guarded() -> Iterator[OpenGuard]:
    """Starts a guard proxy for a session."""
    with ExitStack() as stack:
        run = stack.enter_context(loop_thread(uvloop.new_event_loop))  # the loop of a crawl

        def opened(session: Session, *, max_bytes: int | None = None, resolve: Resolve = resolve) -> Client:
            guard = GuardProxy(session, max_bytes=max_bytes, resolve=resolve)
            run(guard.start())
            stack.callback(lambda: run(guard.close()))
            return Client(guard)

        yield opened
