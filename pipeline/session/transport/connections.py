"""urllib3's connections, held to three rules: no private address that is not allowed, no headers that never end, and
answers read as browsers read them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection

from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.responses.http_client import Response


class RequestTarget:
    """What the next request line asks for, octet by octet: urllib3 would percent-encode the URL it is given anew."""

    def __init__(self) -> None:
        self.text = ""


def pool_classes(ssrf_guard: SsrfGuard | None, limit_s: float, target: RequestTarget, *,
                 socks: bool = False) -> dict[str, type[HTTPConnectionPool]]:
    """For a PoolManager's pool_classes_by_scheme. ssrf_guard: None behind a proxy, which connects in our place. socks: whether that
    proxy speaks SOCKS.

    limit_s: seconds until a connection is up, and until an answer's headers are whole; urllib3's own limits are for
    one read, so that a byte now and then would hold us for ever.
    """

    class Guarded(HTTPConnection):
        response_class = Response

        def _new_conn(self) -> socket.socket:
            connected = super()._new_conn()
            if ssrf_guard is not None:
                try:
                    # Of the connection itself: what a name resolves to may change from one moment to the next.
                    ssrf_guard.check_address(self.host, self.port or self.default_port, connected.getpeername()[0])
                except BaseException:
                    connected.close()
                    raise
            return connected

        def connect(self) -> None:
            with _within(self, limit_s):
                super().connect()

        def putrequest(self, method: str, url: str, *arguments: Any, **options: Any) -> None:
            super().putrequest(method, target.text or url, *arguments, **options)

        def getresponse(self) -> Any:
            with _within(self, limit_s):
                return super().getresponse()

    plain, tls = (SOCKSConnection, SOCKSHTTPSConnection) if socks else (HTTPConnection, HTTPSConnection)

    class GuardedPlain(Guarded, plain):  # type: ignore[misc, valid-type]
        pass

    class GuardedTls(Guarded, tls):  # type: ignore[misc, valid-type]
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = GuardedPlain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = GuardedTls

    return {"http": Pool, "https": TlsPool}


@contextmanager
def _within(connection: HTTPConnection, limit_s: float) -> Iterator[None]:
    """Shut the connection's socket when it takes longer. Raises TimeoutError, which urllib3 knows."""
    over = threading.Event()

    def hang_up() -> None:
        over.set()
        line = getattr(connection.sock, "socket", connection.sock)  # TLS in TLS hides it one deeper
        if isinstance(line, socket.socket):
            try:
                socket.socket.shutdown(line, socket.SHUT_RDWR)  # not ssl's, which is for the thread that reads
            except OSError:
                return  # it ended by itself meanwhile

    timer = threading.Timer(limit_s, hang_up)
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
    if over.is_set():  # headers that we cut off look whole to http.client
        raise TimeoutError("the answer's headers did not arrive in time") from failed
