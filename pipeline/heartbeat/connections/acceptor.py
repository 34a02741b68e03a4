"""Accepts connections: counted and bounded before anything is built for them, and simple lines answered at once.

A protocol, a transport and its timers cost more than the answer to one line. So a connection is no more than its socket
until it needs more (HTTP, TLS, words of the snapshot, several lines or half a one): then it is handed over, with
what was read so far. A client that says nothing costs a socket, before a TLS handshake, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Iterator
from functools import partial
from typing import Protocol

from pipeline.heartbeat.connections.admission import Admission
from pipeline.heartbeat.protocols.lines import Replies

AT_ONCE = 128
"""Connections taken, and heard, before others have their turn: those who leave are noticed in between."""
HANDED_OVER_AT_ONCE = 32
"""Connections for which a transport is made in one turn: that takes ten times as long as an answer here."""
SILENT_S = 1.0
"""Whoever has said nothing for so long makes room where there is none."""
_SHORT = 512
"""Bytes of a line that is answered here."""
_AT_A_TIME = 16 * 1024
_RETRY_S = 1.0
"""After which it is tried again where there was no file left for one more connection."""


class Accepted:
    """A connection that is no more than its socket. origin: what it is counted with; asked: it had an answer."""

    __slots__ = ("asked", "origin", "peer", "since", "sock")

    def __init__(self, sock: socket.socket, peer: str, origin: str, since: float) -> None:
        self.sock = sock
        self.peer = peer
        self.origin = origin
        self.since = since
        self.asked = False


class Owner(Protocol):
    """hand_over: take its socket and its place, with what it said and what of an answer it has still to get;
    without_a_place: take one that there is no room for."""

    @property
    def admission(self) -> Admission: ...

    def hand_over(self, accepted: Accepted, said: bytes, owed: bytes) -> None: ...

    def without_a_place(self, accepted: Accepted) -> None: ...


class Acceptor:
    """idle_s: silence after which a connection is closed. tls: nothing is read here; the first byte begins a handshake.

    Needs epoll(7), whose own descriptor the loop watches: one event of the loop for all connections.
    """

    def __init__(self, owner: Owner, replies: Replies, *, idle_s: float, tls: bool = False) -> None:
        self._owner = owner
        self._replies = replies
        self._idle_s = idle_s
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._accepted: dict[int, Accepted] = {}  # whoever was heard last comes last
        self._ready = select.epoll()
        self._loop.add_reader(self._ready, self._hear)

    def listen(self, sock: socket.socket) -> None:
        self._listening.append(sock)
        self._loop.add_reader(sock, partial(self._accept, sock))

    def close(self) -> None:
        """No more connections; those that are here have their answers."""
        for sock in self._listening:
            self._loop.remove_reader(sock)
            sock.close()
        self._loop.remove_reader(self._ready)
        self._ready.close()
        self._listening.clear()
        for accepted in self._accepted.values():
            accepted.sock.close()
            self._owner.admission.left(accepted.origin)
        self._accepted.clear()

    def sweep(self, now: float) -> None:
        """Close those who said nothing for too long."""
        for accepted in tuple(self._accepted.values()):
            if now - accepted.since <= self._idle_s:
                return
            self._forget(accepted)

    def make_room(self) -> bool:
        """Close the connection that has been silent longest without a word, if there is one."""
        now = self._loop.time()
        for accepted in self._silent():
            if now - accepted.since >= SILENT_S:
                self._forget(accepted)
                return True
        return False

    def _silent(self) -> Iterator[Accepted]:
        return (accepted for accepted in self._accepted.values() if not accepted.asked)

    def _accept(self, listening: socket.socket) -> None:
        now = self._loop.time()
        heard = False
        for _ in range(AT_ONCE):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:  # no file, no memory
                self._loop.remove_reader(listening)
                self._loop.call_later(_RETRY_S, self._accept_again, listening)
                return
            origin = self._owner.admission.origin_of(address[0])
            if origin is None:
                sock.close()
                continue
            accepted = Accepted(sock, address[0], origin, now)
            if not heard and not self._owner.admission.has_room(origin):
                self._hear()  # some may have left again
                heard = True
            if self._owner.admission.has_room(origin):
                self._owner.admission.placed(origin)
                self._accepted[sock.fileno()] = accepted
                self._ready.register(sock, select.EPOLLIN)
            else:
                self._owner.without_a_place(accepted)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening, partial(self._accept, listening))

    def _hear(self) -> None:
        now = self._loop.time()
        handed_over = 0
        for number, _ in self._ready.poll(0, AT_ONCE):
            if handed_over == HANDED_OVER_AT_ONCE:  # the rest is ready in the next turn, too
                return
            accepted = self._accepted.pop(number)
            if self._tls:
                handed_over += self._handed_over(accepted, b"", b"")
                continue
            try:
                data = accepted.sock.recv(_AT_A_TIME, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._accepted[number] = accepted
            except OSError:  # it was reset
                self._gone(accepted)
            else:
                handed_over += self._heard(accepted, data, now)

    def _heard(self, accepted: Accepted, data: bytes, now: float) -> bool:
        """Answer here or hand over; whether it was the latter."""
        if not data and accepted.asked:
            self._gone(accepted)
            return False
        answer = self._answer(data)
        try:
            sent = 0 if answer is None else accepted.sock.send(answer, socket.MSG_DONTWAIT)
        except BlockingIOError:  # it does not read its answers
            sent = 0
        except OSError:
            self._gone(accepted)
            return False
        if answer is not None and sent == len(answer):
            accepted.asked = True
            accepted.since = now
            self._accepted[accepted.sock.fileno()] = accepted
            return False
        return self._handed_over(accepted, data if answer is None else b"", b"" if answer is None else answer[sent:])

    def _handed_over(self, accepted: Accepted, said: bytes, owed: bytes) -> bool:
        self._ready.unregister(accepted.sock)
        self._owner.hand_over(accepted, said, owed)
        return True

    def _answer(self, data: bytes) -> bytes | None:
        """To one whole and simple line; None when it takes more."""
        if not 0 < len(data) <= _SHORT or data.find(b"\n") != len(data) - 1:
            return None
        reply = self._replies.to_line(data[:-1])
        return reply if reply is None else f"{reply}\n".encode("utf-8", "backslashreplace")

    def _forget(self, accepted: Accepted) -> None:
        del self._accepted[accepted.sock.fileno()]
        self._gone(accepted)

    def _gone(self, accepted: Accepted) -> None:
        accepted.sock.close()
        self._owner.admission.left(accepted.origin)


def say_and_close(sock: socket.socket, said: bytes) -> None:
    """Send what the buffer of the socket takes, and no more."""
    with contextlib.suppress(OSError):
        sock.send(said, socket.MSG_DONTWAIT)
        sock.shutdown(socket.SHUT_WR)
    sock.close()


def heard_so_far(sock: socket.socket) -> bytes:
    """What has arrived already, without waiting for more."""
    try:
        return sock.recv(_AT_A_TIME, socket.MSG_DONTWAIT)
    except OSError:
        return b""
