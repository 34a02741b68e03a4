"""urllib3 connections with SSRF protection, time limits and a tolerant response parser."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection

from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.responses.http_client import Response, attach


class RequestTarget:
    """The path and query for the next request line. urllib3 itself would percent-encode the URL again."""

    def __init__(self) -> None:
        self.text = ""


class GuardedConnection(HTTPConnection):
    """A connection whose address is checked, and which limits the time for connecting and for the response headers.

    ssrf_guard: checks the address of each connection; None for connections to a proxy. limit_s: the time limit for connecting; the
    same limit applies to receiving the response headers. The timeouts of urllib3 are not sufficient: they apply to a single read, so
    that a server that sends one byte from time to time could block the client for ever. target: what the connections send in the
    request line.
    """

    ssrf_guard: ClassVar[SsrfGuard | None]
    limit_s: ClassVar[float]
    target: ClassVar[RequestTarget]
    received: Response | None = None
    checked = False

    def response_class(self, *arguments: Any, **options: Any) -> Response:  # type: ignore[override]
        """Return the response object for http.client. This method has the parameters of the class that it replaces."""
        self.received = Response(*arguments, **options)
        return self.received

    def _new_conn(self) -> socket.socket:
        # This overrides an undocumented method of urllib3, because an override of connect() could check the address only after the
        # TLS handshake.
        connected = super()._new_conn()
        self._check_address(connected)
        return connected

    def connect(self) -> None:
        self.checked = False
        with _within(self, self.limit_s):
            super().connect()
        if not self.checked:
            self._check_address(self.sock)

    def _check_address(self, connected: Any) -> None:
        """Check the address of the open connection, because a host name may resolve to a different address each time."""
        if self.ssrf_guard is not None:
            try:
                self.ssrf_guard.check_address(self.host, self.port or self.default_port, connected.getpeername()[0])
            except BaseException:
                connected.close()
                raise
        self.checked = True

    def putrequest(self, method: str, url: str, *arguments: Any, **options: Any) -> None:
        super().putrequest(method, self.target.text or url, *arguments, **options)

    def getresponse(self) -> Any:
        with _within(self, self.limit_s):
            response = super().getresponse()
        attach(response, self.received)
        self.received = None
        return response


def pool_classes(ssrf_guard: SsrfGuard | None, limit_s: float, target: RequestTarget, *,
                 socks: bool = False) -> dict[str, type[HTTPConnectionPool]]:
    """Return the connection pool classes for the pool_classes_by_scheme attribute of a PoolManager.

    ssrf_guard, limit_s, target: as in GuardedConnection. socks: whether the connections go through a SOCKS proxy.
    """
    shared = {"ssrf_guard": ssrf_guard, "limit_s": limit_s, "target": target}
    plain, tls = (SOCKSConnection, SOCKSHTTPSConnection) if socks else (HTTPConnection, HTTPSConnection)
    guarded_plain = type("GuardedPlain", (GuardedConnection, plain), shared)
    guarded_tls = type("GuardedTls", (GuardedConnection, tls), shared)
    return {"http": type("GuardedPool", (HTTPConnectionPool,), {"ConnectionCls": guarded_plain}),
            "https": type("GuardedTlsPool", (HTTPSConnectionPool,), {"ConnectionCls": guarded_tls})}


@contextmanager
def _within(connection: HTTPConnection, limit_s: float) -> Iterator[None]:
    """Limit the time of a `with` statement: after limit_s seconds, shut down the connection's socket.

    The statement then ends with a TimeoutError, which urllib3 handles.
    """
    over = threading.Event()

    def shut_down() -> None:
        over.set()
        found = getattr(connection.sock, "socket", connection.sock)  # for TLS inside TLS, urllib3 wraps the socket in another object
        if isinstance(found, socket.socket):
            try:
                socket.socket.shutdown(found, socket.SHUT_RDWR)  # SSLSocket.shutdown is not safe in another thread
            except OSError:
                return  # the connection is already closed

    timer = threading.Timer(limit_s, shut_down)
    timer.daemon = True
    timer.start()
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        if not over.is_set():
            raise
        failed = error
    finally:
        timer.cancel()
    if over.is_set():  # without this error, http.client would take the end of the connection for the end of the headers
        raise TimeoutError("the response headers did not arrive in time") from failed
