"""Accepts connections, and answers simple lines without creating an asyncio transport.

Creating a transport and a protocol takes longer than answering one line, so the acceptor keeps only a socket for each
connection. If a client uses HTTP or TLS, sends several lines or part of a line, or needs an answer from the snapshot,
the acceptor passes the connection to the server, together with the data already read. A silent client costs only a
socket, even if it is expected to begin a TLS handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Iterator
from functools import partial
from typing import Protocol

from pipeline.heartbeat.connections.admission import AdmissionControl
from pipeline.heartbeat.protocols.responder import Responder

AT_ONCE = 128
"""Maximum number of connections that are accepted, and that are read, in one iteration of the event loop. Between two
iterations, the event loop notices which connections were closed."""
HANDED_OVER_AT_ONCE = 32
"""Maximum number of transports created in one iteration of the event loop. Creating a transport takes ten times as long
as answering a line."""
SILENT_S = 1.0
"""Seconds of silence after which a connection may be closed to make room for a new connection."""
_LONGEST_LINE = 512
"""Maximum length in bytes of a line that the acceptor answers itself. Clients that send longer lines get a transport."""
_READ_BYTES = 16 * 1024
_RETRY_S = 1.0
"""Seconds to wait before accepting again when the process has no free file descriptor."""


class AcceptedSocket:
    """An accepted connection for which no asyncio transport has been created yet.

    peer: the client's IP address; "" means the Unix socket. origin: the group of clients with which the connection is
    counted (see `origin_of`). since: time of the last activity, according to the event loop's clock. answered: whether the client
    has received an answer.
    """

    __slots__ = ("answered", "origin", "peer", "since", "sock")

    def __init__(self, sock: socket.socket, peer: str, origin: str, since: float) -> None:
        self.sock = sock
        self.peer = peer
        self.origin = origin
        self.since = since
        self.answered = False


class ConnectionOwner(Protocol):
    """The interface of the server to which the acceptor passes connections.

    hand_over() takes over an admitted connection, with the received data that has not been answered and the part of an
    answer that has not been sent. queue_or_refuse() takes over a connection that could not be admitted.
    """

    @property
    def admission(self) -> AdmissionControl: ...

    def hand_over(self, accepted: AcceptedSocket, received: bytes, unsent: bytes) -> None: ...

    def queue_or_refuse(self, accepted: AcceptedSocket) -> None: ...


class Acceptor:
    """Accepts connections on listening sockets and answers simple lines.

    idle_s: seconds of silence after which a connection is closed. tls: whether clients begin with a TLS handshake; if
    so, the acceptor reads nothing, and passes each connection to the server when the client's first byte arrives.

    The acceptor needs epoll(7): the event loop watches one epoll descriptor instead of every connection.
    """

    def __init__(self, owner: ConnectionOwner, responder: Responder, *, idle_s: float, tls: bool = False) -> None:
        self._owner = owner
        self._responder = responder
        self._idle_s = idle_s
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._accepted: dict[int, AcceptedSocket] = {}  # by file descriptor; the connection that has been silent longest is first
        self._epoll = select.epoll()
        self._loop.add_reader(self._epoll, self._read_ready)

    def listen(self, sock: socket.socket) -> None:
        self._listening.append(sock)
        self._loop.add_reader(sock, partial(self._accept, sock))

    def close(self) -> None:
        """Stop listening, and close all connections that were not passed on to the server."""
        for sock in self._listening:
            self._loop.remove_reader(sock)
            sock.close()
        self._loop.remove_reader(self._epoll)
        self._epoll.close()
        self._listening.clear()
        for accepted in self._accepted.values():
            accepted.sock.close()
            self._owner.admission.remove(accepted.origin)
        self._accepted.clear()

    def sweep(self, now: float) -> None:
        """Close connections that have been silent for more than `idle_s` seconds."""
        for accepted in tuple(self._accepted.values()):
            if now - accepted.since <= self._idle_s:
                return
            self._forget(accepted)

    def close_idle(self) -> bool:
        """Close the connection that has been silent longest and has never received an answer.

        Only a connection that has been silent for at least SILENT_S seconds is closed. Returns whether a connection was
        closed.
        """
        now = self._loop.time()
        for accepted in self._never_answered():
            if now - accepted.since >= SILENT_S:
                self._forget(accepted)
                return True
        return False

    def _never_answered(self) -> Iterator[AcceptedSocket]:
        return (accepted for accepted in self._accepted.values() if not accepted.answered)

    def _accept(self, listening: socket.socket) -> None:
        now = self._loop.time()
        read = False
        for _ in range(AT_ONCE):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:  # no file descriptor or no memory left
                self._loop.remove_reader(listening)
                self._loop.call_later(_RETRY_S, self._accept_again, listening)
                return
            origin = self._owner.admission.origin_of(address[0])
            if origin is None:
                sock.close()
                continue
            accepted = AcceptedSocket(sock, address[0], origin, now)
            if not read and not self._owner.admission.has_room(origin):
                self._read_ready()  # removes the connections of clients that have disconnected
                read = True
            if self._owner.admission.has_room(origin):
                self._owner.admission.add(origin)
                self._accepted[sock.fileno()] = accepted
                self._epoll.register(sock, select.EPOLLIN)
            else:
                self._owner.queue_or_refuse(accepted)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening, partial(self._accept, listening))

    def _read_ready(self) -> None:
        now = self._loop.time()
        handed_over = 0
        for number, _ in self._epoll.poll(0, AT_ONCE):
            if handed_over == HANDED_OVER_AT_ONCE:  # epoll will report the remaining connections in the next iteration
                return
            accepted = self._accepted.pop(number)
            if self._tls:
                handed_over += self._hand_over(accepted, b"", b"")
                continue
            try:
                data = accepted.sock.recv(_READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._accepted[number] = accepted
            except OSError:  # the client reset the connection
                self._close(accepted)
            else:
                handed_over += self._received(accepted, data, now)

    def _received(self, accepted: AcceptedSocket, data: bytes, now: float) -> bool:
        """Process received data; return whether the connection was passed on to the server.

        A single simple line is answered directly. In any other case, the connection is passed on.
        """
        if not data and accepted.answered:
            self._close(accepted)
            return False
        answer = self._answer(data)
        try:
            sent = 0 if answer is None else accepted.sock.send(answer, socket.MSG_DONTWAIT)
        except BlockingIOError:  # the client does not read its answers
            sent = 0
        except OSError:
            self._close(accepted)
            return False
        if answer is not None and sent == len(answer):
            accepted.answered = True
            accepted.since = now
            self._accepted[accepted.sock.fileno()] = accepted
            return False
        return self._hand_over(accepted, data if answer is None else b"", b"" if answer is None else answer[sent:])

    def _hand_over(self, accepted: AcceptedSocket, received: bytes, unsent: bytes) -> bool:
        self._epoll.unregister(accepted.sock)
        self._owner.hand_over(accepted, received, unsent)
        return True

    def _answer(self, data: bytes) -> bytes | None:
        """Return the answer if `data` is one line that can be answered without a transport, otherwise None."""
        if not 0 < len(data) <= _LONGEST_LINE or data.find(b"\n") != len(data) - 1:
            return None
        reply = self._responder.answer_simple(data[:-1])
        return reply if reply is None else f"{reply}\n".encode("utf-8", "backslashreplace")

    def _forget(self, accepted: AcceptedSocket) -> None:
        del self._accepted[accepted.sock.fileno()]
        self._close(accepted)

    def _close(self, accepted: AcceptedSocket) -> None:
        accepted.sock.close()
        self._owner.admission.remove(accepted.origin)


def send_and_close(sock: socket.socket, data: bytes) -> None:
    """Send as much of `data` as the socket accepts without waiting, then close the socket."""
    with contextlib.suppress(OSError):
        sock.send(data, socket.MSG_DONTWAIT)
        sock.shutdown(socket.SHUT_WR)
    sock.close()


def received_so_far(sock: socket.socket) -> bytes:
    """Return the data that has already arrived, without waiting; b"" if there is none."""
    try:
        return sock.recv(_READ_BYTES, socket.MSG_DONTWAIT)
    except OSError:
        return b""
