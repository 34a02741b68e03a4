"""The S3 server of the tests: moto's, with atomic writes.

    python -m tests.servers.s3_program HOST PORT [--conflicting]

moto answers requests in threads and looks for an existing object before it stores a new one: of two conditional writes
(If-None-Match: *) at the same time, both can succeed there. Object stores guarantee that only one does.
--conflicting: of conditional writes at the same time, all succeed, as with a store that is not fit for this program.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
from werkzeug.test import Client
from werkzeug.wsgi import get_input_stream

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_READING = frozenset({"GET", "HEAD"})


class AtomicWrites:
    """A WSGI application that passes on the requests that change something one after the other, when their bodies have arrived."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in _READING:
            return self._moto(environ, start_response)
        environ["wsgi.input"] = io.BytesIO(get_input_stream(environ).read())
        with self._lock:
            return self._moto(environ, start_response)


class ConflictingWrites:
    """A WSGI application in which half a second passes between the condition of a write and the write."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if "HTTP_IF_NONE_MATCH" in environ:
            found = Client(self._moto).head(environ["PATH_INFO"], headers={"Authorization": environ["HTTP_AUTHORIZATION"]})
            if found.status_code == 404:
                time.sleep(0.5)
                del environ["HTTP_IF_NONE_MATCH"]
        return self._moto(environ, start_response)


if __name__ == "__main__":
    host, port, *options = sys.argv[1:]
    run_simple(host, int(port), ConflictingWrites() if options == ["--conflicting"] else AtomicWrites(), threaded=True)
