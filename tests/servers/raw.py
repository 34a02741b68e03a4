"""A server that sends any bytes, as slowly as a test asks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Say = Callable[[socket.socket, threading.Event], None]


@contextmanager
def start_raw(say: Say, received: list[bytes] | None = None) -> Iterator[str]:
    """Calls `say(connection, stopping)` in a thread of its own for every connection; yields the URL. received: gets the first bytes of each."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopping = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            data = connection.recv(65536)
            if received is not None:
                received.append(data)
            say(connection, stopping)

    def accept() -> None:
        with suppress(OSError):
            while not stopping.is_set():
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopping.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
